"""Matching worked out by hand: bits of conditions, and who gets which annotation under each of them."""

from __future__ import annotations

import numpy as np

from siod.evaluation.engine.matching import Conditions, inside_ranges, match
from siod.evaluation.engine.overlaps import Pairs
from siod.evaluation.ground_truth import GroundTruth


def test_a_word_has_a_bit_for_each_threshold_of_each_range() -> None:
    conditions = Conditions(slice(1, 3), thresholds=3)
    assert len(conditions) == 6
    # The first item lies in both ranges, the second in the later one alone, the third in none.
    inside = np.array([[True, False, False], [True, True, False]])
    assert conditions.words(inside).tolist() == [0b111_111, 0b111_000, 0]
    assert conditions.reached(np.array([0, 1, 2, 3], dtype=np.int8)).tolist() == [0, 0b001_001, 0b011_011, 0b111_111]


def test_both_limits_belong_to_a_range() -> None:
    inside = inside_ranges(np.array([0.0, 16.0, 16.5, 81.0]), np.array([[0.0, 16.0], [16.0, 81.0]]))
    assert inside.tolist() == [[True, True, False, False], [False, True, True, True]]


def test_each_detection_gets_the_best_annotation_that_is_left_under_each_threshold() -> None:
    truth = GroundTruth.from_arrays(
        image_ids=[1, 2, 3, 4],
        category_ids=[1],
        boxes=np.ones((7, 4)),
        annotation_image_ids=[1, 1, 1, 2, 3, 4, 4],
        annotation_category_ids=[1] * 7,
        iscrowd=[False, False, False, True, False, False, False],
    )
    # Image 1: detection 0 overlaps the ignored annotation 1 more than annotation 0, which it reaches at the first
    # threshold alone, like the ignored annotation 2; detection 2 overlaps annotation 1. Image 2: two in a crowd.
    # Image 3: three on one annotation. Image 4: one on two.
    first = [(0, 1, 2), (0, 0, 1), (0, 2, 1), (2, 1, 2)]
    others = [(3, 3, 2), (7, 3, 2), (8, 4, 1), (9, 4, 2), (10, 4, 1), (11, 6, 2), (11, 5, 2)]
    detection, annotation, level = np.array([*first, *others]).T
    pairs = Pairs(
        detection=detection.astype(np.int32),
        annotation=annotation.astype(np.int32),
        iou=np.zeros(11),
        level=level.astype(np.int8),
        rank=np.zeros(11, dtype=np.int32),
    )
    ignored = np.array([0, 0b11, 0b11, 0b11, 0, 0, 0], dtype=np.uint64)
    found = match(pairs, truth, ignored, Conditions(slice(0, 1), thresholds=2))
    # At the first threshold 0 takes what counts, and leaves what is ignored to 2; at the second it is the other way.
    assert found.tolist() == [0b10, 0b01, 0, 0b01, 0b11, 0b11, 0b01, 0b10, 0, 0b11, 0]


def test_what_counts_is_preferred_to_what_is_ignored_among_many() -> None:
    truth = GroundTruth.from_arrays(
        image_ids=[1, 2, 3],
        category_ids=[1],
        boxes=np.ones((23, 4)),
        annotation_image_ids=[1] + [2] * 20 + [3] * 2,
        annotation_category_ids=[1] * 23,
    )
    # Image 2: one detection overlaps ten that are ignored more than ten that count. Image 3: it overlaps one of each,
    # neither as far as the second threshold asks.
    pairs = Pairs(
        detection=np.array([0] + [1] * 20 + [2] * 2, dtype=np.int32),
        annotation=np.arange(23, dtype=np.int32),
        iou=np.zeros(23),
        level=np.array([2] * 21 + [1] * 2, dtype=np.int8),
        rank=np.zeros(23, dtype=np.int32),
    )
    ignored = np.array([0] + [0b11] * 10 + [0] * 10 + [0b11, 0], dtype=np.uint64)
    found = match(pairs, truth, ignored, Conditions(slice(0, 1), thresholds=2))
    assert found.tolist() == [0b11] + [0] * 10 + [0b11] + [0] * 9 + [0, 0b01]
