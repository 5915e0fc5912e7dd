"""Pairs of detections and annotations that overlap enough to match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from siod.evaluation.ground_truth import GroundTruth
    from siod.evaluation.ranking import Ranking

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
        iou: ``[P]``; for a crowd, the share of the detection inside it.
        level: How many IoU thresholds the pair reaches, at least 1, ``[P]``.
        rank: The detection's place in its cell, from 0, ``[P]``.
    """

    detection: NDArray[np.int64]
    annotation: NDArray[np.int64]
    iou: NDArray[np.float64]
    level: NDArray[np.int64]
    rank: NDArray[np.int64]


def overlapping_pairs(
    ranking: Ranking, boxes_xywh: NDArray[np.float64], truth: GroundTruth, match_levels: NDArray[np.float64]
) -> Pairs:
    """Find all pairs that could match under the loosest IoU threshold.

    Args:
        ranking: The order of the detections.
        boxes_xywh: Their boxes in the order of the source.
        truth: The annotations.
        match_levels: IoU to reach, rising.

    Returns:
        The pairs.
    """
    found = [_overlaps(ranking, boxes_xywh, truth, slots, match_levels[0]) for slots in _blocks(ranking, truth)]
    detection, annotation, rank = (np.concatenate([part[i] for part in found]) for i in range(3))
    iou = np.concatenate([part[3] for part in found])
    order = _preference(detection, annotation, iou)
    level = np.searchsorted(match_levels, iou, side="right")
    return Pairs(detection[order], annotation[order], iou[order], level[order], rank[order])


class _Slots(NamedTuple):
    """Detections of cells with annotations: place in the ranking, rank in the cell, first annotation, how many."""

    place: NDArray[np.int64]
    rank: NDArray[np.int64]
    first: NDArray[np.int64]
    candidates: NDArray[np.int64]


def _blocks(ranking: Ranking, truth: GroundTruth) -> Iterator[_Slots]:
    """All detections of cells with annotations, in blocks of about ``PAIRS_PER_BLOCK`` pairs."""
    cells, first, count = np.unique(truth.cells, return_index=True, return_counts=True)
    begin, end = ranking.span_of_cells(cells)
    sizes = end - begin
    cell = np.repeat(np.arange(len(cells)), sizes)
    rank = _counting_up(sizes)
    slots = _Slots(ranking.places(begin[cell] + rank), rank, first[cell], count[cell])
    total = np.cumsum(slots.candidates)
    cuts = np.searchsorted(total, np.arange(PAIRS_PER_BLOCK, (total[-1] if len(total) else 0) + 1, PAIRS_PER_BLOCK))
    for lower, upper in zip([0, *cuts.tolist()], [*cuts.tolist(), len(cell)], strict=True):
        yield _Slots(*(column[lower:upper] for column in slots))


def _counting_up(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, ... for each of the sizes: ``[2, 3]`` gives ``[0, 1, 0, 1, 2]``."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - sizes, sizes)


def _overlaps(
    ranking: Ranking, boxes_xywh: NDArray[np.float64], truth: GroundTruth, slots: _Slots, least: np.float64
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Detection, annotation, rank and IoU of the pairs of one block that reach ``least``.

    The operations and their order are those of pycocotools, so that the bits agree.
    """
    slot = np.repeat(np.arange(len(slots.place)), slots.candidates)
    annotation = np.repeat(slots.first, slots.candidates) + _counting_up(slots.candidates)
    d = boxes_xywh[ranking.rows[slots.place[slot]]].T
    g = truth.boxes_xywh[annotation].T
    width = np.minimum(d[0] + d[2], g[0] + g[2]) - np.maximum(d[0], g[0])
    height = np.minimum(d[1] + d[3], g[1] + g[3]) - np.maximum(d[1], g[1])
    touching = np.flatnonzero((width > 0) & (height > 0))
    slot, annotation = slot[touching], annotation[touching]
    shared = width[touching] * height[touching]
    d_area = d[2, touching] * d[3, touching]
    union = d_area + g[2, touching] * g[3, touching] - shared
    iou = shared / np.where(truth.iscrowd[annotation], d_area, union)
    near = np.flatnonzero(iou >= least)
    return slots.place[slot[near]], annotation[near], slots.rank[slot[near]], iou[near]


def _preference(
    detection: NDArray[np.int64], annotation: NDArray[np.int64], iou: NDArray[np.float64]
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
