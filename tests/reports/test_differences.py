"""Differences are paired by seed, tested exactly, corrected for the number of arms, and say what they cannot show."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from siod.reports.analysis.differences import differences, reading, to_baseline
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


def with_seeds(study: StudyRecord, seeds: int) -> StudyRecord:
    """The same arms, each trained with so many seeds."""
    trials = (replace(trial, seed=seed) for trial in study.trials if trial.seed == 0 for seed in range(seeds))
    return replace(study, seeds=tuple(range(seeds)), trials=tuple(trials))


PRIMARY = (("dminer", "base"), ("dminer", "splg"))
VALUES = {
    "fsod": (0.4,) * 7,
    "base": (0.1,) * 7,
    "splg": (0.15, 0.16, 0.15, 0.16, 0.15, 0.16, 0.15),
    "dminer": (0.2, 0.21, 0.22, 0.2, 0.2, 0.2, 0.2),
}


def test_primary_comparisons_alone_are_tested_and_the_others_described(study: StudyRecord, change: Change) -> None:
    """Seven agreeing seeds: p 2 / 2^7, times two comparisons; the two others would have made it four."""
    declared = replace(with_values(with_seeds(study, 7), change, VALUES), primary=PRIMARY)
    found = differences(declared)
    assert [(one.arm, one.over, one.tested) for one in found] == [
        ("dminer", "base", True),
        ("dminer", "splg", True),
        ("fsod", "base", False),
        ("splg", "base", False),
    ]
    assert [one.p for one in found] == [2 / 2**7, 2 / 2**7, None, None]
    assert [one.p_holm for one in found] == [2 * 2 / 2**7, 2 * 2 / 2**7, None, None]
    assert [one.significant() for one in found] == [True, True, False, False]
    assert [one.label for one in found] == [
        "SIOD (DMiner) over SIOD (base)",
        "SIOD (DMiner) over SIOD + SPLG",
        "FSOD over SIOD (base)",
        "SIOD + SPLG over SIOD (base)",
    ]
    # Points and interval are there, the three p are not.
    assert found[2].cells() == ("+30.0", "+30.0 to +30.0", "", "", "", "∞", "7", "6")
    assert found[0].cells()[2:5] == ("0.0156", "0.0312", "0.0156")
    assert to_baseline(declared) == {"dminer": found[0], "fsod": found[2], "splg": found[3]}


def test_the_report_says_which_comparisons_are_tested(study: StudyRecord, change: Change) -> None:
    declared = replace(with_values(with_seeds(study, 7), change, VALUES), primary=PRIMARY)
    (told,) = reading(declared, differences(declared))
    assert told.startswith(
        "Differences in AP@S, paired by seed; only the 2 comparisons named beforehand (SIOD (DMiner) over SIOD (base), "
        "SIOD (DMiner) over SIOD + SPLG) are tested, p of the exact two-sided sign-flip test, corrected over these 2 "
        "after Holm; the other 2 are described and not tested, without p or stars; bootstrap interval of the mean;"
    )
    one = replace(declared, primary=PRIMARY[:1])
    (told,) = reading(one, differences(one))
    assert "only the comparison named beforehand (SIOD (DMiner) over SIOD (base)) is tested, p of the exact" in told
    assert "Holm" not in told


def test_a_primary_comparison_that_has_no_trials_yet_counts_in_the_correction(
    study: StudyRecord, change: Change
) -> None:
    """It was named beforehand, so what is finished is corrected over both all the same."""
    values = {name: row for name, row in VALUES.items() if name != "splg"}
    begun = with_values(with_seeds(study, 7), change, values)
    splg = next(arm for arm in study.arms if arm.name == "splg")
    begun = replace(begun, arms=(*begun.arms, splg), primary=PRIMARY)
    begun = replace(begun, trials=tuple(trial for trial in begun.trials if trial.arm != "splg"))
    found = differences(begun)
    assert [(one.over, one.p_holm) for one in found if one.tested] == [("base", 2 * 2 / 2**7)]


def test_six_seeds_are_told_that_they_cannot_show_two_primary_comparisons(study: StudyRecord, change: Change) -> None:
    """2 * 2 / 2^6 = 0.0625, and 2 * 2 / 2^7 = 0.031."""
    six = {name: row[:6] for name, row in VALUES.items()}
    declared = replace(with_values(with_seeds(study, 6), change, six), primary=PRIMARY)
    _, limit = reading(declared, differences(declared))
    assert limit == (
        "6 seeds cannot go below p = 0.0312, and after the correction not below 0.0625: no difference can be "
        "significant at 5% here; 7 seeds can reach it."
    )
