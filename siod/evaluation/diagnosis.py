"""What lies behind an AP: scores of right and wrong detections, precision over recall, AP of every category.

Small enough to keep beside every run, so that its detections need not be evaluated again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from siod.evaluation.engine.matches import Outcome

if TYPE_CHECKING:
    from siod.evaluation.result import ScoreAwareTable

BINS = 20
IOU_THRESHOLD = 0.5
CATEGORY_FIGURES = ("ap_s", "ap_s0")
DIGITS = 5


def diagnose(table: ScoreAwareTable) -> dict[str, Any]:
    """Reduce a judgement to what figures of it need.

    Args:
        table: Of the score-aware protocol, with its first score threshold at 0.

    Returns:
        Plain data. ``right``, ``wrong`` and ``scores``: detections that found an instance at IoU 0.5, that found
        none, and the sum of all their scores, by score in twenty equal bins of [0, 1]. ``precision``: by IoU
        threshold as text, the mean over categories at recalls 0.00, 0.01, ..., 1.00. ``categories``: ``ap_s`` and
        ``ap_s0`` by category name, categories without an instance left out.
    """
    matches = table.matches(level=0, iou_threshold=IOU_THRESHOLD)
    bins = np.minimum((np.clip(matches.scores, 0, 1) * BINS).astype(int), BINS - 1)
    right, wrong = matches.outcome == Outcome.TRUE_POSITIVE, matches.outcome == Outcome.FALSE_POSITIVE
    counted = right | wrong
    curves = table.curves(0).precision[:, :, :, 0]
    present = curves[0, 0] >= 0
    precision = curves[:, :, present].mean(axis=2) if present.any() else np.zeros(curves.shape[:2])
    return {
        "right": np.bincount(bins[right], minlength=BINS).tolist(),
        "wrong": np.bincount(bins[wrong], minlength=BINS).tolist(),
        "scores": np.bincount(bins[counted], matches.scores[counted], minlength=BINS).round(DIGITS).tolist(),
        "precision": {
            f"{threshold:.2f}": curve.round(DIGITS).tolist()
            for threshold, curve in zip(table.protocol.iou_thresholds, precision, strict=True)
        },
        "categories": {
            name: {figure: round(figures[figure], DIGITS) for figure in CATEGORY_FIGURES}
            for name, figures in table.per_category().items()
            if figures["ap_s0"] >= 0
        },
    }
