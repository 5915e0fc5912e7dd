"""Differences are paired by seed, tested exactly, corrected for the number of arms, and say what they cannot show."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from siod.reports.analysis.differences import differences, reading
from siod.tracking.records import StudyRecord

Change = Callable[..., StudyRecord]


def with_values(study: StudyRecord, change: Change, values: dict[str, tuple[float, ...]]) -> StudyRecord:
    study = replace(study, arms=tuple(arm for arm in study.arms if arm.name in values))
    for arm, row in values.items():
        for seed, value in enumerate(row):
            study = change(study, arm, seed, metrics={"ap_s": value})
    return study


def test_each_seed_is_compared_with_itself(study: StudyRecord, change: Change) -> None:
    # Between seeds the arms swing by 10 points; every seed gains 1, 2 and 3 points: mean 2, deviation 1.
    declared = with_values(study, change, {"base": (0.10, 0.20, 0.30), "dminer": (0.11, 0.22, 0.33)})
    (found,) = differences(declared)
    assert found.label == "SIOD (DMiner)"
    assert found.comparison.mean == pytest.approx(0.02)
    assert found.comparison.std == pytest.approx(0.01)
    # Exact p of three agreeing seeds is 2 / 2^3; one arm needs no correction.
    assert (found.comparison.p_sign_flip, found.p_holm) == (0.25, 0.25)
    # d = 2: 0.05 needs 6 seeds for the sign-flip test, and so many have the power.
    assert found.cells() == ("+2.0", "+1.0 to +3.0", "0.25", "0.25", "0.25", "2.0", "3", "6")


def test_p_is_corrected_for_the_number_of_arms(study: StudyRecord, change: Change) -> None:
    values = {"base": (0.1, 0.2, 0.3), "splg": (0.2, 0.3, 0.5), "dminer": (0.2, 0.4, 0.6)}
    found = differences(with_values(study, change, values))
    assert [one.comparison.p_sign_flip for one in found] == [0.25, 0.25]
    assert [one.p_holm for one in found] == [0.5, 0.5]


def test_only_seeds_that_both_arms_have_count(unfinished: StudyRecord) -> None:
    found = {one.label: one.comparison.n for one in differences(unfinished)}
    # base/1 failed, pgcl/2 runs, splg/2 was interrupted, DMiner has not started.
    assert found == {"FSOD": 2, "SIOD + SPLG": 1, "SIOD + PGCL": 1}


def test_a_value_that_is_no_number_is_left_out(study: StudyRecord, change: Change) -> None:
    declared = with_values(study, change, {"base": (0.1, 0.2, math.nan), "dminer": (0.2, 0.3, 0.4)})
    (found,) = differences(declared)
    assert found.comparison.n == 2


def test_three_seeds_are_told_what_they_cannot_show(study: StudyRecord) -> None:
    _, limit = reading(study, differences(study))
    # 2^-2 = 0.25 for three seeds, times four arms is 1; 2^(1 - n) < 0.05 / 4 first holds for n = 8.
    assert limit.startswith("3 seeds cannot go below p = 0.25, and after the correction not below 1:")
    assert "8 seeds can reach it" in limit


def test_one_seed_is_told_that_it_cannot_be_tested(study: StudyRecord) -> None:
    (only,) = {one.cells()[1:6] for one in differences(replace(study, seeds=(0,)))}
    assert only == ("",) * 5
    _, limit = reading(study, differences(replace(study, seeds=(0,))))
    assert limit.startswith("One seed cannot be tested")


def test_enough_seeds_can_be_significant(study: StudyRecord, change: Change) -> None:
    values = {"base": (0.1,) * 6, "dminer": (0.2, 0.21, 0.22, 0.2, 0.2, 0.2)}
    six = replace(study, seeds=tuple(range(6)))
    trials = tuple(replace(trial, seed=seed) for trial in study.trials if trial.seed == 0 for seed in range(6))
    (found,) = differences(with_values(replace(six, trials=trials), change, values))
    assert found.p_holm == 2 / 2**6
    assert found.significant()
    assert len(reading(six, (found,))) == 1


def test_a_study_of_one_arm_has_no_differences(study: StudyRecord) -> None:
    alone = replace(study, arms=study.arms[1:2])
    assert differences(alone) == ()
    assert reading(alone, ()) == ()
