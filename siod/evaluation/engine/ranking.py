"""The order in which detections are judged: by category, best score first, the way pycocotools breaks ties."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Ranking:
    """Detections sorted by category, falling score, image, and order in the source.

    Attributes:
        rows: Row of each in the source, ``[D]``.
        category_start: First place of each category and the end, ``[K + 1]``.
    """

    rows: NDArray[np.int64]
    category_start: NDArray[np.int64]

    def __len__(self) -> int:
        """Count the detections."""
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class CellIndex:
    """The places of a ranking sorted by cell: those of one image and category side by side, best first.

    Attributes:
        keys: Rising ``cell << place_bits | place``, ``[D]``.
        place_bits: How many bits of a key hold the place.
    """

    keys: NDArray[np.int64]
    place_bits: int

    @classmethod
    def of(cls, cells: NDArray[np.int64]) -> Self:
        """Sort the places by their cells."""
        bits = _bits_for(len(cells))
        keys = cells << bits
        keys |= np.arange(len(cells))
        keys.sort()
        return cls(keys, bits)

    def spans(self, cells: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First slot of each cell, and the slot after its last."""
        return (
            np.searchsorted(self.keys, cells << self.place_bits),
            np.searchsorted(self.keys, (cells + 1) << self.place_bits),
        )

    def places(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Place in the ranking of what stands at some slots."""
        return self.keys[slots] & ((1 << self.place_bits) - 1)

    def beyond(self, limit: int) -> NDArray[np.int64]:
        """Places of all but the first ``limit`` detections of each cell."""
        # Such a one has another of the same cell ``limit`` slots before it.
        same = self.keys[limit:] >> self.place_bits == self.keys[:-limit] >> self.place_bits
        return self.places(np.flatnonzero(same) + limit)


def rank(
    images: NDArray[np.int32],
    categories: NDArray[np.int32],
    scores: NDArray[np.float64],
    *,
    image_count: int,
    category_count: int,
    limit: int,
) -> tuple[Ranking, CellIndex]:
    """Rank detections and drop those beyond the limit of their cell.

    Args:
        images: Place of each image, ``[N]``.
        categories: Place of each category, ``[N]``.
        scores: ``[N]``, finite.
        image_count: Number of images.
        category_count: Number of categories.
        limit: Detections kept per cell (image and category).

    Returns:
        The ranking of those kept, and its places by cell: category x number of images + image.
    """
    rows = stable_order(categories, _score_order(images, scores))
    cells = categories[rows].astype(np.int64) * image_count + images[rows]
    index = CellIndex.of(cells)
    if len(rows) > limit and np.bincount(images).max() > limit:
        beyond = index.beyond(limit)
        if len(beyond):
            rows = np.delete(rows, beyond)
            categories = categories[rows]
            index = CellIndex.of(np.delete(cells, beyond))
    counts = np.bincount(categories, minlength=category_count)
    return Ranking(rows, np.concatenate([[0], np.cumsum(counts)])), index


def _bits_for(count: int) -> int:
    return max(count - 1, 1).bit_length()


def stable_order(keys: NDArray[np.integer[Any]], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sort rows by a non-negative key; equal keys keep their order.

    Example:
        >>> stable_order(np.array([1, 0, 1, 0]), np.array([3, 2, 1, 0])).tolist()
        [3, 1, 2, 0]
    """
    if not len(rows):
        return rows
    wanted = keys[rows]
    for small in (np.uint8, np.uint16):
        if wanted.max() <= np.iinfo(small).max:
            # Of integers this small numpy makes a radix sort.
            return rows[np.argsort(wanted.astype(small), kind="stable")]
    bits = _bits_for(len(rows))
    packed = (wanted.astype(np.int64) << bits) | np.arange(len(rows))
    packed.sort()  # all different, so any sort is stable, and the fastest one may be taken
    order: NDArray[np.int64] = rows[packed & ((1 << bits) - 1)]
    return order


def _score_order(images: NDArray[np.int32], scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows by falling score; equal scores by image, then by row.

    A key of 64 bits holds the leading bits of the score and the row, so that one plain sort does. Scores
    that differ only behind those bits are put right afterwards.
    """
    if (images[1:] < images[:-1]).any():
        by_image = stable_order(images, np.arange(len(images)))
        return by_image[_score_order(np.zeros(0, np.int32), scores[by_image])]
    bits = _bits_for(len(scores))
    # Subtracting from zero makes -0.0 equal to 0.0. The bits of a positive float rise with its value; those
    # of a negative one fall, so all of them are turned over, and the sign bit of the others.
    raw = (0.0 - scores).view(np.int64)
    flips = raw >> 63
    flips |= np.int64(-(2**63))
    raw ^= flips
    keys = raw.view(np.uint64)
    keys >>= np.uint64(bits)
    keys <<= np.uint64(bits)
    keys |= np.arange(len(scores), dtype=np.uint64)
    keys.sort()
    rows = (keys & np.uint64((1 << bits) - 1)).view(np.int64)
    ranked = scores[rows]
    if (ranked[1:] > ranked[:-1]).any():
        _sort_ties(rows, keys >> np.uint64(bits), scores)
    return rows


def _sort_ties(rows: NDArray[np.int64], prefix: NDArray[np.uint64], scores: NDArray[np.float64]) -> None:
    """Sort rows of equal prefix by falling score, then by row, in place."""
    tied = np.zeros(len(rows), dtype=bool)
    tied[1:] = prefix[1:] == prefix[:-1]
    tied[:-1] |= tied[1:]
    places = np.flatnonzero(tied)
    members = rows[places]
    rows[places] = members[np.lexsort((members, -scores[members], prefix[places]))]
