from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Siod


def test_a_small_copy_is_made_shown_and_cleared(siod: Siod, tmp_path: Path) -> None:
    siod("data", "digits", "digits", "--images", 12, "--val-images", 1)
    done = siod("data", "resize", "digits/annotations/instances_train.json", "digits/train", "--longest", 48)
    annotations, images = map(Path, done.out.split())
    assert siod("data", "check", annotations, "--images", images).code == 0
    assert siod("data", "cache").out.startswith(f"{tmp_path / 'cache' / 'resized'}: 1 resized data sets found")
    assert "1 resized data sets deleted" in siod("data", "cache", "--clear").out
    assert not annotations.exists()
    assert (siod("data", "cache").code, images.exists()) == (0, False)
