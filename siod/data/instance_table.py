"""The instances of one split as arrays by image: what a run needs of an annotation file, and no more.

Where small copies of the images are looked at, the instances are those of the copies, and the way back to the frame of
the user's files goes with them. The tables of large files are written to the cache once, and all processes of a machine
have the same pages of memory for them; otherwise each would read COCO's 440 MB for itself.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

import msgspec
import numpy as np

from siod.data import coco
from siod.data.cached import creation_lock
from siod.data.category_states import annotated_images, category_states, is_federated
from siod.data.resized import copy_size
from siod.data.stated_sets import stated_set
from siod.errors import UserError
from siod.files import replacing
from siod.json_file import read_json, write_json
from siod.value import digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siod.data.category_states import Declared
    from siod.data.source import PreparedData

CACHE_BYTES = 512 * 2**20
"""A split whose decoded images take no more is kept in memory by a process that decodes for itself."""

WORTH_MAPPING_BYTES = 16 * 2**20
"""Smaller annotation files are read in less than a second."""

LAYOUT_VERSION = 1
"""Raised when the files of a table change their meaning."""

SAYS = "says.json"

ROWS = ("ids", "sizes", "names", "name_starts")
"""Of :class:`ImageRows`."""

ARRAYS = ("starts", "boxes_xyxy", "labels", "hidden", "to_file", "annotated", "states")
"""Of a table; the last two may be missing."""


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
        annotated: ``[I]``, false for those whose ``keep`` is 0 in the file; None if there is none such.
        copies: Folder of the small copies that are looked at, under the same names.
        states: ``[I, C]``, the ``siod.state.State`` of each category in each image; None where all are complete or
            absent.
        stated: What the file says that it holds, as :func:`siod.data.stated_sets.stated_set` names it.
        federated: Whether it says of images which categories were looked for.
        mapped: Folder of the files that the arrays lie in, if they do.
    """

    folder: Path
    images: Sequence[coco.ImageRecord]
    starts: NDArray[np.int64]
    boxes_xyxy: NDArray[np.float64]
    labels: NDArray[np.int64]
    hidden: NDArray[np.bool_]
    to_file: NDArray[np.float64]
    annotated: NDArray[np.bool_] | None = None
    copies: Path | None = None
    states: NDArray[np.int8] | None = None
    stated: str = ""
    federated: bool = False
    mapped: Path | None = None

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        """To another process go the names of mapped files, not what is in them."""
        if self.mapped is None:
            return super().__reduce_ex__(protocol)
        return map_table, (self.mapped, self.folder, self.copies)

    def __len__(self) -> int:
        """How many images."""
        return len(self.images)

    def rows(self, index: int) -> slice:
        """The rows of one image's instances."""
        return slice(int(self.starts[index]), int(self.starts[index + 1]))

    def fits_in_memory(self) -> bool:
        """Whether all decoded images take at most ``CACHE_BYTES``."""
        return int(coco.image_sizes(self.images).prod(axis=1).sum()) * 3 <= CACHE_BYTES


class ImageRows(Sequence[coco.ImageRecord]):
    """The records of images, each made from a few numbers when it is asked for.

    Args:
        ids: ``[I]``.
        sizes: ``[I, 2]``, width and height in pixels.
        names: UTF-8 bytes of all file names, one after the other.
        name_starts: ``[I + 1]``, where each begins.
    """

    def __init__(
        self,
        ids: NDArray[np.int64],
        sizes: NDArray[np.int64],
        names: NDArray[np.uint8],
        name_starts: NDArray[np.int64],
    ) -> None:
        self.ids, self.sizes, self.names, self.name_starts = ids, sizes, names, name_starts

    @classmethod
    def of(cls, images: Sequence[coco.ImageRecord]) -> ImageRows:
        """Rows with the same content."""
        names = [image.file_name.encode() for image in images]
        return cls(
            ids=np.array([image.id for image in images], dtype=np.int64),
            sizes=coco.image_sizes(images),
            names=np.frombuffer(b"".join(names), dtype=np.uint8),
            name_starts=np.concatenate([[0], np.cumsum([len(name) for name in names], dtype=np.int64)]),
        )

    def __len__(self) -> int:
        """How many images."""
        return len(self.ids)

    @overload
    def __getitem__(self, place: int) -> coco.ImageRecord: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[coco.ImageRecord, ...]: ...
    def __getitem__(self, place: int | slice) -> coco.ImageRecord | tuple[coco.ImageRecord, ...]:
        """The record at a place, or those of a slice."""
        if isinstance(place, slice):
            return tuple(self[each] for each in range(*place.indices(len(self))))
        place = range(len(self))[place]
        name = self.names[self.name_starts[place] : self.name_starts[place + 1]].tobytes().decode()
        width, height = self.sizes[place].tolist()
        return coco.ImageRecord(int(self.ids[place]), name, width, height)


def save_table(table: InstanceTable, folder: Path) -> None:
    """Write a table to files that :func:`map_table` maps.

    Args:
        table: Any.
        folder: Is there with all of them, or not at all.

    Raises:
        UserError: It cannot be written.
    """
    rows = ImageRows.of(table.images)
    arrays = {name: getattr(rows, name) for name in ROWS}
    arrays |= {name: array for name in ARRAYS if (array := getattr(table, name)) is not None}
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unfinished.") as unfinished:
            whole = Path(unfinished) / "whole"
            for name, array in arrays.items():
                with replacing(whole / f"{name}.npy") as temporary, temporary.open("wb") as file:
                    np.save(file, array)
            write_json(whole / SAYS, {"stated": table.stated, "federated": table.federated})
            whole.rename(folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{folder}: cannot be written ({reason}); free space or name another cache folder") from error


def map_table(mapped: Path, folder: Path, copies: Path | None) -> InstanceTable:
    """Map a table's files; what is looked at of them is read from the disk, once for all processes of a machine.

    Args:
        mapped: Folder of :func:`save_table`.
        folder: Where the image files of the data set lie.
        copies: Folder of the small copies that are looked at, if any.

    Returns:
        The table; its arrays cannot be written to.

    Raises:
        UserError: A file is missing or damaged.
    """

    def array(name: str) -> Any:
        return np.load(mapped / f"{name}.npy", mmap_mode="r", allow_pickle=False)

    try:
        # As plain arrays of the same pages: taking one record from maps takes three times as long.
        images = ImageRows(*(np.asarray(array(name)) for name in ROWS))
        arrays = {name: array(name) for name in ARRAYS if (mapped / f"{name}.npy").exists()}
        says = read_json(mapped / SAYS)
        return InstanceTable(folder=folder, images=images, **arrays, copies=copies, **says, mapped=mapped)
    except (OSError, ValueError, EOFError, TypeError, UserError) as error:
        raise UserError(f"{mapped}: is damaged ({error}); delete the folder and run again") from error


Small = tuple["Path", int]
"""Folder and longest side of small copies."""


def train_table(data: PreparedData) -> InstanceTable:
    """The training images with their annotated and their hidden instances."""
    small = None if data.copies is None else (data.copies.train, data.copies.longest_px)
    files = _TrainFiles(data.train, data.train_full, data.train_images, small, data.declared)
    return _table_of(files, data.tables, data.fingerprint)


def val_table(data: PreparedData) -> InstanceTable:
    """The validation images with all their instances."""
    small = None if data.copies is None else (data.copies.val, data.copies.longest_px)
    return _table_of(_ValFiles(data.val, data.val_images, small), data.tables, data.fingerprint)


@dataclass(frozen=True)
class _TrainFiles:
    """What the table of the training images is read from."""

    train: Path
    train_full: Path
    folder: Path
    small: Small | None
    declared: Declared | None

    def worth_mapping(self) -> bool:
        return _is_large(self.train_full)

    def read(self) -> InstanceTable:
        full = coco.read(self.train_full)
        learnt = full if self.train == self.train_full else coco.read(self.train)
        if {image.id for image in learnt.images} != {image.id for image in full.images}:
            raise UserError(f"{self.train}: lists other images than {self.train_full}; derive it from that file")
        if not np.isin(learnt.annotation_ids, full.annotation_ids).all():
            raise UserError(f"{self.train}: has annotations that {self.train_full} lacks; derive it from that file")
        hidden = ~np.isin(full.annotation_ids, learnt.annotation_ids)
        annotated = annotated_images(learnt, full)
        return replace(
            _table(full, self.folder, self.small, hidden=hidden),
            annotated=None if annotated.all() else annotated,
            states=category_states(learnt, full, self.declared),
        )


@dataclass(frozen=True)
class _ValFiles:
    """What the table of the validation images is read from."""

    val: Path
    folder: Path
    small: Small | None

    def worth_mapping(self) -> bool:
        return _is_large(self.val)

    def read(self) -> InstanceTable:
        dataset = coco.read(self.val)
        return _table(dataset, self.folder, self.small, hidden=np.zeros(len(dataset.annotation_ids), dtype=bool))


# Loops ask anew every epoch; the fingerprint makes sure that changed files are read again.
@lru_cache(maxsize=4)
def _table_of(files: _TrainFiles | _ValFiles, tables: Path | None, fingerprint: str) -> InstanceTable:
    """The table as it is mapped by all processes of this machine; read by this one alone where that takes no time."""
    key = digest({"version": LAYOUT_VERSION, "fingerprint": fingerprint, "files": repr(files)})
    if tables is None or not files.worth_mapping() or not (_may_write(tables) or (tables / key).exists()):
        return files.read()
    with creation_lock(tables / key) as missing:
        if missing:
            save_table(files.read(), tables / key)
    return map_table(tables / key, files.folder, None if files.small is None else files.small[0])


def _is_large(path: Path) -> bool:
    return path.exists() and path.stat().st_size >= WORTH_MAPPING_BYTES


def _may_write(folder: Path) -> bool:
    """Whether files can be made in a folder, or it itself."""
    there = next((each for each in (folder, *folder.parents) if each.exists()), folder)
    return os.access(there, os.W_OK)


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
        stated=stated_set(dataset.info()),
        federated=is_federated(dataset),
    )


def _shrunk(images: tuple[coco.ImageRecord, ...], longest_px: int) -> tuple[coco.ImageRecord, ...]:
    """The records with the sizes of their small copies."""
    sizes = (copy_size(image.width, image.height, longest_px) for image in images)
    return tuple(
        msgspec.structs.replace(image, width=width, height=height)
        for image, (width, height) in zip(images, sizes, strict=True)
    )
