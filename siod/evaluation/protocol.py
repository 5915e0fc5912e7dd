"""What is measured: thresholds, area ranges, limits, and the names of the figures."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Mode = Literal["exact", "authors"]

WORD_BITS = 64
"""One bit of a machine word stands for one IoU threshold while boxes are matched, so there may be that many."""

RECALLS: NDArray[np.float64] = np.linspace(0.0, 1.0, 101)
"""Where COCO reads the precision-recall curve."""

COCO_IOU_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
COCO_AREA_RANGES = {
    "all": (0.0, 1e5**2),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e5**2),
}
COCO_MAX_DETECTIONS = (1, 10, 100)

EXACT_SCORE_THRESHOLDS = tuple(i / 10 for i in range(10))
AUTHORS_SCORE_THRESHOLDS = tuple(np.arange(0.0, 1.0, 0.1).tolist())
"""Steps of 0.1 in floating point: the entries 3, 6 and 7 are one unit in the last place too large."""


@dataclass(frozen=True)
class Figure:
    """One column of the table: what is averaged.

    Attributes:
        name: As in ``ap_small``.
        kind: ``ap`` averages precision over recalls, IoU thresholds and categories; ``ar`` averages recall.
        iou: Place of the only IoU threshold, or None for all of them.
        area: Place of the area range.
        limit: Place of the limit on detections per image and category.
    """

    name: str
    kind: Literal["ap", "ar"]
    iou: int | None
    area: int
    limit: int


@dataclass(frozen=True)
class Protocol:
    """The score-aware protocol with its settings.

    Args:
        mode: ``exact`` counts detections with ``score > t`` (Eq. 7). ``authors`` repeats the published
            code: scores and boxes with two decimals, ``score >= t``, and t from a floating-point range.
        score_thresholds: Strictly increasing; None for the ten of the mode.
        iou_thresholds: Strictly increasing, in (0, 1]; at most 64.
        area_ranges: Name to smallest and largest area in square pixels, both included. ``all`` is put
            first when missing: the figures without a size in their name stand on it.
        max_detections: Limits on the detections per image and category, strictly increasing. Precision
            is measured at the last.

    Raises:
        ValueError: A setting breaks its rule.

    Source:
        Eq. 7 and 8; the defaults are those of the COCO evaluation.
    """

    mode: Mode = "exact"
    score_thresholds: tuple[float, ...] | None = None
    iou_thresholds: tuple[float, ...] = COCO_IOU_THRESHOLDS
    area_ranges: Mapping[str, tuple[float, float]] = field(default_factory=lambda: dict(COCO_AREA_RANGES))
    max_detections: tuple[int, ...] = COCO_MAX_DETECTIONS

    def __post_init__(self) -> None:
        """Check the settings and make the area ranges start with ``all``."""
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, got {self.mode!r}")
        _check_increasing("score_thresholds", self.score_levels.tolist())
        _check_increasing("iou_thresholds", self.iou_thresholds)
        _check_increasing("max_detections", self.max_detections)
        if not 0 < self.iou_thresholds[0] <= self.iou_thresholds[-1] <= 1:
            raise ValueError(f"iou_thresholds must lie in (0, 1], got {self.iou_thresholds}")
        if len(self.iou_thresholds) > WORD_BITS:
            raise ValueError(f"iou_thresholds must be at most {WORD_BITS}, got {len(self.iou_thresholds)}")
        if self.max_detections[0] < 1:
            raise ValueError(f"max_detections must be 1 or more, got {self.max_detections}")
        for name, (low, high) in self.area_ranges.items():
            if not low <= high:
                raise ValueError(f"area_ranges must give smallest <= largest, got {name!r}: {(low, high)}")
        rest = {name: bounds for name, bounds in self.area_ranges.items() if name != "all"}
        whole = self.area_ranges.get("all", COCO_AREA_RANGES["all"])
        object.__setattr__(self, "area_ranges", {"all": whole, **rest})

    @cached_property
    def score_levels(self) -> NDArray[np.float64]:
        """The score thresholds in force."""
        default = EXACT_SCORE_THRESHOLDS if self.mode == "exact" else AUTHORS_SCORE_THRESHOLDS
        return np.array(default if self.score_thresholds is None else self.score_thresholds, dtype=np.float64)

    @cached_property
    def match_levels(self) -> NDArray[np.float64]:
        """The IoU a pair must reach; COCO lets an IoU a hair below 1 pass for 1."""
        return np.minimum(np.array(self.iou_thresholds, dtype=np.float64), 1 - 1e-10)

    @cached_property
    def area_bounds(self) -> NDArray[np.float64]:
        """Smallest and largest area of each range, ``[A, 2]``."""
        return np.array(list(self.area_ranges.values()), dtype=np.float64)

    def thresholds_passed(self, scores: NDArray[np.float64]) -> NDArray[np.int64]:
        """Count the score thresholds each score passes; they are always the first ones.

        Example:
            >>> Protocol().thresholds_passed(np.array([0.0, 0.3, 0.31])).tolist()
            [0, 3, 4]
            >>> Protocol(mode="authors").thresholds_passed(np.array([0.0, 0.3, 0.31])).tolist()
            [1, 3, 4]
        """
        # Eq. 7 is strict; the published code compares with >=.
        return np.searchsorted(self.score_levels, scores, side="left" if self.mode == "exact" else "right")

    def passes(self, scores: NDArray[np.float64], level: int) -> NDArray[np.bool_]:
        """Say which scores pass one score threshold."""
        threshold = float(self.score_levels[level])
        return scores > threshold if self.mode == "exact" else scores >= threshold

    @cached_property
    def figures(self) -> tuple[Figure, ...]:
        """The columns of the table, in COCO's order."""
        last = len(self.max_detections) - 1
        sizes = list(enumerate(self.area_ranges))[1:]
        single = [(f"ap{level:.0%}".rstrip("%"), level) for level in (0.5, 0.75)]
        return (
            Figure("ap", "ap", None, 0, last),
            *(
                Figure(name, "ap", self.iou_thresholds.index(level), 0, last)
                for name, level in single
                if level in self.iou_thresholds
            ),
            *(Figure(f"ap_{name}", "ap", None, area, last) for area, name in sizes),
            *(Figure(f"ar{limit}", "ar", None, 0, place) for place, limit in enumerate(self.max_detections)),
            *(Figure(f"ar_{name}", "ar", None, area, last) for area, name in sizes),
        )


def _check_increasing(name: str, values: tuple[float, ...] | list[float]) -> None:
    finite = all(math.isfinite(value) for value in values)
    if not values or not finite or any(later <= earlier for earlier, later in pairwise(values)):
        raise ValueError(f"{name} must be finite and strictly increasing, at least one, got {tuple(values)}")
