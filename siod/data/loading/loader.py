"""Batches for training and evaluation, the same whatever the number of processes that make them.

All randomness of an image comes from (seed, epoch, place of the image), the order of an epoch from (seed,
epoch). Worker processes live on from epoch to epoch and get arrays, never the annotation file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch.utils.data import Dataset

from siod.data.instance_table import InstanceTable, train_table, val_table
from siod.data.loading.decoded import Pixels
from siod.data.loading.loader_processes import from_processes
from siod.data.loading.order import EpochShares, Key, Share
from siod.data.loading.pixels import change_colour, mean_rgb, warp_image
from siod.data.transforms import (
    PAD_TO_PX,
    Augmentation,
    Geometry,
    ShortEdge,
    draw_colour,
    draw_geometry,
    fit,
    fit_short_edge,
    warp_boxes,
)
from siod.state import State
from siod.types import Batch, Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from siod.data.loading.order import Shares
    from siod.data.source import PreparedData


@dataclass(frozen=True)
class Sample:
    """One image as the detector sees it, its instances, and the way back to the frame of the user's file."""

    image: Tensor
    boxes_xyxy: NDArray[np.float32]
    labels: NDArray[np.int64]
    hidden: NDArray[np.bool_]
    image_id: int
    to_original: NDArray[np.float64]
    annotated: bool | None
    states: NDArray[np.int8] | None


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
    states: NDArray[np.int8] | None

    @classmethod
    def of(cls, samples: list[Sample], input_size: tuple[int, int]) -> Self:
        """Pack samples, padded right and below to a height and width."""
        return cls(
            images=torch.stack([_padded(sample.image, *input_size) for sample in samples]),
            boxes_xyxy=np.concatenate([sample.boxes_xyxy for sample in samples]),
            labels=np.concatenate([sample.labels for sample in samples]),
            hidden=np.concatenate([sample.hidden for sample in samples]),
            counts=[len(sample.labels) for sample in samples],
            image_ids=tuple(sample.image_id for sample in samples),
            to_original=np.stack([sample.to_original for sample in samples]),
            annotated=_all_or_none([sample.annotated for sample in samples]),
            states=_stacked([sample.states for sample in samples]),
        )

    def share_memory(self) -> None:
        """Move the images to memory that other processes can be handed."""
        self.images.share_memory_()  # type: ignore[no-untyped-call]

    def pin_memory(self) -> Self:
        """Copy the images to page-locked memory (called by the torch data loader)."""
        return replace(self, images=self.images.pin_memory())

    def unpack(self) -> Batch:
        """The batch as the rest of siod knows it."""
        boxes, labels, hidden = map(torch.from_numpy, (self.boxes_xyxy, self.labels, self.hidden))
        parts = (torch.split(column, self.counts) for column in (boxes, labels, hidden))
        nothing, known = [None] * len(self.counts), self.states
        states = nothing if known is None else torch.from_numpy(known)
        unlabelled = nothing if known is None else (known == State.UNLABELLED).any(axis=1).tolist()
        columns = zip(*parts, states, unlabelled, strict=True)
        targets = (Target(b[~h], n[~h], b[h], n[h], s, u) for b, n, h, s, u in columns)
        to_original = torch.from_numpy(self.to_original).float()
        return Batch(self.images, tuple(targets), self.image_ids, to_original, self.annotated)


class Images(Dataset[Packed], ABC):
    """Images of a table as the detector sees them; a share of them gives a packed batch."""

    def __init__(self, table: InstanceTable, input_size: tuple[int, int] | None, *, keep: bool) -> None:
        self.table = table
        self.input_size = input_size
        self.pixels = Pixels(table, keep=keep)

    def __getitem__(self, share: Share) -> Packed:
        """The images of a share, padded to the largest of the whole batch, which is not decoded for that.

        The loss of an image depends on how far it is padded, so that must not depend on the number of workers.
        """
        size = self.input_size or largest(self.geometry(key).input_size for key in share.batch)
        return Packed.of([self.sample(key) for key in share.mine], size)

    @abstractmethod
    def geometry(self, key: Key) -> Geometry:
        """Where image ``key[2]`` lies in its input."""

    @abstractmethod
    def sample(self, key: Key) -> Sample:
        """Image ``key[2]``."""


def largest(sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """The least height and width that hold inputs of all these sizes."""
    heights, widths = zip(*sizes, strict=True)
    return max(heights), max(widths)


class TrainImages(Images):
    """Training images, augmented by seed and epoch."""

    def __init__(self, table: InstanceTable, augmentation: Augmentation, *, keep: bool) -> None:
        super().__init__(table, augmentation.input_size, keep=keep)
        self.augmentation = augmentation

    def geometry(self, key: Key) -> Geometry:
        """Where image ``key[2]`` lies in its input in epoch ``key[1]`` of seed ``key[0]``."""
        return self._draw(key, np.random.default_rng(key))

    def _draw(self, key: Key, rng: np.random.Generator) -> Geometry:
        record = self.table.images[key[2]]
        return draw_geometry(self.augmentation, rng, record.height, record.width)

    def sample(self, key: Key) -> Sample:
        """Image ``key[2]`` as it is augmented in epoch ``key[1]`` of seed ``key[0]``."""
        rng = np.random.default_rng(key)
        geometry = self._draw(key, rng)
        image = warp_image(self.pixels[key[2]], geometry)
        if self.augmentation.changes_colour:
            image = change_colour(image, *draw_colour(self.augmentation, rng, mean_rgb(image)))
        return _sample(self.table, key[2], image, geometry)


class EvalImages(Images):
    """Validation images, padded or fitted; of their keys only the place counts."""

    def __init__(
        self, table: InstanceTable, input_size: tuple[int, int] | None, short_edge: ShortEdge | None, *, keep: bool
    ) -> None:
        super().__init__(table, input_size, keep=keep)
        self.short_edge = short_edge

    def geometry(self, key: Key) -> Geometry:
        """Where image ``key[2]`` lies in its input."""
        size = (self.table.images[key[2]].height, self.table.images[key[2]].width)
        if self.input_size is not None:
            return fit(size, self.input_size)
        if self.short_edge is not None:
            return fit_short_edge(size, self.short_edge.lengths[-1], self.short_edge.longest)
        height, width = (-(-side // PAD_TO_PX) * PAD_TO_PX for side in size)
        return Geometry(size, size, (0, 0), flip=False, input_size=(height, width))

    def sample(self, key: Key) -> Sample:
        """Image ``key[2]``."""
        geometry = self.geometry(key)
        return _sample(self.table, key[2], warp_image(self.pixels[key[2]], geometry), geometry)


class Batches:
    """The batches of one worker and one epoch; can be iterated more than once."""

    def __init__(self, dataset: Images, shares: Shares, *, workers: int, pin_memory: bool) -> None:
        self._dataset = dataset
        self._shares = shares
        self._workers = workers
        self._pin_memory = pin_memory

    def __len__(self) -> int:
        """How many batches."""
        return len(self._shares)

    def __iter__(self) -> Iterator[Batch]:
        """Make the batches, first to last."""
        if self._workers == 0:
            packs: Iterator[Packed] = (self._dataset[share] for share in self._shares)
            return (pack.pin_memory().unpack() if self._pin_memory else pack.unpack() for pack in packs)
        packs = from_processes(self._dataset, self._shares, self._workers, pin_memory=self._pin_memory)
        return (pack.unpack() for pack in packs)


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

    The images of step n and how far they are padded are the same for every ``world_size``; what does not fill a
    batch is left for another epoch's order.

    Args:
        data: The prepared files.
        augmentation: What may happen to an image, and whether images of like shape share a batch.
        batch_size: Images of one step over all workers of the training, at least one for each.
        seed: With the epoch, decides order and augmentation; at least 0.
        epoch: Counts from 1.
        rank: Of this worker among those that train.
        world_size: How many train.
        workers: Processes that decode and augment for this worker; 0 does so in the calling one.
        pin_memory: Put images into page-locked memory.

    Returns:
        Batches of ``batch_size / world_size`` images; where that leaves a rest, the first workers have one more.
        Targets are in the input's frame; instances that left it are dropped.

    Raises:
        ValueError: There are more workers than images in a batch.
    """
    dataset = _train_images(train_table(data), augmentation, in_process=workers == 0)
    shares = EpochShares(
        seed,
        epoch,
        images=len(dataset.table),
        batch_size=batch_size,
        rank=rank,
        world_size=world_size,
        shape=(lambda key: dataset.geometry(key).input_size) if augmentation.group_shapes else None,
    )
    return Batches(dataset, shares, workers=workers, pin_memory=pin_memory)


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
        key = (0, 0, index)
        by_size.setdefault(dataset.geometry(key).input_size, []).append(key)
    batches = [
        keys[first : first + batch_size]
        for _, keys in sorted(by_size.items())
        for first in range(0, len(keys), batch_size)
    ]
    shares = [Share(batch, batch) for batch in batches[rank::world_size]]
    return Batches(dataset, shares, workers=workers, pin_memory=pin_memory)


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
    keys = [[(0, 0, place)] for place in places]
    return Batches(dataset, [Share(key, key) for key in keys], workers=0, pin_memory=False)


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
    """A value for all images of a data set, or None if it is known of none."""
    known = tuple(flag for flag in flags if flag is not None)
    return known if len(known) == len(flags) else None


def _stacked(states: list[NDArray[np.int8] | None]) -> NDArray[np.int8] | None:
    """Those of all images of a data set, or None if it has none."""
    known = [one for one in states if one is not None]
    return np.stack(known) if known else None


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
        to_original=geometry.to_original() * table.to_file[index][:, None],
        annotated=None if table.annotated is None else bool(table.annotated[index]),
        states=None if table.states is None else table.states[index],
    )
