from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from siod.cli.main import app
from siod.data.digits import Digits
from siod.data.source import prepare
from siod.errors import UserError
from siod.training.experiment import Experiment, Scratch
from siod.training.presets import digits_centernet
from siod.training.run import train


def test_mistakes_are_answered_before_anything_is_written(tmp_path: Path) -> None:
    for words, sentence in (
        (["gone.pt"], r"gone\.pt: no such checkpoint"),
        ([str(tmp_path)], r"no checkpoints/best\.pt in this folder"),
        (["gone.pt", str(tmp_path / "gone.png")], r"gone\.png: no such image"),
    ):
        done = CliRunner().invoke(app, ["visualize", *words, "--out", str(tmp_path / "drawn")])
        assert isinstance(done.exception, UserError)
        with pytest.raises(UserError, match=sentence):
            raise done.exception
    assert not (tmp_path / "drawn").exists()


def test_a_run_is_drawn_on_its_own_images_and_on_others(tmp_path: Path) -> None:
    changes = {"data": Digits(train_images=8, val_images=3), "weights": Scratch(), "recipe.epochs": 1}
    tiny: Experiment = digits_centernet().with_changes(changes | {"recipe.batch_size": 2})
    cache, run = tmp_path / "cache", tmp_path / "run"
    train(tiny, prepare(tiny.data, tiny.annotations, cache), run, cache_dir=cache)
    words = ["visualize", str(run), "--cache", str(cache), "--count", "2", "--threshold", "0.5"]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "own")], catch_exceptions=False)
    assert done.exit_code == 0
    assert (
        sorted(path.name.partition("_")[0] for path in (tmp_path / "own").iterdir()) == ["mining"] * 2 + ["scores"] * 2
    )
    Image.new("RGB", (64, 48)).save(tmp_path / "other.png")
    done = CliRunner().invoke(app, [*words, str(tmp_path / "other.png"), "--out", str(tmp_path / "others")])
    assert done.exit_code == 0
    assert [path.name for path in (tmp_path / "others").iterdir()] == ["scores_0001_other.png"]
