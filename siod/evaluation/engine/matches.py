"""What became of each detection and annotation under one condition."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from siod.evaluation.engine.judging import findable, in_range, judged
from siod.evaluation.engine.matching import inside_ranges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siod.evaluation.engine.judging import Judgement


class Outcome(IntEnum):
    """How a detection counts."""

    FALSE_POSITIVE = 0
    TRUE_POSITIVE = 1
    IGNORED = 2
    """Neither way: matched to a crowd or to an object of another size, or unmatched and of another size itself; in a
    federated set also unmatched where boxes are not exhaustive, and of a category that nobody looked for."""
    BEYOND_LIMIT = 3
    """Not looked at: the cell has more detections with a higher score than the limit allows."""


@dataclass(frozen=True, eq=False)
class MatchList:
    """Detections that pass a score threshold, in the order in which they were given, and what was missed.

    Attributes:
        rows: Row of each detection in what was given.
        image_ids: ``[N]``.
        category_ids: ``[N]``.
        boxes_xywh: ``[N, 4]``.
        scores: ``[N]``.
        outcome: ``Outcome`` values, ``[N]``.
        annotation_ids: Of the annotation matched, ``[N]``; look at ``iou`` for whether there is one.
        iou: With that annotation, NaN without one, ``[N]``.
        missed_annotation_ids: Annotations to be found that no detection found.
    """

    rows: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    category_ids: NDArray[np.int64]
    boxes_xywh: NDArray[np.float64]
    scores: NDArray[np.float64]
    outcome: NDArray[np.int64]
    annotation_ids: NDArray[np.int64]
    iou: NDArray[np.float64]
    missed_annotation_ids: NDArray[np.int64]


def list_matches(judgement: Judgement, *, level: int, iou_threshold: float, area: str) -> MatchList:
    """List detections and missed annotations under one score threshold, IoU threshold and area range.

    Raises:
        ValueError: One of them is not the protocol's.
    """
    protocol, truth, ranking = judgement.protocol, judgement.truth, judgement.ranking
    if not 0 <= level < len(protocol.score_levels):
        raise ValueError(f"level must be 0 to {len(protocol.score_levels) - 1}, got {level}")
    if iou_threshold not in protocol.iou_thresholds:
        raise ValueError(f"iou_threshold must be one of {protocol.iou_thresholds}, got {iou_threshold}")
    if area not in protocol.area_ranges:
        raise ValueError(f"area must be one of {', '.join(protocol.area_ranges)}, got {area!r}")
    place = list(protocol.area_ranges).index(area)
    bounds = protocol.area_bounds[[place]]
    passes = protocol.passes(judgement.detections.scores, level)
    pair = _matching_pairs(judgement, iou_threshold, place)
    detection, annotation = ranking.rows[judgement.pairs.detection[pair]], judgement.pairs.annotation[pair]
    kept = passes[detection]
    pair, detection, annotation = pair[kept], detection[kept], annotation[kept]

    ignored = truth.iscrowd | ~inside_ranges(truth.area, bounds)[0]
    detections = judgement.detections
    outcome = np.full(len(detections), Outcome.BEYOND_LIMIT, dtype=np.int64)
    outcome[~judged(truth, detections, protocol)] = Outcome.IGNORED
    counts = in_range(truth, detections, protocol)[place, ranking.rows]
    outcome[ranking.rows] = np.where(counts, Outcome.FALSE_POSITIVE, Outcome.IGNORED)
    found = ~ignored[annotation] & findable(truth, protocol)[annotation]
    outcome[detection[found]] = Outcome.TRUE_POSITIVE
    outcome[detection[ignored[annotation]]] = Outcome.IGNORED
    iou = np.full(len(detections), np.nan)
    iou[detection] = judgement.pairs.iou[pair]
    annotation_ids = np.zeros(len(detections), dtype=np.int64)
    annotation_ids[detection] = truth.annotation_ids[annotation]
    missed = ~ignored
    missed[annotation[found]] = False
    return MatchList(
        np.flatnonzero(passes),
        detections.image_ids[passes],
        detections.category_ids[passes],
        detections.boxes_xywh[passes],
        detections.scores[passes],
        outcome[passes],
        annotation_ids[passes],
        iou[passes],
        np.sort(truth.annotation_ids[missed]),
    )


def _matching_pairs(judgement: Judgement, iou_threshold: float, area: int) -> NDArray[np.int64]:
    """Places of the pairs that are matches under one IoU threshold and area range."""
    iou = judgement.protocol.iou_thresholds.index(iou_threshold)
    for conditions, words in judgement.matches:
        if area < conditions.ranges.stop:
            bit = (area - conditions.ranges.start) * conditions.thresholds + iou
            return np.flatnonzero(words & np.uint64(1 << bit))
    return np.zeros(0, dtype=np.int64)
