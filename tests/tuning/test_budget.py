"""What does not fit into a budget is given up in order; seconds are made up so that sums can be checked."""

from __future__ import annotations

import pytest

from siod.errors import UserError
from siod.tuning.fitting.budget import Pace, study_seconds, within
from siod.tuning.fitting.recipe import Fit, fit
from tests.tuning.test_fitting import data

PROFILE = data([30], train=200)
WANTED = fit(PROFILE, gpu=False)
# At that size an image takes 0.05 s, one with miners 0.1 s, to judge one 0.02 s.
PACE = Pace(WANTED.pixels, {"base": 0.05, "dminer": 0.1}, judge_seconds=0.02, prepare_seconds=0.1, slots=2)


def fitted(minutes: float) -> Fit:
    return within(WANTED, PROFILE, PACE, 60 * minutes, gpu=False)


def test_the_time_of_a_study_is_that_of_its_trials_side_by_side() -> None:
    assert (WANTED.epochs, WANTED.every_epochs, WANTED.seeds) == (40, 5, 3)
    # A trial takes 5 + 40 x 200 x 0.05 + 8 x 50 x 0.02 = 413 s, one with miners 813. Three of each on two slots: the
    # first slot has 413, 413, 413, 813 and ends last.
    assert study_seconds(WANTED, PROFILE, PACE) == 30 + 250 * 0.1 + 413 + 413 + 413 + 813


def test_what_fits_is_left_alone() -> None:
    assert fitted(60) is WANTED


@pytest.mark.parametrize(
    ("minutes", "seeds", "least_epochs", "pixels"),
    [(40, 3, 20, 1.0), (18, 2, 20, 1.0), (10, 1, 20, 1.0), (6, 1, 10, 1.0)],
)
def test_epochs_go_first_then_seeds(minutes: float, seeds: int, least_epochs: int, pixels: float) -> None:
    found = fitted(minutes)
    assert (found.seeds, found.pixels / WANTED.pixels) == (seeds, pixels)
    assert least_epochs <= found.epochs < 40
    assert study_seconds(found, PROFILE, PACE) <= 60 * minutes * 0.85
    assert found.why["epochs"].endswith("what the budget leaves of 40")


def test_the_input_becomes_smaller_when_a_quarter_of_the_epochs_does_not_fit() -> None:
    found = fitted(4)
    side = max(found.input_size)
    assert (found.seeds, side < 256) == (1, True)
    assert found.epochs >= 10
    assert found.remarks == (
        (
            f"4:00 is not enough for all: {found.epochs} epochs instead of 40, inputs of {side} px instead of 256, "
            "1 seed instead of 3"
        ),
        f"of inputs of {side} px 100% of the boxes are below 12 px on their shorter side then",
    )


def test_as_many_epochs_as_are_left_is_the_last_resort() -> None:
    found = fitted(2)
    assert (max(found.input_size), found.seeds) == (160, 1)
    assert 1 <= found.epochs < 10


def test_not_even_an_epoch_is_refused_with_what_it_takes() -> None:
    with pytest.raises(UserError, match=r"--budget 0:30: one epoch of each arm at 160 px takes about 1:\d\d on"):
        fitted(0.5)


def test_fewer_epochs_are_judged_as_often_as_before() -> None:
    found = fitted(40)
    assert -(-found.epochs // found.every_epochs) <= 8
