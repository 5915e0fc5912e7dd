"""Pairs of detections and annotations that overlap enough to match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from siod.evaluation.engine.ranking import CellIndex, Ranking
    from siod.evaluation.ground_truth import GroundTruth

PAIRS_PER_BLOCK = 1 << 15
"""Overlaps are computed this many at a time, so that the intermediate arrays stay in the cache."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of a detection and an annotation of the same cell that overlap enough.

    Sorted by cell and, within it, by the detection's place. The pairs of one detection are in the order in
    which it would take them: largest IoU first, of equal ones the last annotation.

    Attributes:
        detection: Place in the ranking, ``[P]``.
        annotation: Row of the ground truth, ``[P]``.
        iou: For a crowd, the share of the detection inside it, ``[P]``.
        level: How many IoU thresholds the pair reaches, at least 1, ``[P]``.
        rank: The detection's place in its cell, from 0, ``[P]``.
    """

    detection: NDArray[np.int32]
    annotation: NDArray[np.int32]
    iou: NDArray[np.float64]
    level: NDArray[np.int8]
    rank: NDArray[np.int32]


def overlapping_pairs(
    ranking: Ranking,
    index: CellIndex,
    boxes_xywh: NDArray[np.float64],
    truth: GroundTruth,
    match_levels: NDArray[np.float64],
) -> Pairs:
    """Find all pairs that could match under the loosest IoU threshold.

    Args:
        ranking: The order of the detections.
        index: Its places by cell.
        boxes_xywh: Their boxes in the order of the source.
        truth: The annotations.
        match_levels: IoU to reach, rising.

    Returns:
        The pairs.
    """
    sides = _Sides.of(truth.boxes_xywh)
    overlaps = _Overlaps(index, ranking.rows, boxes_xywh, sides, truth.iscrowd, float(match_levels[0]))
    found = [overlaps.of(cells) for cells in _blocks(index, truth)]
    detection, annotation, rank, iou = (np.concatenate(column) for column in zip(*found, strict=True))
    del found
    order = _preference(detection, annotation, iou)
    iou = iou[order]
    level = np.searchsorted(match_levels, iou, side="right").astype(np.int8)
    return Pairs(detection[order], annotation[order], iou, level, rank[order])


class _Cells(NamedTuple):
    """Cells with annotations: where their detections and annotations are."""

    begin: NDArray[np.int64]
    """First detection, among those sorted by cell."""
    detections: NDArray[np.int64]
    """How many."""
    first: NDArray[np.int64]
    """First annotation."""
    annotations: NDArray[np.int64]
    """How many."""


def _blocks(index: CellIndex, truth: GroundTruth) -> Iterator[_Cells]:
    """Cut the cells into blocks of about ``PAIRS_PER_BLOCK`` pairs."""
    cells, first, annotations = np.unique(truth.cells, return_index=True, return_counts=True)
    begin, end = index.spans(cells)
    whole = _Cells(begin, end - begin, first, annotations)
    pairs = np.cumsum(whole.detections * whole.annotations)
    cuts = np.searchsorted(pairs, np.arange(PAIRS_PER_BLOCK, pairs[-1] if len(pairs) else 0, PAIRS_PER_BLOCK)).tolist()
    for lower, upper in zip([0, *cuts], [*cuts, len(cells)], strict=True):
        yield _Cells(*(column[lower:upper] for column in whole))


def _counting_up(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, ... for each of the sizes: ``[2, 3]`` gives ``[0, 1, 0, 1, 2]``."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - sizes, sizes)


class _Sides(NamedTuple):
    """Boxes by their sides, each a contiguous column."""

    left: NDArray[np.float64]
    top: NDArray[np.float64]
    right: NDArray[np.float64]
    bottom: NDArray[np.float64]
    area: NDArray[np.float64]

    @classmethod
    def of(cls, boxes_xywh: NDArray[np.float64]) -> _Sides:
        x, y, width, height = np.ascontiguousarray(boxes_xywh.T)
        return cls(x, y, width + x, height + y, width * height)


@dataclass(frozen=True, eq=False)
class _Overlaps:
    """Computes the IoU of the pairs of some cells."""

    index: CellIndex
    rows: NDArray[np.int64]
    boxes_xywh: NDArray[np.float64]
    truth: _Sides
    crowd: NDArray[np.bool_]
    least: float

    def of(self, cells: _Cells) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
        """Detection, annotation, rank and IoU of the pairs that reach the least IoU.

        The operations and their order are those of pycocotools, so that the bits agree. Most pairs do not
        touch: they are left out as soon as one direction tells.
        """
        rank = _counting_up(cells.detections)
        place = self.index.places(np.repeat(cells.begin, cells.detections) + rank)
        found = _Sides.of(self.boxes_xywh[self.rows[place]])
        candidates = np.repeat(cells.annotations, cells.detections)
        slot = np.repeat(np.arange(len(place)), candidates)
        annotation = np.repeat(np.repeat(cells.first, cells.detections), candidates) + _counting_up(candidates)

        right = np.minimum(found.right[slot], self.truth.right[annotation])
        width = right - np.maximum(found.left[slot], self.truth.left[annotation])
        touching = np.flatnonzero(width > 0)
        slot, annotation, width = slot[touching], annotation[touching], width[touching]
        bottom = np.minimum(found.bottom[slot], self.truth.bottom[annotation])
        height = bottom - np.maximum(found.top[slot], self.truth.top[annotation])
        touching = np.flatnonzero(height > 0)
        slot, annotation = slot[touching], annotation[touching]
        shared = width[touching] * height[touching]
        union = found.area[slot] + self.truth.area[annotation] - shared
        iou = shared / np.where(self.crowd[annotation], found.area[slot], union)
        near = np.flatnonzero(iou >= self.least)
        slot = slot[near]
        return place[slot].astype(np.int32), annotation[near].astype(np.int32), rank[slot].astype(np.int32), iou[near]


def _preference(
    detection: NDArray[np.int32], annotation: NDArray[np.int32], iou: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Order the pairs of each detection by falling IoU, of equal ones the last annotation first."""
    order = np.arange(len(detection))
    same = np.zeros(len(order), dtype=bool)
    same[1:] = detection[1:] == detection[:-1]
    same[:-1] |= same[1:]
    several = np.flatnonzero(same)
    group = np.cumsum(np.diff(detection[several], prepend=-1) != 0)
    order[several] = several[np.lexsort((-annotation[several], -iou[several], group))]
    return order
