"""A data set of two images and one of 24 scenes of digits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from siod.data.digits import Digits, write_digits

SMALL = Digits(train_images=24, val_images=8, seed=3)


@pytest.fixture
def document() -> dict[str, Any]:
    """Two images, two categories; the first image has two cats and a crowd of cats, the second a dog."""
    return {
        "info": {"year": 2026},
        "licenses": [{"id": 1, "name": "CC0"}],
        "images": [
            {"id": 20, "file_name": "b.png", "width": 40, "height": 30, "coco_url": "http://x/b.png"},
            {"id": 10, "file_name": "a.png", "width": 64, "height": 48},
        ],
        "annotations": [
            {"id": 5, "image_id": 10, "category_id": 7, "bbox": [1, 2, 10, 20], "area": 150.5, "iscrowd": 0},
            {"id": 3, "image_id": 20, "category_id": 2, "bbox": [0, 0, 40, 30], "area": 1200, "iscrowd": 0},
            {"id": 4, "image_id": 20, "category_id": 2, "bbox": [5, 5, 5, 5], "segmentation": [[5, 5, 10, 5, 10, 10]]},
            {"id": 9, "image_id": 20, "category_id": 2, "bbox": [0, 0, 20, 20], "area": 400, "iscrowd": 1},
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 2, "name": "cat", "supercategory": "animal"}],
    }


@pytest.fixture
def coco_file(document: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document))
    return path


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "digits"
    write_digits(SMALL, folder)
    return folder
