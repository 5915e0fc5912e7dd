"""Instances as arrays: the same whether they are read from the annotation file or mapped from what is kept of it."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from siod.data import coco, instance_table
from siod.data.annotation_sets import Full, Keep
from siod.data.coco import ImageRecord
from siod.data.digits import Digits
from siod.data.instance_table import ARRAYS, ImageRows, InstanceTable, map_table, train_table, val_table
from siod.data.loading.loader import train_batches
from siod.data.source import CocoFiles, PreparedData, prepare
from siod.data.transforms import Augmentation
from siod.errors import UserError
from siod.training.by_category import count_boxes

if TYPE_CHECKING:
    from pathlib import Path

    from siod.data.annotation_sets import Policy


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every annotation file is worth mapping; those that are read are listed."""
    found: list[Path] = []
    read = coco.read

    def reading(path: Path) -> coco.CocoDataset:
        found.append(path)
        return read(path)

    monkeypatch.setattr(instance_table, "WORTH_MAPPING_BYTES", 0)
    monkeypatch.setattr(instance_table.coco, "read", reading)
    as_in_another_process()
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> CocoFiles:
    """Digits, of which one category is said to be complete; one image was not annotated, one box is a crowd."""
    cache = tmp_path_factory.mktemp("whole")
    data = prepare(Digits(train_images=12, val_images=4), Full(), cache)
    document = json.loads(data.train.read_text())
    document["images"][3]["keep"] = 0
    document["annotations"][0]["iscrowd"] = 1
    document["info"] = {"annotation_set": {"policy": "keep", "k": 2}}
    path = cache / "train.json"
    path.write_text(json.dumps(document))
    return CocoFiles(
        train_annotations=path,
        train_images=data.train_images,
        val_annotations=data.val,
        val_images=data.val_images,
        complete=(data.category_names[0],),
        others="some",
    )


def as_in_another_process() -> None:
    instance_table._table_of.cache_clear()
    count_boxes.cache_clear()


def assert_same(one: InstanceTable, other: InstanceTable) -> None:
    for name in ARRAYS:
        left, right = getattr(one, name), getattr(other, name)
        assert (left is None) == (right is None), name
        if left is not None:
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right, strict=True)
    assert tuple(one.images) == tuple(other.images)
    said = [(table.folder, table.copies, table.stated, table.federated) for table in (one, other)]
    assert said[0] == said[1]


@pytest.mark.parametrize("policy", [Full(), Keep()])
@pytest.mark.parametrize("longest_px", [None, 48])
def test_what_is_mapped_is_what_is_read(
    whole: CocoFiles, policy: Policy, longest_px: int | None, tmp_path: Path, counted: list[Path]
) -> None:
    data = prepare(whole.with_changes({"longest_px": longest_px}), policy, tmp_path)
    for table_of in (train_table, val_table):
        as_in_another_process()
        mapped = table_of(data)
        assert mapped.mapped is not None
        assert mapped.mapped.parent == tmp_path / "tables"
        read = table_of(replace(data, tables=None))
        assert read.mapped is None
        assert_same(mapped, read)
    assert train_table(data).stated == "keep-2"
    assert train_table(data).states is not None
    assert counted


def test_a_file_is_read_by_the_first_process_that_asks(whole: CocoFiles, tmp_path: Path, counted: list[Path]) -> None:
    data = prepare(whole, Keep(), tmp_path)
    counted.clear()
    train_table(data)
    assert counted == [data.train_full, data.train]
    as_in_another_process()
    assert count_boxes(data)["train_set"] == "keep-2"
    assert counted == [data.train_full, data.train, data.val]


def test_another_set_has_another_table(whole: CocoFiles, tmp_path: Path, counted: list[Path]) -> None:
    tables = {train_table(prepare(whole, policy, tmp_path)).mapped for policy in (Full(), Keep(), Keep(k=2))}
    undeclared = whole.with_changes({"complete": None, "others": "unlabelled"})
    tables.add(train_table(prepare(undeclared, Keep(), tmp_path)).mapped)
    assert len(tables) == 4
    data = prepare(whole, Full(), tmp_path)
    judged, tested = val_table(data), val_table(replace(data, val=data.train, val_images=data.train_images))
    assert len(judged) == 4
    assert len(tested) == 12
    assert counted


def test_to_another_process_goes_where_the_table_lies(whole: CocoFiles, tmp_path: Path, counted: list[Path]) -> None:
    data = prepare(whole, Keep(), tmp_path)
    table = train_table(data)
    sent = pickle.dumps(table)
    assert len(sent) < 1000
    arrived = pickle.loads(sent)  # noqa: S301  (our own)
    assert_same(arrived, table)
    assert isinstance(arrived.boxes_xyxy, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        arrived.boxes_xyxy[0] = 0
    read = train_table(replace(data, tables=None))
    assert_same(pickle.loads(pickle.dumps(read)), read)  # noqa: S301
    assert counted


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_the_same(whole: CocoFiles, workers: int, tmp_path: Path, counted: list[Path]) -> None:
    data = prepare(whole, Keep(), tmp_path)
    augmentation = Augmentation(input_size=(64, 64))

    def batches(of: PreparedData) -> list[torch.Tensor]:
        found = train_batches(of, augmentation, batch_size=4, seed=1, epoch=1, workers=workers)
        return [part for batch in found for part in (batch.images, *(target.boxes_xyxy for target in batch.targets))]

    for mapped, read in zip(batches(data), batches(replace(data, tables=None)), strict=True):
        torch.testing.assert_close(mapped, read, rtol=0, atol=0)
    assert counted


def test_a_damaged_file_is_told_with_the_remedy(whole: CocoFiles, tmp_path: Path, counted: list[Path]) -> None:
    data = prepare(whole, Keep(), tmp_path)
    mapped = train_table(data).mapped
    assert mapped is not None
    for file in (mapped / "boxes_xyxy.npy", mapped / "says.json"):
        content = file.read_bytes()
        for damaged in (content[: len(content) // 2], b"", None):
            file.unlink()
            if damaged is not None:
                file.write_bytes(damaged)
            as_in_another_process()
            with pytest.raises(UserError, match=rf"{mapped}: is damaged .*; delete the folder and run again"):
                train_table(data)
            file.write_bytes(content)
    assert counted


def test_what_cannot_be_written_is_told_and_leaves_nothing(
    whole: CocoFiles, tmp_path: Path, counted: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = prepare(whole, Keep(), tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(instance_table.np, "save", full)
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\); free space"):
        train_table(data)
    assert [path for path in (tmp_path / "tables").iterdir() if not path.name.endswith(".lock")] == []
    assert counted


def test_a_cache_that_only_can_be_read_does_as_well(
    whole: CocoFiles, tmp_path: Path, counted: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = prepare(whole, Keep(), tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert train_table(data).mapped is None
    assert not (tmp_path / "tables").exists()
    monkeypatch.undo()
    monkeypatch.setattr(instance_table, "WORTH_MAPPING_BYTES", 0)
    as_in_another_process()
    there = train_table(data)
    monkeypatch.setattr(os, "access", lambda *_: False)
    as_in_another_process()
    assert train_table(data).mapped == there.mapped is not None
    assert counted


def test_small_files_are_read_by_everybody(whole: CocoFiles, tmp_path: Path) -> None:
    as_in_another_process()
    assert train_table(prepare(whole, Keep(), tmp_path)).mapped is None


def test_records_are_those_they_were_made_of() -> None:
    images = (
        ImageRecord(7, "a.jpg", 3, 4),
        ImageRecord(-2, "b/\u00e9\u4e2d.png", 2**31 - 1, 1),
        ImageRecord(0, "c", 5, 6),
    )
    rows = ImageRows.of(images)
    assert tuple(rows) == images
    assert rows[-1] == images[-1]
    assert rows[1:] == images[1:]
    with pytest.raises(IndexError):
        rows[3]
    assert len(ImageRows.of(())) == 0


def test_a_folder_that_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is damaged"):
        map_table(tmp_path, tmp_path, None)
