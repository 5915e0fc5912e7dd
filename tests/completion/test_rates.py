"""Rates of false candidates: the equation worked by hand, what is pooled and refused, and what intervals hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from siod.completion.candidates import NEVER, Detected, Located
from siod.completion.rates import LEAST_ABSENT, LEAST_BOXES, Rates, estimate
from siod.state import State

States = np.ndarray[Any, np.dtype[np.int8]]


def candidates(image: list[int], label: list[int], scores: list[float]) -> Detected:
    boxes = np.zeros((len(image), 4))
    return Detected(np.array(image, dtype=np.int64), np.array(label, dtype=np.int64), boxes, np.array(scores))


def located(found: list[float], near: list[float], label: int = 0) -> Located:
    labels, none = np.full(len(found), label, dtype=np.int64), np.full(len(found), NEVER)
    return Located(np.zeros(len(found), dtype=np.int64), labels, np.array(found), np.array(near), labels, none)


def states(some: int, absent: int, categories: int = 1) -> States:
    """So many images that may have the categories, then so many that lack them."""
    rows = [[State.SOME] * categories] * some + [[State.ABSENT] * categories] * absent
    return np.array(rows, dtype=np.int8)


WELL = located([1.0] * 90, [NEVER] * 90)


def test_the_rate_of_a_score_is_the_sum_of_its_reasons() -> None:
    """100 images may have it, 200 lack it. Of 100 candidates 40 score 0.8, 60 score 0.4; of 19 decoys 3 score 0.8.

    d(0.8) = (3 + 1) / 200 * 100 / 40 = 0.05 and d(0.4) = (19 + 1) / 200 * 100 / 100 = 0.1. Of 10 annotated objects
    6 are found at 0.8; a seventh is nearly found there, and found at 0.4, where 2 others are nearly found.
    """
    found = candidates([*range(100), *range(100, 119)], [0] * 119, [0.8] * 40 + [0.4] * 60 + [0.8] * 3 + [0.4] * 16)
    objects = located([0.8] * 6 + [0.5] + [NEVER] * 3, [0.9] + [NEVER] * 5 + [0.8, 0.4, 0.5, NEVER])
    rates = estimate(found, objects, states(100, 200))
    assert rates.fdr[:40].tolist() == pytest.approx([0.05 + 0.95 / 7] * 40)
    assert rates.fdr[40:100].tolist() == pytest.approx([0.1 + 0.9 * 2 / 9] * 60)
    assert np.isnan(rates.fdr[100:]).all()
    assert (rates.low[:100] <= rates.fdr[:100]).all()
    assert (rates.high[:100] >= rates.fdr[:100]).all()


@pytest.mark.parametrize(
    ("third", "fdr", "plates_fdr"),
    # (0 + 1) / 200 * 100 = 0.5 by decoys. Empty images hold none of the 10; those with a grain as many.
    [(State.ABSENT, (10 + 0.5) / 100, 0.5 / 100), (State.SOME, 10 / 100, 0.5 / 100)],
    ids=["images without them are empty", "images without them show as much"],
)
def test_objects_of_another_category_are_false_where_no_image_without_them_tells(
    third: State, fdr: float, plates_fdr: float
) -> None:
    """No decoy in 200 images, but the best detection on 5 of 50 annotated plates is a cell; 100 plates are missing.

    The 5 stand for 5 * 100 / 50 = 10 missing plates among the 100 candidates for cells; all cells are well placed. The
    best detection on no annotated cell is a plate.
    """
    found = candidates([*range(100), *range(100)], [0] * 100 + [1] * 100, [0.8] * 100 + [0.9] * 100)
    image, cells, plates = np.arange(50), np.zeros(90, dtype=np.int64), np.ones(50, dtype=np.int64)
    objects = Located(
        np.concatenate([np.zeros(90, dtype=np.int64), image]),
        np.concatenate([cells, plates]),
        np.full(140, 1.0),
        np.full(140, NEVER),
        np.concatenate([cells, np.zeros(5, dtype=np.int64), plates[5:]]),
        np.full(140, 0.9),
    )
    known = np.full((300, 3), State.ABSENT, dtype=np.int8)
    known[:100, :2] = State.SOME
    known[100:, 2] = third
    rates = estimate(found, objects, known)
    assert rates.fdr[:100].tolist() == pytest.approx([fdr] * 100)
    assert rates.fdr[100:].tolist() == pytest.approx([plates_fdr] * 100)
    assert rates.low[0] < 0.1 < rates.high[0]


def test_a_higher_score_never_makes_a_box_more_doubtful() -> None:
    """All 25 decoys score high: 26 / 100 of the 60 best candidates, but 26 / 100 of all 120."""
    found = candidates([*range(120), *range(120, 145)], [0] * 145, [0.9] * 60 + [0.3] * 60 + [0.95] * 25)
    rates = estimate(found, WELL, states(120, 120))
    assert rates.fdr[:120].tolist() == pytest.approx([26 / 120] * 120)


def test_more_decoys_than_candidates_are_a_rate_of_one() -> None:
    found = candidates([*range(30), *range(40, 140)], [0] * 130, [0.5] * 130)
    assert estimate(found, WELL, states(40, 100)).fdr[0] == 1


def test_too_few_lacking_images_are_said_instead_of_a_number() -> None:
    found = candidates(list(range(50)), [0] * 50, [0.5] * 50)
    rates = estimate(found, WELL, states(50, LEAST_ABSENT - 1))
    assert np.isnan(rates.fdr).all()
    assert rates.reasons == ("only 19 images surely lack it, 20 are needed",)


def test_where_no_box_can_be_missing_that_is_said() -> None:
    assert estimate(candidates([], [], []), WELL, states(0, 50)).reasons == ("no image may lack a box of it",)


def test_too_few_candidates_are_said_instead_of_a_number() -> None:
    found = candidates(list(range(LEAST_BOXES - 1)), [0] * (LEAST_BOXES - 1), [0.5] * (LEAST_BOXES - 1))
    rates = estimate(found, WELL, states(100, 100))
    assert rates.reasons == ("fewer than 30 candidates of all rare categories together",)
    assert np.isnan(rates.fdr).all()


def test_rare_categories_have_one_rate_together() -> None:
    """Two categories with 20 candidates each: (0 + 1) / 100 * 100 / 40 for all of them."""
    image = [*range(20), *range(20)]
    found = candidates(image, [0] * 20 + [1] * 20, [0.5] * 40)
    rates = estimate(found, WELL, states(100, 100, categories=2))
    assert rates.pooled.tolist() == [True, True]
    assert rates.fdr.tolist() == pytest.approx([1 / 40] * 40)


def test_equal_seeds_draw_equal_intervals() -> None:
    found = candidates([*range(100), *range(100, 119)], [0] * 119, [0.5] * 119)
    first, again, other = (estimate(found, WELL, states(100, 200), seed=seed) for seed in (0, 0, 1))
    assert first.high[:100].tolist() == again.high[:100].tolist()
    assert first.high[:100].tolist() != other.high[:100].tolist()


def simulated(generator: np.random.Generator) -> tuple[Rates, float]:
    """A detector that finds two false boxes in a tenth of all images, and a twentieth of all objects badly placed."""
    some, absent, objects = 300, 500, 400
    known = states(some, absent)
    doubtful = np.flatnonzero(generator.random(some + absent) < 0.1).repeat(2)
    false = doubtful[doubtful < some]
    misplaced = generator.random(objects) < 0.05
    image = [*generator.integers(0, some, objects).tolist(), *doubtful.tolist()]
    found = candidates(image, [0] * len(image), [0.5] * len(image))
    seen = generator.random(600) < 0.05
    placed = located(np.where(seen, NEVER, 0.5).tolist(), np.where(seen, 0.5, NEVER).tolist())
    return estimate(found, placed, known), float((misplaced.sum() + len(false)) / (objects + len(false)))


def test_intervals_hold_what_they_say() -> None:
    """Of 200 simulated sets nine in ten are to lie inside: with 95% between 172 and 188."""
    generator = np.random.default_rng(0)
    inside = 0
    errors = []
    for _ in range(200):
        rates, truth = simulated(generator)
        row = int(np.flatnonzero(~np.isnan(rates.fdr))[0])
        inside += int(rates.low[row] <= truth <= rates.high[row])
        errors.append(rates.fdr[row] - truth)
    assert 172 <= inside <= 192
    # one is added to the decoys: (0 + 1) / 500 * 300 of 460 candidates
    assert np.mean(errors) == pytest.approx(0.0013, abs=0.004)
