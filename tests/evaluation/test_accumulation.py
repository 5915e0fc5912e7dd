"""True positives and the precision at each of them, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from siod.evaluation.columns import DetectionColumns
from siod.evaluation.engine.judging import judge
from siod.evaluation.ground_truth import GroundTruth
from siod.evaluation.protocol import Protocol


def test_true_positives_are_listed_with_the_precision_at_each() -> None:
    truth = GroundTruth.from_arrays(
        image_ids=[1, 2],
        category_ids=[7, 9],
        annotation_image_ids=[1, 1, 1, 2, 1],
        annotation_category_ids=[7, 7, 7, 7, 9],
        # The second has a box of 90 square pixels and an area of 200: large, while what finds it is small.
        boxes=[[0, 0, 10, 10], [20, 0, 10, 9], [50, 0, 50, 50], [0, 0, 5, 5], [0, 0, 10, 10]],
        box_format="xywh",
        area=[100, 200, 2500, 25, 100],
        iscrowd=[False, False, True, False, False],
    )
    found = [
        (1, 7, [0, 0, 10, 10], 0.9),  # finds the first
        (1, 7, [20, 0, 7, 9], 0.72),  # overlaps the second by 0.7
        (1, 7, [60, 10, 5, 5], 0.7),  # in the crowd
        (2, 7, [0, 0, 5, 5], 0.45),  # finds the fourth
        (2, 7, [30, 30, 4, 4], 0.48),  # finds nothing
        (1, 9, [0, 0, 10, 10], 0.4),  # finds the fifth
        (1, 7, [70, 20, 5, 5], 0.75),  # in the crowd
        (2, 9, [0, 0, 10, 10], 0.95),  # finds nothing
    ]
    images, categories, boxes, scores = zip(*found, strict=True)
    detections = DetectionColumns.from_arrays(
        np.array(images), list(boxes), list(scores), np.array(categories), box_format="xywh"
    )
    protocol = Protocol(
        score_thresholds=(0.0, 0.46),
        iou_thresholds=(0.5, 0.75),
        area_ranges={"small": (0, 100), "large": (100, 1e5)},
        max_detections=(1, 2, 4),
    )
    listed = judge(truth, detections, protocol).true_positives

    assert listed.positives.tolist() == [[3, 1], [2, 1], [2, 1]]
    # By area, IoU threshold and category; what matches something ignored, or is of the wrong size and finds
    # nothing, is not counted.
    expected = [
        ([0, 1, 3], [1, 1, 3 / 4]),
        ([5], [1 / 2]),
        ([0, 3], [1, 2 / 4]),  # 1 misses the stricter threshold
        ([5], [1 / 2]),
        ([0, 3], [1, 2 / 3]),  # small: 1 matches a large one
        ([5], [1 / 2]),
        ([0, 3], [1, 2 / 4]),  # 1 is small and finds nothing
        ([5], [1 / 2]),
        ([0, 1], [1, 1]),  # large
        ([5], [1 / 2]),
        ([0], [1]),
        ([5], [1 / 2]),
    ]
    assert listed.rows.tolist() == [row for rows, _ in expected for row in rows]
    assert listed.rows.dtype == np.int32
    assert listed.precision.tolist() == pytest.approx([p for _, precisions in expected for p in precisions] + [0])
    assert listed.precision[0] == 1 / (1 + 2**-52)  # pycocotools' guard
    assert listed.start.tolist() == [[[0, 3], [4, 6]], [[7, 9], [10, 12]], [[13, 15], [16, 17]]]
    # By limit, above 0 and above 0.46, which 0.45 and 0.4 are not. In its image 1 comes third, after one in the crowd.
    one, two = [[1, 0], [1, 0], [1, 0]], [[1, 1], [2, 1], [2, 1]]
    assert listed.counts.tolist() == [
        [[[[1, 1], [2, 1], [3, 2]], one], [two, one]],
        [[two, one], [two, one]],
        [[[[1, 1], [1, 1], [2, 2]], one], [[[1, 1], [1, 1], [1, 1]], one]],
    ]


def test_a_crowd_excuses_only_what_it_holds_enough_of() -> None:
    truth = GroundTruth.from_arrays(
        image_ids=[1],
        category_ids=[7],
        annotation_image_ids=[1, 1],
        annotation_category_ids=[7, 7],
        boxes=[[0, 0, 10, 10], [20, 0, 6, 10]],
        box_format="xywh",
        iscrowd=[False, True],
    )
    # The first lies in the crowd with 60% of itself: excused at the looser threshold, wrong at the stricter one.
    detections = DetectionColumns.from_arrays(
        np.array([1, 1]), [[20, 0, 10, 10], [0, 0, 10, 10]], [0.9, 0.8], np.array([7, 7]), box_format="xywh"
    )
    protocol = Protocol(iou_thresholds=(0.5, 0.75), area_ranges={})
    listed = judge(truth, detections, protocol).true_positives
    assert listed.precision.tolist() == pytest.approx([1, 1 / 2, 0])
