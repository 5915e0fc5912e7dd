from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from siod.cli.main import app
from siod.errors import UserError


def test_mistakes_are_answered_before_anything_is_written(tmp_path: Path) -> None:
    picture = tmp_path / "black.png"
    Image.new("RGB", (8, 8)).save(picture)
    for words, sentence in (
        (["gone.pt", str(tmp_path / "gone.png")], r"gone\.png: no such image"),
        (["gone.pt", str(picture)], r"gone\.pt: no such checkpoint"),
    ):
        done = CliRunner().invoke(app, ["predict", *words, "--out", str(tmp_path / "found")])
        assert isinstance(done.exception, UserError)
        with pytest.raises(UserError, match=sentence):
            raise done.exception
    assert not (tmp_path / "found").exists()
