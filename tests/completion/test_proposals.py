"""Proposals in a file: what is written comes back, and only beside the annotation file it was made for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from siod.completion.proposals import CategoryRate, Origin, Proposal, read_proposals, write_proposals
from siod.data import coco
from siod.errors import UserError

DOCUMENT = {
    "images": [{"id": 3, "file_name": "a.png", "width": 40, "height": 30, "licence": "CC0"}],
    "annotations": [{"id": 8, "image_id": 3, "category_id": 2, "bbox": [1, 2, 10, 10]}],
    "categories": [{"id": 2, "name": "cell"}],
}
RATE = CategoryRate(2, 1, 0.75, 0.125, 0.0, 0.25, pooled=False)
BOX = Proposal(9, 3, 2, (20.0, 5.0, 8.0, 8.0), 0.75, 0.125, 0.0, 0.25, "some")


def annotated(folder: Path) -> coco.CocoDataset:
    coco.write(folder / "mine.json", DOCUMENT)
    return coco.read(folder / "mine.json")


def origin(dataset: coco.CocoDataset) -> Origin:
    return Origin(str(dataset.path), dataset.sha256, str(dataset.path.parent), "a detector", 0.1, None, 2, 0.9, (RATE,))


def test_proposals_come_back_as_they_were_written(tmp_path: Path) -> None:
    dataset = annotated(tmp_path)
    written = write_proposals(tmp_path / "proposals.json", origin(dataset), dataset, (BOX,))
    read = read_proposals(tmp_path)
    assert (read.origin, read.boxes, read.sha256) == (written.origin, (BOX,), written.sha256)


def test_the_file_is_a_coco_file_with_the_users_images(tmp_path: Path) -> None:
    dataset = annotated(tmp_path)
    write_proposals(tmp_path / "proposals.json", origin(dataset), dataset, (BOX,))
    proposed = coco.read(tmp_path / "proposals.json")
    assert proposed.boxes_xywh.tolist() == [[20, 5, 8, 8]]
    assert proposed.area.tolist() == [64]
    assert json.loads(bytes(proposed.sections["images"])) == DOCUMENT["images"]


def test_proposals_for_another_file_are_refused(tmp_path: Path) -> None:
    dataset = annotated(tmp_path)
    write_proposals(tmp_path / "proposals.json", origin(dataset), dataset, (BOX,))
    coco.write(dataset.path, {**DOCUMENT, "annotations": []})
    with pytest.raises(UserError, match=r"mine.json: is not the file that .* was made for, or has changed since"):
        read_proposals(tmp_path)


def test_a_file_without_proposals_is_refused(tmp_path: Path) -> None:
    coco.write(tmp_path / "proposals.json", DOCUMENT)
    with pytest.raises(UserError, match="holds no proposals of siod complete"):
        read_proposals(tmp_path)
