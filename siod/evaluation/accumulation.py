"""From matches to precision and recall, at every score threshold, from one matching.

A score threshold keeps the head of a ranking and changes nothing in it, so the true positives of all
thresholds are heads of one list. Precision has to be known only there: between two true positives it falls,
and the interpolated curve never reads it.

A areas, T IoU thresholds, R recalls, K categories, M limits, S score thresholds, E true positives of all
areas, IoU thresholds and categories together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from siod.evaluation.matching import Conditions, inside_ranges
from siod.evaluation.protocol import RECALLS
from siod.evaluation.ranking import stable_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from siod.evaluation.protocol import Protocol
    from siod.evaluation.ranking import Ranking


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
    place: NDArray[np.int64]
    rank: NDArray[np.int64]
    found: NDArray[np.uint64]
    excused: NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class TruePositives:
    """All true positives, by area, IoU threshold, category and falling score.

    Attributes:
        precision: Share of true positives among the detections down to this one, ``[E]``.
        scores: ``[E]``.
        start: First entry of each area, IoU threshold and category, ``[A, T, K]``.
        counts: True positives that pass each score threshold, by limit, ``[A, T, K, M, S]``.
        positives: Annotations to be found, ``[A, K]``.
        top_scores: Best score of each category, -inf without detections, ``[K]``.
    """

    precision: NDArray[np.float64]
    scores: NDArray[np.float64]
    start: NDArray[np.int64]
    counts: NDArray[np.int64]
    positives: NDArray[np.int64]
    top_scores: NDArray[np.float64]

    @cached_property
    def recall(self) -> NDArray[np.float64]:
        """Recall of whole rankings, ``[A, T, K, M, S]``; -1 for absent categories."""
        positives = self.positives[:, None, :, None, None]
        return np.where(positives > 0, self.counts / np.maximum(positives, 1), -1.0)

    @cached_property
    def _needed(self) -> NDArray[np.int64]:
        """How many true positives reach each recall, at least 1, ``[A, R, K]``."""
        positives = np.maximum(self.positives, 1)[:, None, :].astype(np.float64)
        recalls = RECALLS[:, None]
        count = np.ceil(recalls * positives)
        # The product is rounded; what counts is which quotient first reaches the recall.
        count = np.where((count - 1) / positives >= recalls, count - 1, count)
        count = np.where(count / positives < recalls, count + 1, count)
        return np.maximum(count, 1).astype(np.int64)

    @cached_property
    def _maxima(self) -> NDArray[np.float64]:
        """Largest precision between one recall and the next, 0 where it is not reached, ``[A, T, R, K]``."""
        needed = self._needed.transpose(0, 2, 1)[:, None]
        reached = needed <= self.counts[..., -1, 0][..., None]
        maxima = np.zeros(reached.shape)
        if reached.any():
            begin = (self.start[..., None] + needed - 1)[reached]
            maxima[reached] = np.maximum.reduceat(self.precision, begin)
        return np.ascontiguousarray(maxima.transpose(0, 1, 3, 2))

    def reached(self, level: int) -> NDArray[np.bool_]:
        """Say which recalls are reached by detections that pass a score threshold, ``[A, T, R, K]``."""
        return self._needed[:, None] <= self.counts[..., -1, level][:, :, None, :]

    def interpolated(self, level: int) -> NDArray[np.float64]:
        """Precision at the recalls, of the detections that pass a score threshold.

        Args:
            level: Place of the score threshold.

        Returns:
            ``[A, T, R, K]``: the largest precision at this recall or a higher one, 0 where no detection
            reaches it. Entries of absent categories are 0 too; ``positives`` tells them apart.
        """
        reached = self.reached(level)
        curve = np.where(reached, self._maxima, 0.0)
        count = self.counts[..., -1, level]
        a, t, k = np.nonzero(count)
        if len(k):
            # The threshold ends the ranking inside an interval: what lies behind must not be seen.
            last = reached.sum(axis=2)[a, t, k] - 1
            begin = self.start[a, t, k] + self._needed[a, last, k] - 1
            end = self.start[a, t, k] + count[a, t, k]
            spans = np.stack([begin, end], axis=1).reshape(-1)
            curve[a, t, last, k] = np.maximum.reduceat(np.append(self.precision, 0.0), spans)[::2]
        backwards = curve[:, :, ::-1]
        np.maximum.accumulate(backwards, axis=2, out=backwards)
        return curve

    def scores_at_recalls(self, level: int, threshold_passed: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Score of the detection at which each recall is reached, 0 where none does, ``[A, T, R, K]``.

        Args:
            level: Place of the score threshold.
            threshold_passed: Whether the best detection of each category passes it, ``[K]``.
        """
        reached = self.reached(level)
        entry = self.start[:, :, None, :] + self._needed[:, None] - 1
        scores = np.zeros(reached.shape)
        scores[reached] = self.scores[entry[reached]]
        # Recall 0 is reached by the first detection, right or wrong.
        scores[:, :, 0] = np.where(threshold_passed & (self.positives > 0)[:, None], self.top_scores, 0.0)
        return scores


def accumulate(
    ranking: Ranking,
    det_area: NDArray[np.float64],
    matched: Sequence[Matched],
    positives: NDArray[np.int64],
    protocol: Protocol,
) -> TruePositives:
    """List the true positives under every condition with the precision there.

    Args:
        ranking: The detections.
        det_area: Their areas in the order of the ranking, ``[D]``.
        matched: The matches, a part per group of area ranges, which follow each other.
        positives: Annotations to be found, ``[A, K]``.
        protocol: Thresholds and limits.

    Returns:
        The true positives.
    """
    parts = [_Part(ranking, det_area, part, protocol) for part in matched]
    hits = [hits for part in parts for hits in part.conditions()]
    categories = len(ranking.category_start) - 1
    counts = np.stack([hit.counts for hit in hits]).reshape(len(positives), -1, *hits[0].counts.shape)
    totals = counts[..., -1, 0].reshape(-1)
    has_any = np.diff(ranking.category_start) > 0
    top = np.full(categories, -np.inf)
    top[has_any] = ranking.scores[ranking.category_start[:-1][has_any]]
    return TruePositives(
        precision=np.concatenate([hit.precision for hit in hits]),
        scores=np.concatenate([hit.scores for hit in hits]),
        start=(np.cumsum(totals) - totals).reshape(counts.shape[:3]),
        counts=counts,
        positives=positives,
        top_scores=top,
    )


@dataclass(frozen=True, eq=False)
class _Hits:
    """True positives under one condition; counts ``[K, M, S]``."""

    precision: NDArray[np.float64]
    scores: NDArray[np.float64]
    counts: NDArray[np.int64]


class _Part:
    """Counts the true positives of one group of area ranges, condition by condition."""

    def __init__(self, ranking: Ranking, det_area: NDArray[np.float64], matched: Matched, protocol: Protocol) -> None:
        self._matched = matched
        self._protocol = protocol
        self._categories = len(ranking.category_start) - 1
        self._category = np.searchsorted(ranking.category_start, matched.place, side="right") - 1
        self._first_row = np.searchsorted(matched.place, ranking.category_start[:-1])
        self._scores = ranking.scores[matched.place]
        self._passed = protocol.thresholds_passed(self._scores)
        inside = inside_ranges(det_area, matched.conditions.areas)
        inside_words = matched.conditions.words(inside[:, matched.place])
        # A detection of the wrong size counts only as a true positive; one of the right size, unless excused.
        self._joins = matched.found & ~inside_words
        self._leaves = matched.excused & inside_words
        self._right_size = [self._running(ranking, flags) for flags in inside]

    def _running(self, ranking: Ranking, flags: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Count the flags within the category, down to and including each matched detection."""
        running = np.concatenate([[0], np.cumsum(flags)])
        count: NDArray[np.int64] = running[self._matched.place + 1] - running[ranking.category_start[self._category]]
        return count

    def conditions(self) -> list[_Hits]:
        """The true positives under each condition, in the order of the bits."""
        return [self._hits(bit) for bit in range(len(self._matched.conditions))]

    def _hits(self, bit: int) -> _Hits:
        word = np.uint64(1 << bit)
        row = np.flatnonzero(self._matched.found & word)
        category = self._category[row]
        change = ((self._joins & word) != 0).astype(np.int64) - ((self._leaves & word) != 0)
        running = np.concatenate([[0], np.cumsum(change)])
        counted = self._right_size[bit // self._matched.conditions.thresholds][row]
        counted = counted + running[row + 1] - running[self._first_row[category]]
        totals = np.bincount(category, minlength=self._categories)
        ordinal = np.arange(1, len(row) + 1) - (np.cumsum(totals) - totals)[category]
        # precision = TP / (TP + FP), with pycocotools' guard against division by zero
        precision = ordinal / (counted + np.spacing(1))
        return _Hits(precision, self._scores[row], self._counts(row, category))

    def _counts(self, row: NDArray[np.int64], category: NDArray[np.int64]) -> NDArray[np.int64]:
        """True positives by category, limit and score threshold."""
        levels = len(self._protocol.score_levels)
        slot = category * (levels + 1) + self._passed[row]
        rank = self._matched.rank[row]
        counts = []
        for limit in self._protocol.max_detections:
            within = np.bincount(slot[rank < limit], minlength=self._categories * (levels + 1))
            # Who passes threshold s passes all before it: count from the highest down.
            passed = within.reshape(self._categories, levels + 1)[:, ::-1].cumsum(axis=1)[:, ::-1]
            counts.append(passed[:, 1:])
        return np.stack(counts, axis=1)


def sort_matches(
    conditions: Conditions,
    place: NDArray[np.int64],
    rank: NDArray[np.int64],
    found: NDArray[np.uint64],
    excused: NDArray[np.uint64],
) -> Matched:
    """Drop pairs that match nowhere and sort the others by the detection's place."""
    rows = np.flatnonzero(found | excused)
    rows = stable_order(place, rows)
    return Matched(conditions, place[rows], rank[rows], found[rows], excused[rows])
