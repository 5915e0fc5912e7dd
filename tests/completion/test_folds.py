"""Folds: equal parts that depend on names alone, and files that hold everything but one of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from siod.completion.folds import fold_files, fold_of_images, only_in_one
from siod.data import coco
from siod.errors import UserError

NAMES = tuple(f"clip_{number // 5}_{number % 5}.png" for number in range(20))


def test_folds_are_of_equal_size_and_do_not_depend_on_the_order() -> None:
    fold = fold_of_images(NAMES, 3)
    assert sorted(np.bincount(fold).tolist()) == [6, 7, 7]
    assert fold_of_images(NAMES[::-1], 3)[::-1].tolist() == fold.tolist()
    assert fold_of_images(NAMES, 3, seed=1).tolist() != fold.tolist()


def test_the_frames_of_a_clip_share_a_fold() -> None:
    fold = fold_of_images(NAMES, 2, group=r"(clip_\d+)_")
    assert [set(fold[start : start + 5].tolist()) for start in range(0, 20, 5)] in (
        [{a}, {b}, {c}, {d}] for a in (0, 1) for b in (0, 1) for c in (0, 1) for d in (0, 1) if a + b + c + d == 2
    )


def test_fewer_images_than_folds_are_refused() -> None:
    with pytest.raises(UserError, match="--folds 5: there are 4 groups of images; name fewer folds"):
        fold_of_images(NAMES, 5, group=r"(clip_\d+)_")


def data(folder: Path, *, only_first: bool = False) -> coco.CocoDataset:
    boxes = [1] if only_first else [1, 2, 3, 4]
    images = [f'{{"id": {n}, "file_name": "{n}.png", "width": 9, "height":  9}}' for n in (1, 2, 3, 4)]
    annotations = [f'{{"id": {n}, "image_id": {n}, "category_id": 1, "bbox": [0, 0,  {n}, 1.50]}}' for n in boxes]
    (folder / "mine.json").write_text(
        '{"info": {"annotation_set": {"policy": "keep", "k": 1}}, "licence": "CC0", '
        f'"images": [{", ".join(images)}], "annotations": [{", ".join(annotations)}], '
        '"categories": [{"id": 1, "name": "cell"}]}'
    )
    return coco.read(folder / "mine.json")


def test_each_file_has_the_entries_of_the_other_folds_as_they_are(tmp_path: Path) -> None:
    dataset = data(tmp_path)
    first, second = fold_files(dataset, np.array([0, 1, 1, 0]), tmp_path / "cache")
    assert [one.id for one in coco.read(first).images] == [2, 3]
    assert [one.id for one in coco.read(second).images] == [1, 4]
    assert bytes(coco.read(second).annotation_records()[1]) == bytes(dataset.annotation_records()[3])
    whole = json.loads(first.read_text())
    assert whole["licence"] == "CC0"
    assert whole["info"]["annotation_set"] == {"policy": "keep", "k": 1}
    assert whole["info"]["without_fold"] == {"number": 1, "source_sha256": dataset.sha256}
    assert fold_files(dataset, np.array([0, 1, 1, 0]), tmp_path / "cache") == (first, second)


def test_a_category_that_one_fold_holds_alone_is_named(tmp_path: Path) -> None:
    assert only_in_one(data(tmp_path, only_first=True), np.array([1, 0, 0, 1])) == ("cell",)
    assert only_in_one(data(tmp_path), np.array([1, 0, 0, 1])) == ()
