"""A data set made by another tool goes through check, annotate, train and evaluate as it is.

Runs where kwcoco and opencv are installed: ``pip install kwcoco opencv-python-headless``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Siod

pytest.importorskip("kwcoco")
pytest.importorskip("cv2")


def kwcoco(*words: object) -> None:
    command = [sys.executable, "-m", "kwcoco", *map(str, words)]
    subprocess.run(command, check=True, capture_output=True, text=True)


@pytest.mark.slow
def test_shapes_of_kwcoco_are_checked_annotated_trained_on_and_evaluated(siod: Siod, tmp_path: Path) -> None:
    toy = tmp_path / "toy"
    kwcoco("toydata", "--key", "shapes4", "--bundle_dpath", toy)
    written = toy / "data.kwcoco.json"
    kwcoco("reroot", "--src", written, "--dst", toy / "all.json", "--absolute=False")

    # kwcoco writes absolute paths unless told otherwise, and a category it never draws.
    assert "path-escape x 4" in siod("data", "check", written).out
    checked = siod("data", "check", toy / "all.json", "--images", toy)
    assert [line.partition(" ")[0] for line in checked.out.splitlines() if line[0] != " "] == [
        "toy/all.json:",
        "remark:",
    ]

    assert siod("data", "annotate", toy / "all.json", toy / "keep1.json").code == 0
    files = {"train_annotations": "all.json", "train_images": "", "val_annotations": "all.json", "val_images": ""}
    data = json.dumps({"kind": "coco_files"} | {name: str(toy / file) for name, file in files.items()})
    settings = ["recipe.epochs=2", "recipe.batch_size=2", 'weights={"kind": "none"}', f"data={data}"]
    words = [word for setting in settings for word in ("--set", setting)]
    trained = siod("train", "--study", "demo", "--arm", "dminer", *words, "--out", "run")
    assert trained.code == 0
    assert trained.out.startswith("AP@S ")
    evaluated = siod("evaluate", toy / "all.json", tmp_path / "run" / "detections.json.gz")
    assert evaluated.code == 0
    assert "@S9" in evaluated.out
