"""In which order an epoch shows its images, what makes a batch of them, and which of a batch are a worker's.

The images of a step depend on seed and epoch alone, never on how many workers share them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Key = tuple[int, int, int]
"""Seed, epoch and place of an image."""

SORTED_BATCHES = 32
"""Of so many batches' images, consecutive in the epoch's random order, those of like shape share a batch. More would
pad less and leave less to chance: at 4 images a batch, 75% of them wide, the pixels computed are 1.02 times those
needed; of 8 batches' images they would be 1.07 times, of 128 batches' 1.01."""


class Share(NamedTuple):
    """One worker's images of a batch, and all images of the batch, which decide together how far they are padded."""

    mine: Sequence[Key]
    batch: Sequence[Key]


class Shares(Protocol):
    """One worker's shares of some batches, in order; can be iterated more than once."""

    def __len__(self) -> int:
        """How many."""

    def __iter__(self) -> Iterator[Share]:
        """First to last."""


@dataclass(frozen=True)
class EpochShares:
    """One worker's shares of an epoch over training images; each batch is worked out when it is its turn.

    Attributes:
        seed: With the epoch, decides the order; at least 0.
        epoch: Counts from 1.
        images: How many there are.
        batch_size: Images of one step over all workers; what does not fill a batch is left out.
        rank: Of this worker.
        world_size: How many workers share a batch.
        shape: Height and width in pixels of an image's input, to put images of like shape into one batch; None leaves
            that to chance.
    """

    seed: int
    epoch: int
    images: int
    batch_size: int
    rank: int = 0
    world_size: int = 1
    shape: Callable[[Key], tuple[int, int]] | None = None

    def __len__(self) -> int:
        """How many batches."""
        return self.images // self.batch_size

    def __iter__(self) -> Iterator[Share]:
        """First to last."""
        mine = share_of(self.batch_size, self.rank, self.world_size)
        return (Share(batch[mine], batch) for batch in self._batches())

    def _batches(self) -> Iterator[Sequence[Key]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(self.images)[: len(self) * self.batch_size].tolist()
        keys = [(self.seed, self.epoch, index) for index in order]
        if self.shape is None:
            yield from _cut(keys, self.batch_size)
            return
        shape = self.shape
        for window in _cut(keys, SORTED_BATCHES * self.batch_size):
            # Images of one shape stay in their random order.
            batches = _cut(sorted(window, key=lambda key: _shape_order(*shape(key))), self.batch_size)
            yield from (batches[index] for index in rng.permutation(len(batches)).tolist())


def _shape_order(height: int, width: int) -> tuple[bool, int, int]:
    """Sort by wide or high, then the shorter edge, then the longer."""
    return height > width, min(height, width), max(height, width)


def share_of(batch_size: int, rank: int, world_size: int) -> slice:
    """Which images of a batch are a worker's: the larger shares come first, and differ by one image at most.

    Args:
        batch_size: Images of one step over all workers.
        rank: Of the worker.
        world_size: How many workers share a batch.

    Raises:
        ValueError: There are fewer images than workers.

    Example:
        >>> [share_of(114, rank, 4) for rank in range(4)]
        [slice(0, 29, None), slice(29, 58, None), slice(58, 86, None), slice(86, 114, None)]
    """
    if batch_size < world_size:
        raise ValueError(f"batch_size must be at least world_size {world_size}, not {batch_size}")
    share, larger = divmod(batch_size, world_size)
    first = rank * share + min(rank, larger)
    return slice(first, first + share + (rank < larger))


def _cut(keys: Sequence[Key], size: int) -> list[Sequence[Key]]:
    return [keys[first : first + size] for first in range(0, len(keys), size)]
