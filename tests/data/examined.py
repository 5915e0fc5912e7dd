"""Annotation files for the tests of the check, what it finds in them, and what it makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from siod.data import coco
from siod.data.checking.check import Examination, examine


def examined(document: Any, folder: Path, images: Path | None = None) -> Examination:
    (folder / "x.json").write_text(json.dumps(document))
    return examine(folder / "x.json", images)


def kinds(examination: Examination) -> dict[str, int]:
    return {defect.kind: defect.count for defect in (*examination.defects, *examination.remarks)}


def repaired(examination: Examination, folder: Path) -> coco.CocoDataset:
    assert examination.repaired is not None
    coco.write(folder / "repaired.json", examination.repaired)
    return coco.read(folder / "repaired.json")


def one_box(**changes: Any) -> dict[str, Any]:
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 10], "area": 100, "iscrowd": 0}
    return {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "annotations": [annotation | changes],
        "categories": [{"id": 1, "name": "x"}],
    }
