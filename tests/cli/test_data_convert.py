from __future__ import annotations

import json
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Siod


def test_a_yolo_folder_becomes_a_file_to_annotate_from(siod: Siod, tmp_path: Path) -> None:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (20, 10)).save(tmp_path / "images" / "a.png")
    (tmp_path / "labels" / "a.txt").write_text("0 .5 .5 .5 .5\n0 .5 .5 .2 .2\n")
    (tmp_path / "names.txt").write_text("cat\n")
    done = siod("data", "convert", "yolo", "labels", "images", "out.json", "--names", "names.txt")
    assert (done.code, done.out) == (0, "out.json: 1 images, 2 boxes\n")
    assert siod("data", "check", "out.json", "--images", "images").code == 0
    siod("data", "annotate", "out.json", "keep.json")
    assert len(json.loads((tmp_path / "keep.json").read_text())["annotations"]) == 1


def test_what_does_not_fit_together_is_refused_and_nothing_written(siod: Siod, tmp_path: Path) -> None:
    assert siod("data", "convert", "yolo", "labels", "images", "out.json").refusal.startswith("--names belongs to yolo")
    refused = siod("data", "convert", "voc", "labels", "images", "out.json").refusal
    assert refused == "labels: is no folder; name the folder of *.xml files"
    assert list(tmp_path.iterdir()) == []
