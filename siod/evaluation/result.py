"""The outcome of the score-aware protocol: the table, per category, as curves, and match by match."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from siod.evaluation.engine.matches import MatchList, list_matches
from siod.evaluation.protocol import RECALLS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siod.evaluation.engine.judging import Judgement
    from siod.evaluation.protocol import Figure, Protocol

ABSENT = -1.0
"""What a figure is when there is nothing to find, as in pycocotools: no category, or no object of the size."""


@dataclass(frozen=True, eq=False)
class Curves:
    """Precision-recall curves of one score threshold, in the layout of pycocotools; -1 for absent categories.

    T IoU thresholds, R recalls, K categories by rising id, A area ranges, M limits on detections.

    Attributes:
        recalls: ``[R]``, 0 to 1.
        precision: ``[T, R, K, A]`` at the last limit.
        scores: ``[T, R, K, A]``, of the detection at which the recall is reached, 0 where none does.
        recall: ``[T, K, A, M]``, of the whole ranking.
    """

    recalls: NDArray[np.float64]
    precision: NDArray[np.float64]
    scores: NDArray[np.float64]
    recall: NDArray[np.float64]


class ScoreAwareTable:
    """Rows: the mean over score thresholds, then one per threshold. Columns: COCO's figures.

    Example:
        >>> from siod.evaluation.score_aware import GroundTruth, ScoreAwareEvaluator
        >>> truth = GroundTruth.from_arrays(
        ...     image_ids=[1], category_ids=[7], boxes=[[0, 0, 9, 9]],
        ...     annotation_image_ids=[1], annotation_category_ids=[7],
        ... )
        >>> evaluator = ScoreAwareEvaluator(truth)
        >>> evaluator.update([1], [[0, 0, 9, 9]], [0.55], [7])
        >>> metrics = evaluator.compute().metrics()
        >>> [round(metrics[name], 2) for name in ("ap_s", "ap_s5", "ap_s6", "ap_large_s0")]
        [0.6, 1.0, 0.0, -1.0]
    """

    def __init__(self, judgement: Judgement) -> None:
        """Take what was judged and compute the figures."""
        self._judgement = judgement
        self._counted = judgement.true_positives
        self._values = np.array([self._row(level) for level in range(len(self.protocol.score_levels))])

    @property
    def protocol(self) -> Protocol:
        """The settings the table was made with."""
        return self._judgement.protocol

    @property
    def rows(self) -> tuple[str, ...]:
        """``("s", "s0", "s1", ...)``."""
        return ("s", *(f"s{level}" for level in range(len(self._values))))

    @property
    def columns(self) -> tuple[str, ...]:
        """``("ap", "ap50", ...)``."""
        return tuple(figure.name for figure in self.protocol.figures)

    @property
    def score_range(self) -> tuple[float, float] | None:
        """The lowest and the highest score that was given; None without detections."""
        scores = self._judgement.detections.scores
        return (float(scores.min()), float(scores.max())) if len(scores) else None

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """The table as fractions, -1 where there is nothing to find, ``[1 + S, figures]``."""
        # AP@S = mean of AP@S_i  (Eq. 8)
        return np.concatenate([self._values.mean(axis=0, keepdims=True), self._values])

    def metrics(self) -> dict[str, float]:
        """The table under its metric names: ``ap_s``, ``ap_s0``, ..., ``ar_large_s9``."""
        return _named(self.columns, self.rows, self.values)

    def known(self) -> dict[str, float]:
        """The metrics that have something to find: where no annotation is small there is no ``ap_small_s``."""
        return {name: value for name, value in self.metrics().items() if value != ABSENT}

    def per_category(self) -> dict[str, dict[str, float]]:
        """The same figures for every category by its name (and id, where two have the same name)."""
        levels = [self._category_row(level) for level in range(len(self._values))]
        values = np.stack([np.mean(levels, axis=0), *levels])
        names = self._judgement.truth.category_labels()
        return {name: _named(self.columns, self.rows, values[:, :, k]) for k, name in enumerate(names)}

    def curves(self, level: int = 0) -> Curves:
        """Precision over recall for plots.

        Args:
            level: Place of the score threshold.

        Returns:
            Curves in the layout of pycocotools' ``eval`` dictionary.
        """
        absent = (self._counted.positives == 0)[:, None, None, :]
        precision = np.where(absent, ABSENT, self._counted.interpolated(level))
        scores = np.where(
            absent,
            ABSENT,
            self._counted.scores_at_recalls(level, self._judgement.detections.scores, self._best_scores(level)),
        )
        recall = self._counted.recall[..., level]
        return Curves(
            RECALLS, precision.transpose(1, 2, 3, 0), scores.transpose(1, 2, 3, 0), recall.transpose(1, 2, 0, 3)
        )

    def matches(self, *, level: int = 0, iou_threshold: float = 0.5, area: str = "all") -> MatchList:
        """What became of every detection and annotation, for error analysis and galleries.

        Args:
            level: Place of the score threshold.
            iou_threshold: One of the protocol's.
            area: Name of one of the protocol's area ranges.

        Returns:
            Columns, one row per detection that passes the score threshold, and the annotations not found.

        Raises:
            ValueError: The threshold or the area range is not one of the protocol's.
        """
        return list_matches(self._judgement, level=level, iou_threshold=iou_threshold, area=area)

    def _best_scores(self, level: int) -> NDArray[np.float64]:
        """Best score of each category, 0 where no detection passes the score threshold."""
        ranking, scores = self._judgement.ranking, self._judgement.detections.scores
        found = np.flatnonzero(np.diff(ranking.category_start))
        best = np.zeros(len(ranking.category_start) - 1)
        best[found] = scores[ranking.rows[ranking.category_start[found]]]
        passes = np.zeros(len(best), dtype=bool)
        passes[found] = self.protocol.passes(best[found], level)
        return np.where(passes, best, 0.0)

    def _row(self, level: int) -> list[float]:
        curve = self._counted.interpolated(level)
        return [self._mean(figure, self._entries(figure, curve, level)) for figure in self.protocol.figures]

    def _entries(self, figure: Figure, curve: NDArray[np.float64], level: int) -> NDArray[np.float64]:
        """What a figure averages, categories last: ``[T, R, K]`` or ``[T, K]``."""
        entries = (
            curve[figure.area] if figure.kind == "ap" else self._counted.recall[figure.area, :, :, figure.limit, level]
        )
        return entries if figure.iou is None else entries[figure.iou : figure.iou + 1]

    def _mean(self, figure: Figure, entries: NDArray[np.float64]) -> float:
        """The mean over categories with something to find.

        It is taken over one flat array in pycocotools' order: the last bits of a sum depend on the order.
        """
        present = self._counted.positives[figure.area] > 0
        if not present.any():
            return ABSENT
        seen = entries if present.all() else np.compress(present, entries, axis=-1)
        return float(np.mean(seen.reshape(-1)))

    def _category_row(self, level: int) -> NDArray[np.float64]:
        """The figures of every category, ``[figures, K]``."""
        curve = self._counted.interpolated(level)
        rows = []
        for figure in self.protocol.figures:
            entries = self._entries(figure, curve, level)
            by_category = np.ascontiguousarray(np.moveaxis(entries, -1, 0)).reshape(entries.shape[-1], -1)
            present = self._counted.positives[figure.area] > 0
            rows.append(np.where(present, by_category.mean(axis=1), ABSENT))
        return np.array(rows)


def _named(columns: tuple[str, ...], rows: tuple[str, ...], values: NDArray[Any]) -> dict[str, float]:
    return {f"{column}_{row}": float(values[i, j]) for j, column in enumerate(columns) for i, row in enumerate(rows)}
