"""What a data set asks of a detector, on files whose numbers are worked out by hand."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siod.data import coco
from siod.data.describing.profile import Profile, profile
from siod.errors import UserError

# Two cats and a dog in a wide image, one cat in a high one, and a crowd, which does not count.
DOCUMENT: dict[str, Any] = {
    "images": [
        {"id": 1, "file_name": "wide.png", "width": 640, "height": 480},
        {"id": 2, "file_name": "high.png", "width": 240, "height": 320},
    ],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 64, 32], "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [100, 0, 16, 48], "iscrowd": 0},
        {"id": 3, "image_id": 1, "category_id": 2, "bbox": [0, 100, 80, 80], "iscrowd": 0},
        {"id": 4, "image_id": 2, "category_id": 1, "bbox": [0, 0, 24, 40], "iscrowd": 0},
        {"id": 5, "image_id": 2, "category_id": 1, "bbox": [0, 0, 200, 200], "iscrowd": 1},
    ],
}


def measured(tmp_path: Path, train: dict[str, Any], val: dict[str, Any] = DOCUMENT) -> Profile:
    paths = tmp_path / "train.json", tmp_path / "val.json"
    for path, document in zip(paths, (train, val), strict=True):
        path.write_text(json.dumps(document))
    return profile(coco.read(paths[0]), coco.read(paths[1]))


def without(*ids: int) -> dict[str, Any]:
    left = copy.deepcopy(DOCUMENT)
    left["annotations"] = [box for box in left["annotations"] if box["id"] not in ids]
    return left


def test_both_splits_are_measured_and_the_training_boxes_counted(tmp_path: Path) -> None:
    found = measured(tmp_path, DOCUMENT)
    assert (found.train_images, found.val_images, found.categories) == (2, 2, ("cat", "dog"))
    assert (found.train_boxes, found.kept_boxes) == (4, 3)
    assert found.image_sizes.tolist() == [[480, 640], [320, 240]] * 2
    assert found.box_sizes.tolist() == [[32, 64], [48, 16], [80, 80], [40, 24]] * 2
    assert found.box_images.tolist() == [0, 0, 0, 1, 2, 2, 2, 3]


def test_boxes_are_told_in_the_frame_of_the_input(tmp_path: Path) -> None:
    found = measured(tmp_path, DOCUMENT)
    # 640 x 480 fits into 160 x 128 at a quarter; 240 x 320 at 128 / 320.
    assert found.magnification((128, 160)).tolist() == [0.25, 0.4, 0.25, 0.4]
    assert np.allclose(found.box_sizes_at((128, 160))[:4], [[8, 16], [12, 4], [20, 20], [16, 9.6]])


def test_an_image_with_several_boxes_of_a_category_is_named(tmp_path: Path) -> None:
    assert measured(tmp_path, DOCUMENT).crowded == ("wide.png", "cat")
    assert measured(tmp_path, without(2)).crowded is None


KEEP = {"annotation_set": {"policy": "keep", "k": 1}}


@pytest.mark.parametrize(
    ("info", "left_out", "single"),
    [
        (KEEP, (2,), True),
        ({"import": {"sources": [{"infos": [KEEP]}]}}, (2,), True),
        ({}, (2,), False),
        ({"annotation_set": {"policy": "keep", "k": 2}}, (2,), False),
        ({"annotation_set": {"policy": "ssod"}}, (2,), False),
        # What it says does not hold, for instance because it was merged with others.
        (KEEP, (), False),
    ],
)
def test_a_set_is_single_instance_when_it_says_so_and_its_boxes_agree(
    tmp_path: Path, info: dict[str, Any], left_out: tuple[int, ...], single: object
) -> None:
    assert measured(tmp_path, {"info": info, **without(*left_out)}).declared_single == single


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"annotations": []}, "train.json: has no boxes, so there is nothing to fit a study to"),
        ({"annotations": [], "images": []}, "train.json: images is empty"),
        ({"annotations": [], "categories": []}, "train.json: categories is empty"),
        (
            {"categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "cow"}]},
            "val.json: categories differ from those of",
        ),
    ],
)
def test_data_without_what_a_study_needs_is_refused(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        measured(tmp_path, {**DOCUMENT, **changes})
