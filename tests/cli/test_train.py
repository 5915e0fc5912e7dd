from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from siod.cli.options import changes
from siod.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Siod

SMALL = ("--set", "data.train_images=8", "--set", "data.val_images=3", "--set", "recipe.batch_size=2")
SCRATCH = ("--set", 'weights={"kind": "none"}', "--set", "recipe.epochs=1")


def test_an_arm_of_a_study_is_trained_into_a_folder(siod: Siod, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").touch()  # left behind by a run that failed before it began
    done = siod("train", "--study", "demo", "--arm", "dminer", *SMALL, *SCRATCH, "--seed", 4, "--out", "run")
    assert done.code == 0
    assert done.out.startswith("AP@S ")
    assert "dminer/4: epoch 1/1, AP@S" in done.err
    experiment = json.loads((tmp_path / "run" / "experiment.json").read_text())["experiment"]
    assert (experiment["seed"], experiment["data"]["train_images"]) == (4, 8)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert {"ap_s", "ap_s0", "ap_s9", "train/loss", "mining/splg_per_image"} <= set(result)

    # The experiment of a run is an experiment to run; the result that is there is shown.
    again = siod("train", tmp_path / "run" / "experiment.json", "--out", "run")
    assert again.out == done.out
    assert "run/4: reused" in again.err

    # Another experiment is not mixed in.
    other = siod("train", tmp_path / "run" / "experiment.json", "--seed", 5, "--out", "run")
    assert other.refusal.endswith("run: holds the run of another experiment (see experiment.json); name another folder")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "name either an experiment's JSON file or --study, for example: siod train --study demo"),
        (["a.json", "--study", "demo"], "name either an experiment's JSON file or --study"),
        (["a.json", "--arm", "base"], "--arm belongs to --study; an experiment's file has no arms"),
        (["nowhere.json"], "nowhere.json: No such file or directory; name an experiment's JSON file"),
        (["--study", "deno"], "unknown study 'deno' (a file's name ends in .py or .json); did you mean 'demo'?"),
        (["--study", "demo", "--arm", "bse"], "study 'demo' has no arm 'bse'; did you mean 'base'?"),
        (["--study", "demo", "--set", "recipe.epoch=1"], "unknown setting 'recipe.epoch'; did you mean 'epochs'?"),
        (["--study", "demo", "--set", "recipe.epochs=0"], "recipe.epochs: Input should be greater than 0 (received 0)"),
        (["--study", "demo", "--set", "epochs"], "--set 'epochs': expected PATH=VALUE, for example recipe.epochs=3"),
        (["--study", "demo", "--workers", "9"], "recipe.batch_size 8 is less than compute.workers 9: each worker"),
        (["--study", "demo", "--set", 'data={"kind": "coco_folder", "root": "nowhere"}'], "weights.kind digits needs"),
    ],
)
def test_a_mistake_is_answered_in_one_sentence(siod: Siod, words: list[str], sentence: str) -> None:
    assert sentence in siod("train", *words).refusal


def test_a_file_that_is_no_experiment_is_refused_by_name(siod: Siod, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    assert siod("train", "broken.json").refusal.startswith("broken.json: not JSON")
    (tmp_path / "other.json").write_text('{"images": []}')
    assert "other.json: unknown setting 'images'" in siod("train", "other.json").refusal


def test_a_folder_with_something_else_in_it_is_left_alone(siod: Siod, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    sentence = siod("train", "--study", "demo", "--out", "mine").refusal
    assert sentence.endswith("mine: the folder is not empty and holds no run of siod; name a new one or empty it")
    assert not (tmp_path / "cache").exists()


def test_images_that_do_not_decode_stop_the_run_before_it_starts_or_are_left_out(siod: Siod, tmp_path: Path) -> None:
    siod("data", "digits", "digits", "--images", 10, "--val-images", 3)
    broken = sorted((tmp_path / "digits" / "train").iterdir())[2]
    broken.write_bytes(b"no image")
    source = json.dumps({"kind": "coco_folder", "root": str(tmp_path / "digits")})
    words = ["train", "--study", "demo", *SCRATCH, "--set", "recipe.batch_size=2", "--set", f"data={source}"]
    sentence = siod(*words, "--out", "run").refusal
    assert "1 of 10 images cannot be used" in sentence
    assert broken.name in sentence
    assert not (tmp_path / "run").exists()
    assert siod(*words, "--out", "run", "--skip-broken-images").code == 0


def test_settings_are_read_as_json_and_as_text_otherwise() -> None:
    read = changes(["recipe.epochs=3", "dminer=null", "recipe.precision=bf16", 'data={"kind": "digits"}', "a=b=c"])
    assert read == {
        "recipe.epochs": 3,
        "dminer": None,
        "recipe.precision": "bf16",
        "data": {"kind": "digits"},
        "a": "b=c",
    }


def test_a_setting_given_twice_is_refused() -> None:
    with pytest.raises(UserError, match="--set 'seed' is given twice; keep one"):
        changes(["seed=1", "seed=2"])
