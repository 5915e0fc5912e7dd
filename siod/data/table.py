"""The instances of one split as arrays by image: what loading needs of an annotation file, and no more."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from siod.data import coco
from siod.data.images import decode_record
from siod.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from siod.data.source import PreparedData

CACHE_BYTES = 512 * 2**20
"""A split whose decoded images take no more is kept in memory by a process that decodes for itself."""


@dataclass(frozen=True, eq=False)
class InstanceTable:
    """Images and their instances; crowd boxes are left out.

    Attributes:
        folder: Where the image files lie.
        images: In the order of the file.
        starts: The instances of image i are the rows ``starts[i]`` to ``starts[i + 1]``.
        boxes_xyxy: ``[N, 4]`` in pixels of the image files.
        labels: ``[N]``.
        hidden: ``[N]``, true for instances the annotation set left out.
        annotated: By image, false for those whose ``keep`` is 0 in the file; None if there is none such.
    """

    folder: Path
    images: tuple[coco.ImageRecord, ...]
    starts: NDArray[np.int64]
    boxes_xyxy: NDArray[np.float64]
    labels: NDArray[np.int64]
    hidden: NDArray[np.bool_]
    annotated: tuple[bool, ...] | None = None

    def __len__(self) -> int:
        """How many images."""
        return len(self.images)

    def rows(self, index: int) -> slice:
        """The rows of one image's instances."""
        return slice(int(self.starts[index]), int(self.starts[index + 1]))

    def fits_in_memory(self) -> bool:
        """Whether all decoded images take at most ``CACHE_BYTES``."""
        return int(coco.image_sizes(self.images).prod(axis=1).sum()) * 3 <= CACHE_BYTES


class Pixels:
    """The decoded images of a table, kept in memory once seen if ``keep``."""

    def __init__(self, table: InstanceTable, *, keep: bool) -> None:
        self.table = table
        self._kept: dict[int, Tensor] | None = {} if keep else None

    def __getitem__(self, index: int) -> Tensor:
        """RGB, uint8 ``[3, H, W]``; not to be written to."""
        if self._kept is None:
            return decode_record(self.table.folder, self.table.images[index])
        if index not in self._kept:
            self._kept[index] = decode_record(self.table.folder, self.table.images[index])
        return self._kept[index]


def train_table(data: PreparedData) -> InstanceTable:
    """The training images with their annotated and their hidden instances."""
    return _train_table(data.train, data.train_full, data.train_images, data.fingerprint)


def val_table(data: PreparedData) -> InstanceTable:
    """The validation images with all their instances."""
    return _val_table(data.val, data.val_images, data.fingerprint)


# Loops ask anew every epoch; the fingerprint makes sure that changed files are read again.
@lru_cache(maxsize=2)
def _train_table(train: Path, train_full: Path, folder: Path, _fingerprint: str) -> InstanceTable:
    full = coco.read(train_full)
    learnt = full if train == train_full else coco.read(train)
    if {image.id for image in learnt.images} != {image.id for image in full.images}:
        raise UserError(f"{train}: lists other images than {train_full}; derive it from that file")
    if not np.isin(learnt.annotation_ids, full.annotation_ids).all():
        raise UserError(f"{train}: has annotations that {train_full} lacks; derive it from that file")
    hidden = ~np.isin(full.annotation_ids, learnt.annotation_ids)
    return replace(_table(full, folder, hidden=hidden), annotated=_annotated(learnt, full))


@lru_cache(maxsize=2)
def _val_table(val: Path, folder: Path, _fingerprint: str) -> InstanceTable:
    dataset = coco.read(val)
    return _table(dataset, folder, hidden=np.zeros(len(dataset.annotation_ids), dtype=bool))


def _annotated(learnt: coco.CocoDataset, full: coco.CocoDataset) -> tuple[bool, ...] | None:
    """Which images of ``full`` are annotated, where the file of annotations tells by ``keep`` 1 or 0."""
    if b'"keep"' not in bytes(learnt.sections["images"]):
        return None
    records = zip(learnt.images, learnt.image_records(), strict=True)
    left_out = {image.id for image, record in records if msgspec.json.decode(record).get("keep", 1) == 0}
    return tuple(image.id not in left_out for image in full.images) if left_out else None


def _table(dataset: coco.CocoDataset, folder: Path, *, hidden: NDArray[np.bool_]) -> InstanceTable:
    rows = np.flatnonzero(~dataset.iscrowd)
    rows = rows[np.argsort(dataset.image_index[rows], kind="stable")]
    counts = np.bincount(dataset.image_index[rows], minlength=len(dataset.images))
    return InstanceTable(
        folder=folder,
        images=dataset.images,
        starts=np.concatenate([[0], np.cumsum(counts)]),
        boxes_xyxy=dataset.boxes_xyxy[rows],
        labels=dataset.labels[rows],
        hidden=hidden[rows],
    )
