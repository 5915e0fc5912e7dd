"""The order in which detections are judged: by category, best score first, the way pycocotools breaks ties."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Ranking:
    """Detections sorted by category, falling score, image, and order in the source.

    Attributes:
        rows: Row of each in the source, ``[D]``.
        category_start: First place of each category and the end, ``[K + 1]``.
        scores: Falling within a category, ``[D]``.
        cell_keys: Sorted ``cell << place_bits | place``: the detections of one cell side by side, best first.
        place_bits: How many bits of a key hold the place in the ranking.
    """

    rows: NDArray[np.int64]
    category_start: NDArray[np.int64]
    scores: NDArray[np.float64]
    cell_keys: NDArray[np.int64]
    place_bits: int

    def __len__(self) -> int:
        """Count the detections."""
        return len(self.rows)

    @classmethod
    def of(
        cls,
        images: NDArray[np.int64],
        categories: NDArray[np.int64],
        scores: NDArray[np.float64],
        *,
        image_count: int,
        category_count: int,
        limit: int,
    ) -> Self:
        """Rank detections and drop those beyond the limit of their cell.

        Args:
            images: Place of each image, ``[N]``.
            categories: Place of each category, ``[N]``.
            scores: ``[N]``, finite.
            image_count: Number of images.
            category_count: Number of categories.
            limit: Detections kept per cell (image and category).

        Returns:
            The ranking of those kept.
        """
        rows = stable_order(categories, _score_order(images, scores))
        cells = (categories * image_count + images)[rows]
        if len(rows) > limit and np.bincount(images, minlength=1).max() > limit:
            kept = _first_of_each_cell(cells, limit)
            rows, cells = rows[kept], cells[kept]
        counts = np.bincount(categories[rows], minlength=category_count)
        bits = _bits_for(len(rows))
        keys = (cells << bits) | np.arange(len(rows))
        keys.sort()
        return cls(rows, np.concatenate([[0], np.cumsum(counts)]), scores[rows], keys, bits)

    def span_of_cells(self, cells: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First place in ``cell_keys`` of each cell's detections, and the place after the last."""
        return (
            np.searchsorted(self.cell_keys, cells << self.place_bits),
            np.searchsorted(self.cell_keys, (cells + 1) << self.place_bits),
        )

    def places(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Place in the ranking of the detections at these places of ``cell_keys``."""
        return self.cell_keys[slots] & ((1 << self.place_bits) - 1)


def _bits_for(count: int) -> int:
    return max(count - 1, 1).bit_length()


def stable_order(keys: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sort rows by a small non-negative key; equal keys keep their order."""
    if not len(rows):
        return rows
    bits = _bits_for(len(rows))
    packed = (keys[rows] << bits) | np.arange(len(rows))
    packed.sort()  # all different, so any sort is stable, and the fastest one may be taken
    order: NDArray[np.int64] = rows[packed & ((1 << bits) - 1)]
    return order


def _score_order(images: NDArray[np.int64], scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows by falling score; equal scores by image, then by row.

    A key of 64 bits holds the leading bits of the score and the row, so that one plain sort does. Scores
    that differ only behind those bits are put right afterwards.
    """
    rows = np.arange(len(scores))
    if len(rows) and (np.diff(images) < 0).any():
        rows = stable_order(images, rows)
    bits = _bits_for(len(rows))
    # Subtracting from zero makes -0.0 equal to 0.0. The bits of a float rise with its magnitude.
    raw = (0.0 - scores[rows]).view(np.int64)
    rising = np.where(raw < 0, ~raw, raw | np.int64(-(2**63))).view(np.uint64)
    keys = (rising >> np.uint64(bits) << np.uint64(bits)) | np.arange(len(rows), dtype=np.uint64)
    keys.sort()
    order = (keys & np.uint64((1 << bits) - 1)).astype(np.int64)
    ranked = scores[rows[order]]
    if (ranked[1:] > ranked[:-1]).any():
        prefix = keys >> np.uint64(bits)
        tied = np.zeros(len(rows), dtype=bool)
        tied[1:] = prefix[1:] == prefix[:-1]
        tied[:-1] |= tied[1:]
        places = np.flatnonzero(tied)
        members = order[places]
        order[places] = members[np.lexsort((members, -scores[rows[members]], prefix[places]))]
    return rows[order]


def _first_of_each_cell(cells: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Places of the first ``limit`` entries of each cell, in rising order."""
    bits = _bits_for(len(cells))
    keys = (cells << bits) | np.arange(len(cells))
    keys.sort()
    sorted_cells = keys >> bits
    # An entry is beyond the limit when the one ``limit`` places before it is of the same cell.
    beyond = np.zeros(len(cells), dtype=bool)
    beyond[limit:] = sorted_cells[limit:] == sorted_cells[:-limit]
    return np.sort((keys & ((1 << bits) - 1))[~beyond])
