"""Detections of any detector: COCO results of the images and categories of an annotation file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from siod.completion.results_file import read_results
from siod.data import coco
from siod.errors import UserError

GOOD: dict[str, Any] = {"image_id": 4, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5}


@pytest.fixture
def dataset(tmp_path: Path) -> coco.CocoDataset:
    images = [{"id": number, "file_name": f"{number}.png", "width": 9, "height": 9} for number in (8, 4)]
    categories = [{"id": 2, "name": "b"}, {"id": 1, "name": "a"}]
    coco.write(tmp_path / "mine.json", {"images": images, "annotations": [], "categories": categories})
    return coco.read(tmp_path / "mine.json")


def test_a_file_and_its_content_are_read_alike(dataset: coco.CocoDataset, tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text(json.dumps([GOOD]))
    for source in (tmp_path / "found.json", [GOOD]):
        found = read_results(source, dataset)
        assert (found.image.tolist(), found.label.tolist(), found.scores.tolist()) == ([1], [1], [0.5])
        assert found.boxes_xyxy.tolist() == [[1, 2, 4, 6]]
    assert len(read_results([], dataset)) == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"image_id": 5}, r"detections\[1\]\.image_id 5 is not in .*mine\.json; name the annotation file that"),
        ({"category_id": 5}, r"detections\[1\]\.category_id 5 is not in .*mine\.json"),
        ({"score": 1.5}, r"detections\[1\]\.score is 1\.5; scores are in \[0, 1\]"),
    ],
)
def test_what_does_not_belong_to_the_file_is_refused(
    dataset: coco.CocoDataset, change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        read_results([GOOD, GOOD | change], dataset)
