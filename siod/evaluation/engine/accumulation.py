"""From matches to the list of true positives with the precision at each of them.

A areas, K categories, M limits, S score thresholds, D detections, P matches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siod.evaluation.engine.precision_recall import TruePositives
from siod.evaluation.engine.ranking import stable_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from siod.evaluation.engine.matching import Conditions
    from siod.evaluation.engine.ranking import Ranking
    from siod.evaluation.protocol import Protocol


@dataclass(frozen=True, eq=False)
class Matched:
    """The matches of some area ranges, sorted by the detection's place in the ranking.

    Attributes:
        conditions: What the bits stand for.
        place: The detection's place in the ranking, ``[P]``; a detection that matches different annotations
            under different conditions has a row for each.
        rank: Its place in its cell, ``[P]``.
        found: Bits of the conditions under which it is a true positive, ``[P]``.
        excused: Bits of those under which it counts neither way, matched to an ignored annotation, ``[P]``.
    """

    conditions: Conditions
    place: NDArray[np.int32]
    rank: NDArray[np.int32]
    found: NDArray[np.uint64]
    excused: NDArray[np.uint64]


def accumulate(
    ranking: Ranking,
    scores: NDArray[np.float64],
    inside: NDArray[np.bool_],
    matched: Sequence[Matched],
    *,
    positives: NDArray[np.int64],
    protocol: Protocol,
) -> TruePositives:
    """List the true positives under every condition with the precision there.

    Args:
        ranking: The order of the detections.
        scores: Their scores in the order of the source.
        inside: Whether each area range holds each detection, in the order of the ranking, ``[A, D]``.
        matched: The matches, a part per group of area ranges, which follow each other.
        positives: Annotations to be found, ``[A, K]``.
        protocol: Thresholds and limits.

    Returns:
        The true positives.
    """
    parts = [_Part(ranking, scores, inside[part.conditions.ranges], part, protocol) for part in matched]
    entries = sum(int(np.bitwise_count(part.found).sum()) for part in matched)
    precision, rows, end = np.zeros(entries + 1), np.zeros(entries, dtype=np.int32), 0
    all_counts = []
    for hits in (hits for part in parts for hits in part.conditions()):
        begin, end = end, end + len(hits.place)
        precision[begin:end], rows[begin:end] = hits.precision, ranking.rows[hits.place]
        all_counts.append(hits.counts)
    shape = (len(positives), len(protocol.iou_thresholds))
    counts = np.stack(all_counts).reshape(*shape, *all_counts[0].shape)
    totals = counts[..., -1, 0]
    starts = np.cumsum(totals).reshape(totals.shape) - totals
    return TruePositives(precision, rows, starts, counts, positives)


@dataclass(frozen=True, eq=False)
class _Hits:
    """True positives under one condition; counts ``[K, M, S]``."""

    precision: NDArray[np.float64]
    place: NDArray[np.int32]
    counts: NDArray[np.int64]


class _Part:
    """Counts the true positives of one group of area ranges, condition by condition."""

    def __init__(
        self,
        ranking: Ranking,
        scores: NDArray[np.float64],
        inside: NDArray[np.bool_],
        matched: Matched,
        protocol: Protocol,
    ) -> None:
        self._matched = matched
        categories = len(ranking.category_start) - 1
        self._category = np.searchsorted(ranking.category_start, matched.place, side="right") - 1
        self._first_row = np.searchsorted(matched.place, ranking.category_start[:-1])
        passed = protocol.thresholds_passed(scores[ranking.rows[matched.place]])
        # Where a true positive is counted: category, first limit it is within, score thresholds it passes.
        limit = np.searchsorted(protocol.max_detections, matched.rank, side="right")
        self._slot_shape = (categories, len(protocol.max_detections), len(protocol.score_levels) + 1)
        self._slot = (self._category * self._slot_shape[1] + limit) * self._slot_shape[2] + passed
        inside_words = matched.conditions.words(inside[:, matched.place])
        # A detection of the wrong size counts only as a true positive; one of the right size, unless excused.
        joins, leaves = matched.found & ~inside_words, matched.excused & inside_words
        changes = (joins | leaves) != 0
        self._joins, self._leaves = joins[changes], leaves[changes]
        self._changes_before = np.concatenate([[0], np.cumsum(changes)])
        self._right_size = [self._running(ranking, flags) for flags in inside]

    def _running(self, ranking: Ranking, flags: NDArray[np.bool_]) -> NDArray[np.int32]:
        """Count the flags within the category, down to and including each matched detection."""
        running = np.zeros(len(flags) + 1, dtype=np.int32)
        np.cumsum(flags, out=running[1:])
        count: NDArray[np.int32] = running[self._matched.place + 1] - running[ranking.category_start[self._category]]
        return count

    def conditions(self) -> Iterator[_Hits]:
        """The true positives under each condition, in the order of the bits."""
        return (self._hits(bit) for bit in range(len(self._matched.conditions)))

    def _hits(self, bit: int) -> _Hits:
        word = np.uint64(1 << bit)
        row = np.flatnonzero(self._matched.found & word)
        category = self._category[row]
        change = ((self._joins & word) != 0).astype(np.int64) - ((self._leaves & word) != 0)
        running = np.concatenate([[0], np.cumsum(change)])
        counted = self._right_size[bit // self._matched.conditions.thresholds][row]
        before = self._changes_before
        counted = counted + running[before[row + 1]] - running[before[self._first_row]][category]
        counts = self._counts(row)
        totals = counts[:, -1, 0]
        ordinal = np.arange(1, len(row) + 1) - (np.cumsum(totals) - totals)[category]
        # precision = TP / (TP + FP), with pycocotools' guard against division by zero
        precision = ordinal / (counted + np.spacing(1))
        return _Hits(precision, self._matched.place[row], counts)

    def _counts(self, row: NDArray[np.int64]) -> NDArray[np.int64]:
        """True positives by category, limit and score threshold, ``[K, M, S]``."""
        counts = np.bincount(self._slot[row], minlength=math.prod(self._slot_shape)).reshape(self._slot_shape)
        # Who is within one limit is within all larger ones; who passes threshold s passes all before it.
        return counts.cumsum(axis=1)[:, :, ::-1].cumsum(axis=2)[:, :, -2::-1]


def sort_matches(
    conditions: Conditions,
    place: NDArray[np.int32],
    rank: NDArray[np.int32],
    found: NDArray[np.uint64],
    excused: NDArray[np.uint64],
) -> Matched:
    """Drop pairs that match nowhere and sort the others by the detection's place."""
    rows = np.flatnonzero(found | excused)
    rows = stable_order(place, rows)
    return Matched(conditions, place[rows], rank[rows], found[rows], excused[rows])
