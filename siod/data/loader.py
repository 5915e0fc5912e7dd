"""Batches for training and evaluation, the same whatever the number of processes that make them.

All randomness of an image comes from (seed, epoch, place of the image), the order of an epoch from (seed,
epoch). Worker processes live on from epoch to epoch and get arrays, never the annotation file.
"""

from __future__ import annotations

import multiprocessing
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from siod.data.table import InstanceTable, Pixels, train_table, val_table
from siod.data.transforms import (
    PAD_TO_PX,
    Augmentation,
    Geometry,
    ShortEdge,
    change_colour,
    draw_colour,
    draw_geometry,
    fit,
    fit_short_edge,
    mean_rgb,
    warp_boxes,
    warp_image,
)
from siod.errors import UserError
from siod.types import Batch, Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from siod.data.source import PreparedData

IDLE_LOADERS = 4
"""Sets of worker processes that wait for their next epoch."""

Key = tuple[int, int, int]
"""Seed, epoch and place of an image."""


@dataclass(frozen=True)
class Sample:
    """One image as the detector sees it, its instances, and the way back to the file's frame."""

    image: Tensor
    boxes_xyxy: NDArray[np.float32]
    labels: NDArray[np.int64]
    hidden: NDArray[np.bool_]
    image_id: int
    to_original: NDArray[np.float64]
    annotated: bool | None


@dataclass(frozen=True)
class Packed:
    """A batch on its way between processes: few large arrays instead of many small tensors."""

    images: Tensor
    boxes_xyxy: NDArray[np.float32]
    labels: NDArray[np.int64]
    hidden: NDArray[np.bool_]
    counts: list[int]
    image_ids: tuple[int, ...]
    to_original: NDArray[np.float64]
    annotated: tuple[bool, ...] | None

    @classmethod
    def of(cls, samples: list[Sample]) -> Self:
        """Pack samples, padded right and below to the largest of them."""
        height, width = (max(sample.image.shape[axis] for sample in samples) for axis in (1, 2))
        return cls(
            images=torch.stack([_padded(sample.image, height, width) for sample in samples]),
            boxes_xyxy=np.concatenate([sample.boxes_xyxy for sample in samples]),
            labels=np.concatenate([sample.labels for sample in samples]),
            hidden=np.concatenate([sample.hidden for sample in samples]),
            counts=[len(sample.labels) for sample in samples],
            image_ids=tuple(sample.image_id for sample in samples),
            to_original=np.stack([sample.to_original for sample in samples]),
            annotated=_all_or_none([sample.annotated for sample in samples]),
        )

    def pin_memory(self) -> Self:
        """Copy the images to page-locked memory (called by the torch data loader)."""
        return replace(self, images=self.images.pin_memory())

    def unpack(self) -> Batch:
        """The batch as the rest of siod knows it."""
        boxes, labels, hidden = map(torch.from_numpy, (self.boxes_xyxy, self.labels, self.hidden))
        parts = (torch.split(column, self.counts) for column in (boxes, labels, hidden))
        targets = (Target(b[~h], n[~h], b[h], n[h]) for b, n, h in zip(*parts, strict=True))
        to_original = torch.from_numpy(self.to_original).float()
        return Batch(self.images, tuple(targets), self.image_ids, to_original, self.annotated)


class TrainImages(Dataset[Sample]):
    """Training images, augmented; addressed by seed, epoch and place."""

    def __init__(self, table: InstanceTable, augmentation: Augmentation, *, keep: bool) -> None:
        self.table = table
        self.augmentation = augmentation
        self.pixels = Pixels(table, keep=keep)

    def __getitem__(self, key: Key) -> Sample:
        """Image ``key[2]`` as it is augmented in epoch ``key[1]`` of seed ``key[0]``."""
        rng = np.random.default_rng(key)
        index = key[2]
        record = self.table.images[index]
        geometry = draw_geometry(self.augmentation, rng, record.height, record.width)
        image = warp_image(self.pixels[index], geometry)
        if self.augmentation.changes_colour:
            image = change_colour(image, *draw_colour(self.augmentation, rng, mean_rgb(image)))
        return _sample(self.table, index, image, geometry)


class EvalImages(Dataset[Sample]):
    """Validation images, padded or fitted; addressed like training images, of whose key only the place counts."""

    def __init__(
        self, table: InstanceTable, input_size: tuple[int, int] | None, short_edge: ShortEdge | None, *, keep: bool
    ) -> None:
        self.table = table
        self.input_size = input_size
        self.short_edge = short_edge
        self.pixels = Pixels(table, keep=keep)

    def geometry(self, index: int) -> Geometry:
        """Where image ``index`` lies in its input."""
        size = (self.table.images[index].height, self.table.images[index].width)
        if self.input_size is not None:
            return fit(size, self.input_size)
        if self.short_edge is not None:
            return fit_short_edge(size, self.short_edge.lengths[-1], self.short_edge.longest)
        height, width = (-(-side // PAD_TO_PX) * PAD_TO_PX for side in size)
        return Geometry(size, size, (0, 0), flip=False, input_size=(height, width))

    def __getitem__(self, key: Key) -> Sample:
        """Image ``key[2]``."""
        geometry = self.geometry(key[2])
        return _sample(self.table, key[2], warp_image(self.pixels[key[2]], geometry), geometry)


class Batches:
    """The batches of one worker and one epoch; can be iterated more than once."""

    def __init__(
        self, dataset: TrainImages | EvalImages, keys: list[list[Key]], *, workers: int, pin_memory: bool
    ) -> None:
        self._dataset = dataset
        self._keys = keys
        self._workers = workers
        self._pin_memory = pin_memory

    def __len__(self) -> int:
        """How many batches."""
        return len(self._keys)

    def __iter__(self) -> Iterator[Batch]:
        """Make the batches, first to last."""
        if self._workers == 0:
            packs: Iterator[Packed] = (Packed.of([self._dataset[key] for key in keys]) for keys in self._keys)
            return (pack.pin_memory().unpack() if self._pin_memory else pack.unpack() for pack in packs)
        return (
            pack.unpack()
            for pack in _from_workers(self._dataset, self._keys, self._workers, pin_memory=self._pin_memory)
        )


def train_batches(
    data: PreparedData,
    augmentation: Augmentation,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    pin_memory: bool = False,
) -> Batches:
    """One worker's share of an epoch over the training images, in random order.

    The images of step n are the same for every ``world_size``; what does not fill a batch is left for
    another epoch's order.

    Args:
        data: The prepared files.
        augmentation: What may happen to an image.
        batch_size: Images of one step over all workers of the training.
        seed: With the epoch, decides order and augmentation; at least 0.
        epoch: Counts from 1.
        rank: Of this worker among those that train.
        world_size: How many train.
        workers: Processes that decode and augment for this worker; 0 does so in the calling one.
        pin_memory: Put images into page-locked memory.

    Returns:
        Batches of ``batch_size / world_size`` images. Targets are in the input's frame; instances that left
        it are dropped.

    Raises:
        ValueError: The batch does not divide among the workers.
    """
    if batch_size % world_size:
        raise ValueError(f"batch_size must be a multiple of world_size {world_size}, not {batch_size}")
    dataset = _train_images(train_table(data), augmentation, in_process=workers == 0)
    order = np.random.default_rng((seed, epoch)).permutation(len(dataset.table)).tolist()
    share = batch_size // world_size
    firsts = range(rank * share, len(order) - len(order) % batch_size, batch_size)
    keys = [[(seed, epoch, index) for index in order[first : first + share]] for first in firsts]
    return Batches(dataset, keys, workers=workers, pin_memory=pin_memory)


def eval_batches(
    data: PreparedData,
    *,
    batch_size: int,
    input_size: tuple[int, int] | None = None,
    short_edge: ShortEdge | None = None,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    pin_memory: bool = False,
) -> Batches:
    """One worker's share of the validation images; every image is in exactly one share.

    Args:
        data: The prepared files.
        batch_size: Most images at a time.
        input_size: Height and width to fit images into, centred on black; None keeps their resolution and
            pads right and below to a multiple of 32.
        short_edge: Resize to the last of its lengths before padding.
        rank: Of this worker.
        world_size: How many workers share the images.
        workers: Processes that decode for this worker; 0 does so in the calling one.
        pin_memory: Put images into page-locked memory.

    Returns:
        Batches of images of equal input size. The batches do not depend on the number of workers, only
        who gets which does.
    """
    dataset = _eval_images(val_table(data), input_size, short_edge, in_process=workers == 0)
    by_size: dict[tuple[int, int], list[Key]] = {}
    for index in range(len(dataset.table)):
        by_size.setdefault(dataset.geometry(index).input_size, []).append((0, 0, index))
    batches = [
        keys[first : first + batch_size]
        for _, keys in sorted(by_size.items())
        for first in range(0, len(keys), batch_size)
    ]
    return Batches(dataset, batches[rank::world_size], workers=workers, pin_memory=pin_memory)


def plain_training_images(
    data: PreparedData,
    places: Sequence[int],
    *,
    input_size: tuple[int, int] | None = None,
    short_edge: ShortEdge | None = None,
) -> Batches:
    """Training images as validation images are looked at, one at a time, with what is annotated and what is hidden.

    Args:
        data: The prepared files.
        places: Of the images among the training images, from 0.
        input_size: As for :func:`eval_batches`.
        short_edge: Likewise.

    Returns:
        Batches of one image, in the order of ``places``.
    """
    dataset = EvalImages(train_table(data), input_size, short_edge, keep=False)
    return Batches(dataset, [[(0, 0, place)] for place in places], workers=0, pin_memory=False)


# Kept from epoch to epoch for the sake of the images they remember.
@lru_cache(maxsize=2)
def _train_images(table: InstanceTable, augmentation: Augmentation, *, in_process: bool) -> TrainImages:
    return TrainImages(table, augmentation, keep=in_process and table.fits_in_memory())


@lru_cache(maxsize=2)
def _eval_images(
    table: InstanceTable, input_size: tuple[int, int] | None, short_edge: ShortEdge | None, *, in_process: bool
) -> EvalImages:
    return EvalImages(table, input_size, short_edge, keep=in_process and table.fits_in_memory())


def _all_or_none(flags: list[bool | None]) -> tuple[bool, ...] | None:
    """A data set tells of all of its images or of none."""
    known = tuple(flag for flag in flags if flag is not None)
    return known if len(known) == len(flags) else None


def _padded(image: Tensor, height: int, width: int) -> Tensor:
    below, right = height - image.shape[1], width - image.shape[2]
    return torch.nn.functional.pad(image, (0, right, 0, below)) if below or right else image


def _sample(table: InstanceTable, index: int, image: Tensor, geometry: Geometry) -> Sample:
    rows = table.rows(index)
    boxes, visible = warp_boxes(table.boxes_xyxy[rows], geometry)
    return Sample(
        image=image,
        boxes_xyxy=boxes[visible].astype(np.float32),
        labels=table.labels[rows][visible],
        hidden=table.hidden[rows][visible],
        image_id=table.images[index].id,
        to_original=geometry.to_original(),
        annotated=None if table.annotated is None else table.annotated[index],
    )


class _Keys:
    """The keys of the epoch at hand, handed to a loader that outlives it."""

    def __init__(self) -> None:
        self.batches: list[list[Key]] = []

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


_idle: OrderedDict[tuple[Any, ...], tuple[DataLoader[Any], _Keys]] = OrderedDict()


def _from_workers(
    dataset: TrainImages | EvalImages, batches: list[list[Key]], workers: int, *, pin_memory: bool
) -> Iterator[Packed]:
    """Let worker processes make the batches; a set of them that finished an epoch waits for the next."""
    name = (id(dataset), workers, pin_memory)
    loader, keys = _idle.pop(name) if name in _idle else _new_loader(dataset, workers, pin_memory=pin_memory)
    keys.batches = batches
    try:
        yield from loader
    except UserError as error:  # torch prefixes the sentence with the worker's traceback
        sentence = str(error).rstrip().rpartition("\n")[2].partition(": ")[2]
        raise UserError(sentence) from error
    _idle[name] = (loader, keys)
    if len(_idle) > IDLE_LOADERS:
        _idle.popitem(last=False)


def _new_loader(dataset: TrainImages | EvalImages, workers: int, *, pin_memory: bool) -> tuple[DataLoader[Any], _Keys]:
    keys = _Keys()
    # Not fork: the caller may hold threads of torch or Ray.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["siod.data.loader"])
    loader = DataLoader(
        dataset,
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=Packed.of,
        persistent_workers=True,
        pin_memory=pin_memory,
        multiprocessing_context=context,
        generator=torch.Generator(),  # leaves torch's global stream alone
    )
    return loader, keys
