"""The instances of one split as arrays by image: what loading needs of an annotation file, and no more.

Where small copies of the images are looked at, the instances are those of the copies, and the way back to the frame of
the user's files goes with them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from siod.data import coco
from siod.data.category_states import annotated_images, category_states
from siod.data.images import BrokenImageError, decode_record
from siod.data.loading.pixels import as_tensor
from siod.data.resized import copy_size
from siod.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from siod.data.category_states import Declared
    from siod.data.source import PreparedData

CACHE_BYTES = 512 * 2**20
"""A split whose decoded images take no more is kept in memory by a process that decodes for itself."""


@dataclass(frozen=True, eq=False)
class InstanceTable:
    """Images and their instances; crowd boxes are left out.

    Attributes:
        folder: Where the image files of the data set lie.
        images: In the order of the file, with the size in which they are looked at.
        starts: The instances of image i are the rows ``starts[i]`` to ``starts[i + 1]``.
        boxes_xyxy: ``[N, 4]`` in pixels of the images as they are looked at.
        labels: ``[N]``.
        hidden: ``[N]``, true for instances the annotation set left out.
        to_file: ``[I, 2]``, pixels of the image file in one pixel of what is looked at, in x and y; 1 without copies.
        annotated: By image, false for those whose ``keep`` is 0 in the file; None if there is none such.
        copies: Folder of the small copies that are looked at, under the same names.
        states: ``[I, C]``, the ``siod.state.State`` of each category in each image; None where all are complete or
            absent.
    """

    folder: Path
    images: tuple[coco.ImageRecord, ...]
    starts: NDArray[np.int64]
    boxes_xyxy: NDArray[np.float64]
    labels: NDArray[np.int64]
    hidden: NDArray[np.bool_]
    to_file: NDArray[np.float64]
    annotated: tuple[bool, ...] | None = None
    copies: Path | None = None
    states: NDArray[np.int8] | None = None

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
            return _decoded(self.table, index)
        if index not in self._kept:
            self._kept[index] = _decoded(self.table, index)
        return self._kept[index]


def _decoded(table: InstanceTable, index: int) -> Tensor:
    image = table.images[index]
    if table.copies is None:
        return as_tensor(decode_record(table.folder, image))
    try:
        return as_tensor(decode_record(table.copies, image))
    except BrokenImageError as error:
        raise BrokenImageError(
            f"{table.folder / image.file_name}: its small copy is lost ({error}); "
            "delete all copies with siod data cache --clear and run again"
        ) from error


Small = tuple["Path", int]
"""Folder and longest side of small copies."""


def train_table(data: PreparedData) -> InstanceTable:
    """The training images with their annotated and their hidden instances."""
    small = None if data.copies is None else (data.copies.train, data.copies.longest_px)
    return _train_table(data.train, data.train_full, data.train_images, small, data.declared, data.fingerprint)


def val_table(data: PreparedData) -> InstanceTable:
    """The validation images with all their instances."""
    small = None if data.copies is None else (data.copies.val, data.copies.longest_px)
    return _val_table(data.val, data.val_images, small, data.fingerprint)


# Loops ask anew every epoch; the fingerprint makes sure that changed files are read again.
@lru_cache(maxsize=2)
def _train_table(
    train: Path, train_full: Path, folder: Path, small: Small | None, declared: Declared | None, _fingerprint: str
) -> InstanceTable:
    full = coco.read(train_full)
    learnt = full if train == train_full else coco.read(train)
    if {image.id for image in learnt.images} != {image.id for image in full.images}:
        raise UserError(f"{train}: lists other images than {train_full}; derive it from that file")
    if not np.isin(learnt.annotation_ids, full.annotation_ids).all():
        raise UserError(f"{train}: has annotations that {train_full} lacks; derive it from that file")
    hidden = ~np.isin(full.annotation_ids, learnt.annotation_ids)
    annotated = annotated_images(learnt, full)
    return replace(
        _table(full, folder, small, hidden=hidden),
        annotated=None if annotated.all() else tuple(annotated.tolist()),
        states=category_states(learnt, full, declared),
    )


@lru_cache(maxsize=2)
def _val_table(val: Path, folder: Path, small: Small | None, _fingerprint: str) -> InstanceTable:
    dataset = coco.read(val)
    return _table(dataset, folder, small, hidden=np.zeros(len(dataset.annotation_ids), dtype=bool))


def _table(dataset: coco.CocoDataset, folder: Path, small: Small | None, *, hidden: NDArray[np.bool_]) -> InstanceTable:
    rows = np.flatnonzero(~dataset.iscrowd)
    rows = rows[np.argsort(dataset.image_index[rows], kind="stable")]
    counts = np.bincount(dataset.image_index[rows], minlength=len(dataset.images))
    images = dataset.images if small is None else _shrunk(dataset.images, small[1])
    to_file = coco.image_sizes(dataset.images) / coco.image_sizes(images)
    return InstanceTable(
        folder=folder,
        images=images,
        starts=np.concatenate([[0], np.cumsum(counts)]),
        boxes_xyxy=dataset.boxes_xyxy[rows] / np.tile(to_file, 2)[dataset.image_index[rows]],
        labels=dataset.labels[rows],
        hidden=hidden[rows],
        to_file=to_file,
        copies=None if small is None else small[0],
    )


def _shrunk(images: tuple[coco.ImageRecord, ...], longest_px: int) -> tuple[coco.ImageRecord, ...]:
    """The records with the sizes of their small copies."""
    sizes = (copy_size(image.width, image.height, longest_px) for image in images)
    return tuple(
        msgspec.structs.replace(image, width=width, height=height)
        for image, (width, height) in zip(images, sizes, strict=True)
    )
