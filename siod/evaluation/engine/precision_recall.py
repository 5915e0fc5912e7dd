"""Precision and recall at every score threshold, from one list of true positives.

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

from siod.evaluation.protocol import RECALLS

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class TruePositives:
    """All true positives, by area, IoU threshold, category and falling score.

    Attributes:
        precision: Share of true positives among the detections down to this one, ``[E]``, and a 0 at the
            end, so that a span of entries may end there.
        rows: Row of the detection in the source, ``[E]``.
        start: First entry of each area, IoU threshold and category, ``[A, T, K]``.
        counts: True positives that pass each score threshold, by limit, ``[A, T, K, M, S]``.
        positives: Annotations to be found, ``[A, K]``.
    """

    precision: NDArray[np.float64]
    rows: NDArray[np.int32]
    start: NDArray[np.int64]
    counts: NDArray[np.int64]
    positives: NDArray[np.int64]

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
            maxima[reached] = np.maximum.reduceat(self.precision[:-1], begin)
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
            last = np.searchsorted(RECALLS, count[a, t, k] / self.positives[a, k], side="right") - 1
            begin = self.start[a, t, k] + self._needed[a, last, k] - 1
            end = self.start[a, t, k] + count[a, t, k]
            spans = np.stack([begin, end], axis=1).reshape(-1)
            curve[a, t, last, k] = np.maximum.reduceat(self.precision, spans)[::2]
        backwards = curve[:, :, ::-1]
        np.maximum.accumulate(backwards, axis=2, out=backwards)
        return curve

    def scores_at_recalls(
        self, level: int, scores: NDArray[np.float64], best: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Score of the detection at which each recall is reached, 0 where none does, ``[A, T, R, K]``.

        Args:
            level: Place of the score threshold.
            scores: Of all detections, in the order of the source.
            best: Best score of each category, 0 where no detection passes the score threshold, ``[K]``.
        """
        reached = self.reached(level)
        entry = self.start[:, :, None, :] + self._needed[:, None] - 1
        curve = np.zeros(reached.shape)
        curve[reached] = scores[self.rows[entry[reached]]]
        # Recall 0 is reached by the first detection, right or wrong.
        curve[:, :, 0] = np.where((self.positives > 0)[:, None], best, 0.0)
        return curve
