"""What holds for every problem, whatever the numbers: order, shards, streaming, and what is refused."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from siod.errors import UserError
from siod.evaluation.score_aware import (
    DetectionColumns,
    GroundTruth,
    Outcome,
    ScoreAwareEvaluator,
    ScoreAwareTable,
    evaluate_files,
)

Rows = list[tuple[int, int, list[float], float]]
Problem = tuple[dict[str, Any], Rows]
SIDES = st.integers(0, 6).map(lambda step: 12.0 * step)
BOXES = st.tuples(SIDES, SIDES, SIDES, SIDES).map(list)


@st.composite
def problems(draw: st.DrawFn, *, unique_scores: bool = False) -> Problem:
    """Annotations, and detections half of which repeat one."""
    images = st.integers(1, draw(st.integers(1, 4)))
    categories = st.integers(1, draw(st.integers(1, 3)))
    marked = draw(st.lists(st.tuples(images, categories, BOXES, st.sampled_from([0, 0, 0, 1])), max_size=8))
    truth = {
        "images": [{"id": image} for image in range(1, 5)],
        "categories": [{"id": category, "name": f"c{category}"} for category in range(1, 4)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": b, "area": b[2] * b[3], "iscrowd": crowd}
            for n, (i, c, b, crowd) in enumerate(marked, start=1)
        ],
    }
    known = st.sampled_from([(i, c, b) for i, c, b, _ in marked]) if marked else st.nothing()
    places = draw(st.lists(known | st.tuples(images, categories, BOXES), max_size=16))
    scores = draw(
        st.lists(
            st.integers(0, 1000).map(lambda thousandth: thousandth / 1000),
            min_size=len(places),
            max_size=len(places),
            unique=unique_scores,
        )
    )
    return truth, [(i, c, b, s) for (i, c, b), s in zip(places, scores, strict=True)]


def columns(rows: Rows) -> DetectionColumns:
    return DetectionColumns.from_arrays(
        np.array([row[0] for row in rows], dtype=int),
        [row[2] for row in rows],
        [row[3] for row in rows],
        np.array([row[1] for row in rows], dtype=int),
        box_format="xywh",
    )


def judged(problem: Problem, **options: Any) -> ScoreAwareTable:
    evaluator = ScoreAwareEvaluator(GroundTruth.from_coco(problem[0]), **options)
    evaluator.merge(columns(problem[1]))
    return evaluator.compute()


@settings(max_examples=150)
@given(problem=problems(), mode=st.sampled_from(["exact", "authors"]))
def test_no_figure_rises_with_the_score_threshold(problem: Problem, mode: str) -> None:
    assert (np.diff(judged(problem, mode=mode).values[1:], axis=0) <= 0).all()


@settings(max_examples=150)
@given(problem=problems(unique_scores=True), data=st.data())
def test_order_and_new_ids_change_nothing_but_the_last_bits(problem: Problem, data: st.DataObject) -> None:
    truth, rows = problem
    new_image = dict(zip(range(1, 5), data.draw(st.permutations([3, 50, 700, 10**12])), strict=True))
    new_category = dict(zip(range(1, 4), data.draw(st.permutations([2, 9, 91])), strict=True))
    # Annotations of equal overlap are taken in their order, so that order stays.
    renamed = {
        "images": data.draw(st.permutations([{"id": new_image[entry["id"]]} for entry in truth["images"]])),
        "categories": data.draw(
            st.permutations([entry | {"id": new_category[entry["id"]]} for entry in truth["categories"]])
        ),
        "annotations": [
            entry
            | {
                "id": 1000 - entry["id"],
                "image_id": new_image[entry["image_id"]],
                "category_id": new_category[entry["category_id"]],
            }
            for entry in truth["annotations"]
        ],
    }
    moved = [(new_image[i], new_category[c], b, s) for i, c, b, s in data.draw(st.permutations(rows))]
    before, after = judged(problem), judged((renamed, moved))
    # The mean over categories is a sum whose last bits depend on their order.
    np.testing.assert_allclose(after.values, before.values, rtol=0, atol=1e-14)
    # Nothing is summed over categories here.
    assert after.per_category() == before.per_category()


@settings(max_examples=150)
@given(problem=problems(), image=st.integers(1, 4), category=st.integers(1, 3), score=st.floats(0, 1))
def test_a_false_positive_more_raises_nothing(problem: Problem, image: int, category: int, score: float) -> None:
    truth, rows = problem
    nowhere = (image, category, [500.0, 500.0, 40.0, 40.0], score)
    assert (judged((truth, [*rows, nowhere])).values <= judged(problem).values).all()


@settings(max_examples=150)
@given(problem=problems(), workers=st.integers(1, 4), data=st.data())
def test_shards_by_image_give_the_table_of_the_whole(problem: Problem, workers: int, data: st.DataObject) -> None:
    truth, rows = problem
    owner = data.draw(st.lists(st.integers(0, workers - 1), min_size=5, max_size=5))
    shared = GroundTruth.from_coco(truth)
    shards = []
    for worker in range(workers):
        evaluator = ScoreAwareEvaluator(shared)
        for row in (row for row in rows if owner[row[0]] == worker):
            evaluator.update(*(row[0], [row[2]], [row[3]], [row[1]]), box_format="xywh")
        shards.append(pickle.dumps(evaluator.state()))
    whole = ScoreAwareEvaluator(shared)
    for shard in data.draw(st.permutations(shards)):
        whole.merge(pickle.loads(shard))  # noqa: S301  (written above)
    assert whole.compute().values.tolist() == judged(problem).values.tolist()


TRUTH: dict[str, Any] = {
    "images": [{"id": 1}, {"id": 2}],
    "categories": [{"id": 7, "name": "cat"}],
    "annotations": [{"id": 5, "image_id": 1, "category_id": 7, "bbox": [0, 0, 10, 10]}],
}
FOUND: list[dict[str, Any]] = [{"image_id": 1, "category_id": 7, "bbox": [0, 0, 10, 10], "score": 0.55}]


def test_a_missing_area_is_the_boxs_and_a_missing_iscrowd_is_no_crowd() -> None:
    given_fields = TRUTH | {"annotations": [TRUTH["annotations"][0] | {"area": 100, "iscrowd": 0}]}
    assert evaluate_files(TRUTH, FOUND).metrics() == evaluate_files(given_fields, FOUND).metrics()
    assert evaluate_files(TRUTH, FOUND).metrics()["ap_small_s0"] == pytest.approx(1.0)


def test_figures_that_have_nothing_to_find_are_not_known() -> None:
    table = evaluate_files(TRUTH, FOUND)
    unknown = set(table.metrics()) - set(table.known())
    # The one box of 100 square pixels is small; of neither other size is there any.
    sizes = {f"{kind}_{size}" for kind in ("ap", "ar") for size in ("medium", "large")}
    assert unknown == {f"{name}_{row}" for name in sizes for row in ("s", *(f"s{level}" for level in range(10)))}
    assert table.known().items() <= table.metrics().items()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_tensors_of_any_type_are_taken(dtype: torch.dtype) -> None:
    evaluator = ScoreAwareEvaluator(GroundTruth.from_coco(TRUTH))
    boxes = torch.tensor([[0, 0, 10, 10]], dtype=dtype, requires_grad=True)
    evaluator.update(1, boxes, torch.tensor([0.5], dtype=dtype), torch.tensor([7]))
    assert evaluator.compute().metrics()["ap_s"] == pytest.approx(0.5)
    evaluator.reset()
    assert evaluator.compute().metrics()["ap_s"] == 0.0


def test_a_float32_score_is_compared_in_double_precision() -> None:
    evaluator = ScoreAwareEvaluator(GroundTruth.from_coco(TRUTH))
    # 0.3 in single precision is 0.30000001192..., which is above 0.3.
    evaluator.update(1, [[0, 0, 10, 10]], np.array([0.3], dtype=np.float32), [7])
    metrics = evaluator.compute().metrics()
    assert (metrics["ap_s3"] > 0.99, metrics["ap_s4"]) == (True, 0.0)


def test_thresholds_areas_and_limits_may_be_any() -> None:
    evaluator = ScoreAwareEvaluator(
        GroundTruth.from_coco(TRUTH),
        score_thresholds=(0.25, 0.54, 0.56),
        iou_thresholds=(0.3, 0.75),
        area_ranges={"tiny": (0, 50), "rest": (50, 1e10)},
        max_detections=(2, 500),
    )
    evaluator.merge(DetectionColumns.from_coco(FOUND))
    table = evaluator.compute()
    assert table.columns == ("ap", "ap75", "ap_tiny", "ap_rest", "ar2", "ar500", "ar_tiny", "ar_rest")
    assert table.values[:, 0].tolist() == pytest.approx([2 / 3, 1, 1, 0])
    assert table.values[1].tolist() == pytest.approx([1, 1, -1, 1, 1, 1, -1, 1])


def test_matches_say_what_became_of_every_box() -> None:
    evaluator = ScoreAwareEvaluator(GroundTruth.from_coco(TRUTH))
    evaluator.update([1, 1, 2], [[0, 0, 10, 8], [0, 0, 10, 10], [0, 0, 5, 5]], [0.9, 0.4, 0.3], [7, 7, 7])
    matches = evaluator.compute().matches(level=0, iou_threshold=0.5)
    assert matches.outcome.tolist() == [Outcome.TRUE_POSITIVE, Outcome.FALSE_POSITIVE, Outcome.FALSE_POSITIVE]
    # The first covers 80 of 100 square pixels, and nothing else.
    assert (matches.annotation_ids[0], matches.iou[0]) == (5, 0.8)
    assert np.isnan(matches.iou[1:]).all()
    assert evaluator.compute().matches(iou_threshold=0.85).missed_annotation_ids.tolist() == []
    assert evaluator.compute().matches(level=5, iou_threshold=0.85).missed_annotation_ids.tolist() == [5]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"score": float("nan")}, r"detections\[1\].*score"),
        ({"score": float("inf")}, r"detections\[1\].*score"),
        ({"score": "high"}, r"detections\[1\]\.score"),
        ({"image_id": 3}, r"detections\[1\]\.image_id 3 is unknown"),
        ({"category_id": 8}, r"detections\[1\]\.category_id 8 is unknown"),
        ({"bbox": [0, 0, -1, 5]}, r"detections\[1\]\.bbox .* negative"),
        ({"bbox": [0, 0, 5]}, r"detections\[1\]\.bbox"),
        ({"bbox": [0, float("nan"), 5, 5]}, r"detections\[1\]\.bbox"),
    ],
)
def test_a_bad_detection_is_refused_by_name(record: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        evaluate_files(TRUTH, [FOUND[0], FOUND[0] | record])


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"image_id": 3}, r"annotations\[1\]\.image_id 3 is unknown"),
        ({"category_id": 8}, r"annotations\[1\]\.category_id 8 is unknown"),
        ({"id": 5}, "annotations: id 5 occurs twice"),
        ({"bbox": [0, 0, -1, 5]}, r"annotations\[1\]\.bbox .* negative"),
        ({"area": -4.0}, r"annotations\[1\]\.area"),
    ],
)
def test_a_bad_annotation_is_refused_by_name(record: dict[str, Any], words: str) -> None:
    second = TRUTH["annotations"][0] | {"id": 6} | record
    with pytest.raises(UserError, match=words):
        GroundTruth.from_coco(TRUTH | {"annotations": [TRUTH["annotations"][0], second]})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "loose"}, "mode must be one of exact, authors"),
        ({"score_thresholds": (0.5, 0.5)}, "score_thresholds must be"),
        ({"iou_thresholds": (0.0, 0.5)}, "iou_thresholds must lie"),
        ({"max_detections": (0, 5)}, "max_detections must be 1"),
        ({"area_ranges": {"odd": (5, 1)}}, "area_ranges must give"),
    ],
)
def test_a_setting_that_breaks_its_rule_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ScoreAwareEvaluator(GroundTruth.from_coco(TRUTH), **options)


FEDERATED = {
    "images": [
        {"id": 1, "neg_category_ids": [2], "not_exhaustive_category_ids": [1]},
        {"id": 2, "neg_category_ids": [], "not_exhaustive_category_ids": []},
    ],
    "categories": [{"id": category, "name": f"c{category}"} for category in (1, 2)],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10]},
        {"id": 2, "image_id": 2, "category_id": 1, "bbox": [0, 0, 10, 10]},
        {"id": 3, "image_id": 2, "category_id": 2, "bbox": [0, 0, 10, 10]},
    ],
}
# The best of each category in each image; none overlaps an annotation before the last two.
SOMEWHERE: Rows = [
    (1, 1, [50.0, 50.0, 10.0, 10.0], 0.9),  # not exhaustive there: counts neither way
    (1, 2, [50.0, 50.0, 10.0, 10.0], 0.8),  # surely absent there: false
    (2, 1, [0.0, 0.0, 10.0, 10.0], 0.7),
    (2, 2, [0.0, 0.0, 10.0, 10.0], 0.6),
]


def test_a_federated_set_judges_what_was_looked_for() -> None:
    truth = GroundTruth.from_coco(FEDERATED)
    evaluator = ScoreAwareEvaluator(truth)
    evaluator.merge(columns(SOMEWHERE))
    table = evaluator.compute()
    outcomes = table.matches(level=0, iou_threshold=0.5).outcome.tolist()
    assert outcomes == [Outcome.IGNORED, Outcome.FALSE_POSITIVE, Outcome.TRUE_POSITIVE, Outcome.TRUE_POSITIVE]
    # Category 1: one of two found, all at precision 1 (51 of 101 recalls); category 2: its only one, at precision 1/2.
    assert table.metrics()["ap50_s0"] == pytest.approx((51 / 101 + 1 / 2) / 2)
    alone = {**FEDERATED, "images": [{"id": 1, "neg_category_ids": []}, {"id": 2}]}
    unlisted = ScoreAwareEvaluator(GroundTruth.from_coco(alone))
    unlisted.merge(columns(SOMEWHERE))
    # Nobody looked for category 2 in image 1; the boxes of category 1 there are all there are.
    assert unlisted.compute().matches(level=0, iou_threshold=0.5).outcome.tolist() == [
        Outcome.FALSE_POSITIVE, Outcome.IGNORED, Outcome.TRUE_POSITIVE, Outcome.TRUE_POSITIVE,
    ]  # fmt: skip


def test_the_authors_mode_reads_a_federated_set_as_pycocotools_does() -> None:
    plain = {**FEDERATED, "images": [{"id": 1}, {"id": 2}]}
    both = []
    for document in (FEDERATED, plain):
        evaluator = ScoreAwareEvaluator(GroundTruth.from_coco(document), mode="authors")
        evaluator.merge(columns(SOMEWHERE))
        both.append(evaluator.compute().metrics())
    assert both[0] == both[1]


def test_a_listed_category_that_is_none_is_told() -> None:
    wrong = {**FEDERATED, "images": [{"id": 1, "neg_category_ids": [7]}, {"id": 2}]}
    with pytest.raises(UserError, match=r"images\[0\].neg_category_ids: 7 is no id of a category"):
        GroundTruth.from_coco(wrong)
