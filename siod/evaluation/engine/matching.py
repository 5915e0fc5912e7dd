"""COCO's greedy matching of detections to annotations, for all IoU thresholds and area ranges at once.

A *condition* is one area range with one IoU threshold. Matching is a separate problem under each of them,
so one machine word carries up to 64 of them side by side: bit c of a word says what holds under condition c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siod.evaluation.engine.ranking import stable_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siod.evaluation.engine.overlaps import Pairs
    from siod.evaluation.ground_truth import GroundTruth


@dataclass(frozen=True, eq=False)
class Conditions:
    """Area ranges that share one word with all IoU thresholds; condition = range x thresholds + threshold.

    Attributes:
        ranges: Which of the protocol's area ranges.
        thresholds: Number of IoU thresholds, T.
    """

    ranges: slice
    thresholds: int

    def __len__(self) -> int:
        """Number of conditions, A x T."""
        return self.areas * self.thresholds

    @property
    def areas(self) -> int:
        """Number of area ranges, A."""
        return len(range(self.ranges.start, self.ranges.stop))

    def words(self, inside: NDArray[np.bool_]) -> NDArray[np.uint64]:
        """Words whose bits say, under every IoU threshold, whether the range's flag is set.

        Args:
            inside: One flag per range and item, ``[A, N]``.
        """
        block = (1 << self.thresholds) - 1
        words = np.zeros(inside.shape[1], dtype=np.uint64)
        for place, flags in enumerate(inside):
            words |= np.where(flags, np.uint64(block << place * self.thresholds), np.uint64(0))
        return words

    def reached(self, levels: NDArray[np.int8]) -> NDArray[np.uint64]:
        """Words whose bits say which IoU thresholds pairs of these levels reach, in every range."""
        table = [
            sum(((1 << level) - 1) << place * self.thresholds for place in range(self.areas))
            for level in range(self.thresholds + 1)
        ]
        return np.array(table, dtype=np.uint64)[levels]


def inside_ranges(area: NDArray[np.float64], ranges: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say for each range and each item whether its area lies inside, ``[A, N]``; both limits belong to it."""
    return np.stack([(area >= low) & (area <= high) for low, high in ranges.tolist()])


def match(pairs: Pairs, truth: GroundTruth, ignored: NDArray[np.uint64], conditions: Conditions) -> NDArray[np.uint64]:
    """Match greedily: detections in order of score, each to the best annotation that is left.

    An annotation that counts is preferred to one that is ignored, whatever the IoU. Crowds are never used
    up. Cells are independent: round r makes the r-th step of every cell that has one.

    Args:
        pairs: The candidates.
        truth: The annotations.
        ignored: Bits of the conditions under which an annotation is ignored, ``[G]``.
        conditions: What the bits stand for.

    Returns:
        Bits of the conditions under which each pair is a match, ``[P]``.
    """
    steps = _Steps.of(pairs, truth, ignored, conditions)
    taken = np.zeros(len(truth.cells), dtype=np.uint64)
    served = np.zeros(len(steps.pair), dtype=np.uint64)
    uses_up = np.where(truth.iscrowd, np.uint64(0), ~np.uint64(0))[steps.annotation]
    won = np.zeros(len(steps.pair), dtype=np.uint64)
    for lower, upper in zip(steps.round_start[:-1], steps.round_start[1:], strict=True):
        annotation, detection = steps.annotation[lower:upper], steps.detection[lower:upper]
        bits = steps.bits[lower:upper] & ~(taken[annotation] | served[detection])
        taken[annotation] |= bits & uses_up[lower:upper]
        served[detection] |= bits
        won[lower:upper] = bits
    matched = np.zeros(len(pairs.detection), dtype=np.uint64)
    np.bitwise_or.at(matched, steps.pair, won)
    return matched


@dataclass(frozen=True, eq=False)
class _Steps:
    """What matching looks at, one pair at a time, round by round.

    Attributes:
        pair: Place in the pairs, ``[S]``.
        detection: A number of its own for each detection, ``[S]``.
        annotation: Row of the ground truth, ``[S]``.
        bits: Conditions under which the step may make a match, ``[S]``.
        round_start: First step of each round, and the end.
    """

    pair: NDArray[np.int64]
    detection: NDArray[np.int64]
    annotation: NDArray[np.int64]
    bits: NDArray[np.uint64]
    round_start: list[int]

    @classmethod
    def of(cls, pairs: Pairs, truth: GroundTruth, ignored: NDArray[np.uint64], conditions: Conditions) -> _Steps:
        """Lay out the steps.

        A detection looks at the annotations that count before it looks at ignored ones. Where its
        candidates differ in that, it goes through them twice.
        """
        count = len(pairs.detection)
        ignoring = ignored[pairs.annotation]
        same = pairs.detection[1:] == pairs.detection[:-1]
        detection = np.concatenate([[0], np.cumsum(~same)])[:count]
        twice = np.zeros(count, dtype=bool)
        twice[detection[1:][same & (ignoring[1:] != ignoring[:-1])]] = True
        again = np.flatnonzero(twice[detection])

        pair = np.concatenate([np.arange(count), again])
        order = np.argsort(detection[pair], kind="stable")
        bits = conditions.reached(pairs.level)
        bits = np.concatenate([np.where(twice[detection], bits & ~ignoring, bits), (bits & ignoring)[again]])
        pair, bits = pair[order], bits[order]

        cells = truth.cells[pairs.annotation[pair]]
        new_cell = np.diff(cells, prepend=-1) != 0
        turn = np.arange(len(pair)) - np.flatnonzero(new_cell)[np.cumsum(new_cell) - 1]
        by_round = stable_order(turn, np.arange(len(pair)))
        starts = np.concatenate([[0], np.cumsum(np.bincount(turn))])
        pair = pair[by_round]
        return cls(pair, detection[pair], pairs.annotation[pair], bits[by_round], starts.tolist())
