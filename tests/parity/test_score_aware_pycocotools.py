"""Every row of the table is official COCO evaluation to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.cocoeval import COCOeval

from siod.evaluation.columns import DetectionColumns
from siod.evaluation.score_aware import GroundTruth, ScoreAwareEvaluator, ScoreAwareTable

pytestmark = pytest.mark.slow

Problem = tuple[dict[str, Any], list[dict[str, Any]]]
Oracle = Callable[..., COCOeval]

# Steps of 8 px from 0 to 56 around the limits 32 and 96 of COCO's sizes, with fine offsets: many equal boxes
# and equal overlaps, some unequal ones, some without area.
SIDES = st.integers(0, 7).map(lambda step: 8.0 * step) | st.sampled_from([0.0, 0.1, 31.9, 32.0, 96.0, 97.3])
BOXES = st.tuples(SIDES, SIDES, SIDES, SIDES).map(list)
SCORES = st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.3, 0.30000000000000004, 0.5, 0.6, 0.7, 0.9, 0.95, 1.0]) | st.floats(
    0, 1
)
FAR_BOXES = [[160.0, 160.0, 20.0, 20.0], [160.0, 160.0, 50.0, 50.0]]


@st.composite
def problems(draw: st.DrawFn, *, most_detections: int = 24, score: st.SearchStrategy[float] = SCORES) -> Problem:
    """Few images and categories, so that much happens in one cell."""
    image_ids = draw(st.lists(st.integers(0, 40), min_size=1, max_size=3, unique=True))
    category_ids = draw(st.lists(st.integers(0, 40), min_size=1, max_size=3, unique=True))
    images, categories = st.sampled_from(image_ids), st.sampled_from(category_ids)
    annotated = draw(
        st.lists(
            st.tuples(images, categories, BOXES, st.sampled_from([1.0, 0.5, 3.0]), st.sampled_from([0, 0, 0, 1])),
            max_size=10,
        )
    )
    # pycocotools cannot match id 0: in exact mode it is asked with other ids, in the authors' with these.
    first = draw(st.sampled_from([1, 1, 1, 0]))
    annotations = [
        {"id": first + n, "image_id": i, "category_id": c, "bbox": b, "area": share * b[2] * b[3], "iscrowd": crowd}
        for n, (i, c, b, share, crowd) in enumerate(annotated)
    ]
    # Half of the detections repeat an annotation, so that there is something to match.
    known = [(entry["image_id"], entry["category_id"], entry["bbox"]) for entry in annotations]
    repeated = st.sampled_from(known) if known else st.nothing()
    place = repeated | st.tuples(images, categories, BOXES | st.sampled_from(FAR_BOXES))
    found = draw(st.lists(st.tuples(place, score), max_size=most_detections))
    detections = [{"image_id": i, "category_id": c, "bbox": list(b), "score": s} for (i, c, b), s in found]
    truth = {
        "images": [{"id": image} for image in image_ids],
        "categories": [{"id": category, "name": f"c{category}"} for category in category_ids],
        "annotations": annotations,
    }
    return truth, detections


def judged(problem: Problem, **settings: Any) -> ScoreAwareTable:
    truth, detections = problem
    evaluator = ScoreAwareEvaluator(GroundTruth.from_coco(truth), **settings)
    evaluator.merge(DetectionColumns.from_coco(detections))
    return evaluator.compute()


def above(problem: Problem, threshold: float) -> Problem:
    truth, detections = problem
    return truth, [detection for detection in detections if detection["score"] > threshold]


@settings(max_examples=1500, deadline=None)
@given(problem=problems(), level=st.integers(0, 9))
def test_each_row_is_cocoeval_of_the_detections_above_its_threshold(
    cocoeval: Oracle, problem: Problem, level: int
) -> None:
    table = judged(problem)
    official = cocoeval(*above(problem, level / 10))
    assert table.values[1 + level].tolist() == official.stats.tolist()


@settings(max_examples=300, deadline=None)
@given(problem=problems(), level=st.integers(0, 9))
def test_the_curves_are_those_of_cocoeval(cocoeval: Oracle, problem: Problem, level: int) -> None:
    curves = judged(problem).curves(level)
    official = cocoeval(*above(problem, level / 10)).eval
    np.testing.assert_array_equal(curves.precision, official["precision"][..., -1])
    np.testing.assert_array_equal(curves.scores, official["scores"][..., -1])
    np.testing.assert_array_equal(curves.recall, official["recall"])


@settings(max_examples=300, deadline=None)
@given(problem=problems(most_detections=40), limits=st.sampled_from([(1, 2, 3), (2, 3, 5), (1, 4, 8)]))
def test_limits_cut_the_same_detections_as_in_cocoeval(
    cocoeval: Oracle, problem: Problem, limits: tuple[int, int, int]
) -> None:
    table = judged(problem, max_detections=limits)
    # pycocotools' own summary reads 100 detections; its arrays hold the limits asked for.
    official = cocoeval(*above(problem, 0.0), max_detections=(*limits, limits[-1] + 1)).eval
    curves = table.curves(0)
    np.testing.assert_array_equal(curves.recall, official["recall"][..., :3])
    np.testing.assert_array_equal(curves.precision, official["precision"][..., 2])


@settings(max_examples=200, deadline=None)
@given(problem=problems(most_detections=12), level=st.integers(0, 9))
def test_a_category_is_judged_as_if_it_were_the_only_one(cocoeval: Oracle, problem: Problem, level: int) -> None:
    table = judged(problem)
    truth, detections = above(problem, level / 10)
    for category in truth["categories"]:
        alone = truth | {
            "categories": [category],
            "annotations": [entry for entry in truth["annotations"] if entry["category_id"] == category["id"]],
        }
        own = [entry for entry in detections if entry["category_id"] == category["id"]]
        metrics = table.per_category()[category["name"]]
        found = [metrics[f"{column}_s{level}"] for column in table.columns]
        assert found == cocoeval(alone, own).stats.tolist()


@settings(max_examples=300, deadline=None)
@given(
    problem=problems(most_detections=12),
    level=st.integers(0, 9),
    iou=st.sampled_from([0.5, 0.75]),
    area=st.integers(0, 3),
)
def test_matches_are_those_of_cocoeval(cocoeval: Oracle, problem: Problem, level: int, iou: float, area: int) -> None:
    table = judged(problem)
    name = ("all", "small", "medium", "large")[area]
    matches = table.matches(level=level, iou_threshold=iou, area=name)
    truth, detections = above(problem, level / 10)
    assert [problem[1][row] for row in matches.rows] == detections

    official = cocoeval(truth, detections)
    t = official.params.iouThrs.tolist().index(iou)
    images = len(official.params.imgIds)
    per_cell = [
        cell
        for k in range(len(official.params.catIds))
        for cell in official.evalImgs[(4 * k + area) * images :][:images]
        if cell is not None
    ]
    shift = int(any(entry["id"] == 0 for entry in truth["annotations"]))
    outcome, annotation = {}, {}
    for cell in per_cell:
        for place, number in enumerate(cell["dtIds"]):
            matched = int(cell["dtMatches"][t, place])
            outcome[number] = 2 if cell["dtIgnore"][t, place] else int(matched > 0)
            annotation[number] = matched - shift if matched else 0
    assert matches.outcome.tolist() == [outcome[number] for number in sorted(outcome)]
    assert matches.annotation_ids.tolist() == [annotation[number] for number in sorted(outcome)]
    missed = {
        int(number) - shift
        for cell in per_cell
        for number, match, ignored in zip(cell["gtIds"], cell["gtMatches"][t], cell["gtIgnore"], strict=True)
        if not ignored and match == 0
    }
    assert matches.missed_annotation_ids.tolist() == sorted(missed)


@settings(max_examples=150, deadline=None)
@given(problem=problems(most_detections=16))
def test_the_authors_mode_is_the_published_loop(authors: Callable[..., np.ndarray[Any, Any]], problem: Problem) -> None:
    assert judged(problem, mode="authors").values[1:].tolist() == authors(*problem).tolist()


CAT = {
    "images": [{"id": 1}],
    "categories": [{"id": 1, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}],
}


@pytest.mark.parametrize(
    ("score", "exact", "published"),
    [
        # 0.3 is not above 0.3; the published threshold 3 lies one unit in the last place above 0.3.
        (0.3, 3, 3),
        # 0.2 is not above 0.2; it reaches 0.2.
        (0.2, 2, 3),
        # Written as 0.20, which reaches 0.2.
        (0.196, 2, 3),
        # Written as 0.60 and 0.70, which do not reach 0.6000000000000001 and 0.7000000000000001.
        (0.604, 7, 6),
        (0.704, 8, 7),
        # Written as 0.90.
        (0.904, 10, 10),
        # Nothing is above 0 here, but it reaches 0.
        (0.0, 0, 1),
        (0.004, 1, 1),
    ],
)
def test_a_perfect_box_counts_at_as_many_thresholds_as_its_mode_says(
    authors: Callable[..., np.ndarray[Any, Any]], score: float, exact: int, published: int
) -> None:
    problem = (CAT, [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "score": score}])
    # Precision is 1 / (1 + eps), so a perfect AP is a hair below 1.
    assert (judged(problem).values[1:, 0] > 0.99).tolist() == [True] * exact + [False] * (10 - exact)
    found = judged(problem, mode="authors").values[1:]
    assert (found[:, 0] > 0.99).tolist() == [True] * published + [False] * (10 - published)
    assert found.tolist() == authors(*problem).tolist()


def test_detections_scored_exactly_zero_fall_out(cocoeval: Oracle) -> None:
    problem = (CAT, [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.0}])
    assert cocoeval(*problem).stats[0] == pytest.approx(1.0)
    assert judged(problem).metrics()["ap_s0"] == 0.0
