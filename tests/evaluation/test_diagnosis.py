from __future__ import annotations

import pytest

from siod.evaluation.diagnosis import diagnose
from siod.evaluation.score_aware import GroundTruth, ScoreAwareEvaluator

LEFT, RIGHT, NOWHERE = [0, 0, 10, 10], [20, 0, 10, 10], [50, 50, 10, 10]


def test_a_diagnosis_counts_right_and_wrong_by_score_and_names_every_category() -> None:
    truth = GroundTruth.from_coco(
        {
            "images": [{"id": 1}],
            "categories": [{"id": 3, "name": "cat"}, {"id": 4, "name": "dog"}, {"id": 5, "name": "none of these"}],
            "annotations": [
                {"id": 1, "image_id": 1, "category_id": 3, "bbox": LEFT, "area": 100, "iscrowd": 0},
                {"id": 2, "image_id": 1, "category_id": 3, "bbox": RIGHT, "area": 100, "iscrowd": 0},
                {"id": 3, "image_id": 1, "category_id": 4, "bbox": LEFT, "area": 100, "iscrowd": 0},
            ],
        }
    )
    evaluator = ScoreAwareEvaluator(truth)
    boxes = [LEFT, RIGHT, NOWHERE, LEFT]
    evaluator.update([1] * 4, boxes, [0.92, 0.31, 0.93, 1.0], [3, 3, 3, 4], box_format="xywh")
    told = diagnose(evaluator.compute())

    # Bins of 0.05: 0.92 and 0.93 fall into bin 18, 0.31 into bin 6, 1.0 into the last.
    assert {place: count for place, count in enumerate(told["right"]) if count} == {6: 1, 18: 1, 19: 1}
    assert {place: count for place, count in enumerate(told["wrong"]) if count} == {18: 1}
    assert told["scores"][18] == pytest.approx(1.85)
    # Cat: wrong, right, right: precisions 1/2 and 2/3, the interpolated curve is 2/3 everywhere. Dog: 1. Mean 5/6.
    assert set(told["precision"]) == {f"0.{place}" for place in range(50, 100, 5)}
    assert told["precision"]["0.50"] == pytest.approx([5 / 6] * 101, abs=1e-5)
    # A category without an instance has no AP.
    assert set(told["categories"]) == {"cat", "dog"}
    assert told["categories"]["dog"] == {"ap_s": 1.0, "ap_s0": 1.0}
    assert told["categories"]["cat"]["ap_s0"] == pytest.approx(2 / 3, abs=1e-5)


def test_nothing_found_is_a_diagnosis_too() -> None:
    truth = GroundTruth.from_arrays(
        image_ids=[1], category_ids=[7], boxes=[LEFT], annotation_image_ids=[1], annotation_category_ids=[7]
    )
    told = diagnose(ScoreAwareEvaluator(truth).compute())
    assert sum(told["right"]) == sum(told["wrong"]) == 0
    assert told["precision"]["0.75"] == [0.0] * 101
