"""One pass over detections and ground truth: rank, pair, match, count."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from siod.evaluation.engine.accumulation import Matched, accumulate, sort_matches
from siod.evaluation.engine.matching import Conditions, inside_ranges, match
from siod.evaluation.engine.overlaps import Pairs, overlapping_pairs
from siod.evaluation.engine.ranking import Ranking, rank
from siod.evaluation.protocol import WORD_BITS, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from siod.evaluation.columns import DetectionColumns
    from siod.evaluation.engine.precision_recall import TruePositives
    from siod.evaluation.ground_truth import GroundTruth


@dataclass(frozen=True, eq=False)
class Judgement:
    """Everything that is known after matching.

    Attributes:
        truth: The annotations.
        protocol: Thresholds, area ranges, limits.
        detections: All that were given, as they are judged (rounded in the authors' mode).
        ranking: The order of those that pass the lowest score threshold.
        pairs: Candidates of detections and annotations.
        matches: For each group of area ranges the conditions and, per pair, where it is a match.
        true_positives: What the table is computed from.
    """

    truth: GroundTruth
    protocol: Protocol
    detections: DetectionColumns
    ranking: Ranking
    pairs: Pairs
    matches: tuple[tuple[Conditions, NDArray[np.uint64]], ...]
    true_positives: TruePositives


def judge(truth: GroundTruth, given: DetectionColumns, protocol: Protocol) -> Judgement:
    """Rank, pair and match detections, and count what they find.

    Args:
        truth: The annotations; knows all image and category ids of the detections.
        given: The detections.
        protocol: Thresholds, area ranges, limits.

    Returns:
        What the figures, curves and matches are read from.
    """
    detections = given.rounded() if protocol.mode == "authors" else given
    ranking, pairs = _rank_and_pair(truth, detections, protocol)
    ignored = truth.iscrowd | ~inside_ranges(truth.area, protocol.area_bounds)
    matches, matched = [], []
    for ranges in _groups(len(protocol.area_bounds), len(protocol.iou_thresholds)):
        conditions = Conditions(ranges, len(protocol.iou_thresholds))
        ignored_words = conditions.words(ignored[ranges])
        words = match(pairs, truth, ignored_words, conditions)
        matches.append((conditions, words))
        matched.append(_matched(pairs, findable(truth, protocol), ignored_words, words, conditions))
    inside = in_range(truth, detections, protocol)[:, ranking.rows]
    true_positives = accumulate(
        ranking, detections.scores, inside, matched, positives=_positives(truth, ignored), protocol=protocol
    )
    return Judgement(truth, protocol, detections, ranking, pairs, tuple(matches), true_positives)


def _rank_and_pair(truth: GroundTruth, detections: DetectionColumns, protocol: Protocol) -> tuple[Ranking, Pairs]:
    """Rank the detections that pass the lowest score threshold, and pair them with annotations."""
    passing = protocol.passes(detections.scores, 0) & judged(truth, detections, protocol)
    kept = slice(None) if passing.all() else np.flatnonzero(passing)
    ranking, index = rank(
        truth.images.of(detections.image_ids[kept]),
        truth.categories.of(detections.category_ids[kept]),
        detections.scores[kept],
        image_count=len(truth.image_ids),
        category_count=len(truth.category_ids),
        limit=protocol.max_detections[-1],
    )
    if not isinstance(kept, slice):
        ranking = replace(ranking, rows=kept[ranking.rows])
    return ranking, overlapping_pairs(ranking, index, detections.boxes_xywh, truth, protocol.match_levels)


def judged(truth: GroundTruth, detections: DetectionColumns, protocol: Protocol) -> NDArray[np.bool_]:
    """Detections of categories that somebody looked for in their image; all where the set is not federated."""
    if truth.looked_for is None or protocol.mode == "authors":
        return np.ones(len(detections), bool)
    found: NDArray[np.bool_] = truth.within(truth.looked_for, detections.image_ids, detections.category_ids)
    return found


def in_range(truth: GroundTruth, detections: DetectionColumns, protocol: Protocol) -> NDArray[np.bool_]:
    """Whether each detection counts as false when it matches nothing, for each area range, ``[A, N]``.

    One outside the range does not, nor does one of a category whose boxes are not exhaustive in its image.
    """
    inside = inside_ranges(detections.area(), protocol.area_bounds)
    if truth.not_exhaustive is not None and protocol.mode != "authors":
        inside &= ~truth.within(truth.not_exhaustive, detections.image_ids, detections.category_ids)
    return inside


def _groups(areas: int, thresholds: int) -> Iterator[slice]:
    """Area ranges whose conditions fit into one word."""
    size = WORD_BITS // thresholds
    return (slice(first, min(first + size, areas)) for first in range(0, areas, size))


def findable(truth: GroundTruth, protocol: Protocol) -> NDArray[np.bool_]:
    """Annotations that a match finds.

    pycocotools, and so the published code, notes a match by the annotation's id and reads 0 as "none": a detection that
    matches annotation 0 counts as false, and the annotation as missed. Tools that count from 0 write such files.
    """
    return np.ones(len(truth.annotation_ids), bool) if protocol.mode == "exact" else truth.annotation_ids != 0


def _matched(
    pairs: Pairs,
    counts: NDArray[np.bool_],
    ignored: NDArray[np.uint64],
    words: NDArray[np.uint64],
    conditions: Conditions,
) -> Matched:
    ignoring = ignored[pairs.annotation]
    countable = np.where(counts, ~np.uint64(0), np.uint64(0))[pairs.annotation]
    return sort_matches(conditions, pairs.detection, pairs.rank, words & ~ignoring & countable, words & ignoring)


def _positives(truth: GroundTruth, ignored: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Annotations to be found by area range and category, ``[A, K]``."""
    category = truth.cells // max(len(truth.image_ids), 1)
    return np.stack([np.bincount(category[~flags], minlength=len(truth.category_ids)) for flags in ignored])
