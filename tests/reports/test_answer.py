from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from siod.reports.analysis.cost import costs
from siod.reports.analysis.differences import differences
from siod.reports.page import status_counts
from siod.reports.sentences.answer import answers
from siod.reports.sentences.caveats import caveats
from siod.tracking.records import ArmRecord, StudyRecord

Change = Callable[..., StudyRecord]


def with_values(study: StudyRecord, change: Change, values: dict[str, tuple[float, ...]]) -> StudyRecord:
    for arm, figures in values.items():
        for seed, figure in zip(study.seeds, figures, strict=True):
            study = change(study, arm, seed, metrics={"ap_s": figure})
    return study


def test_the_answer_is_computed_from_the_differences(study: StudyRecord, change: Change) -> None:
    # DMiner gains 3.0, 3.0, 3.3: mean 3.1, deviation 0.2 (0.173). 2 of 2^3 sign patterns: p = 0.25, for four arms 1.
    # Base to FSOD: from 11 to 21; DMiner is at 14.1.
    values = {"fsod": (0.20, 0.21, 0.22), "base": (0.10, 0.11, 0.12), "dminer": (0.13, 0.14, 0.153)}
    told = (
        "SIOD (DMiner) is ahead of SIOD (base) by 3.1 ± 0.2 AP@S over 3 seeds (p = 0.25, 1 after Holm's correction: "
        "not significant at 5%; so few seeds cannot show it), and closes 31% of the gap to FSOD."
    )
    values |= {"splg": (0.12, 0.12, 0.12), "pgcl": (0.11, 0.11, 0.11)}
    assert answers(with_values(study, change, values)) == (told,)


def test_the_gap_is_that_to_full_supervision_alone(study: StudyRecord, change: Change) -> None:
    values = {"fsod": (0.20, 0.21, 0.22), "base": (0.10, 0.11, 0.12), "dminer": (0.13, 0.14, 0.153)}
    study = with_values(study, change, values | dict.fromkeys(("splg", "pgcl"), (0.1, 0.1, 0.1)))
    sparse = tuple(
        replace(arm, changes={"annotations": {"policy": "saod"}}) if arm.name == "fsod" else arm for arm in study.arms
    )
    assert "of the gap to FSOD" in answers(study)[0]
    assert "of the gap" not in answers(replace(study, arms=sparse))[0]


def test_an_arm_that_does_better_with_other_annotations_is_named_beside_the_best(
    study: StudyRecord, change: Change
) -> None:
    """SPLG on a semi-supervised set is 2.0, 1.0 and 3.0 points ahead of DMiner: mean 2.0, deviation 1.0."""
    values = {"base": (0.10, 0.11, 0.12), "dminer": (0.13, 0.14, 0.15), "splg": (0.15, 0.15, 0.18)}
    study = with_values(study, change, values | dict.fromkeys(("fsod", "pgcl"), (0.1, 0.1, 0.1)))
    whole = replace(
        study,
        arms=tuple(
            replace(arm, changes=arm.changes | {"annotations": {"policy": "ssod"}}) if arm.name == "splg" else arm
            for arm in study.arms
        ),
    )
    ahead = ", and with other annotations SIOD + SPLG is ahead of SIOD (DMiner) by 2.0 ± 1.0 over 3 seeds."
    (answer,) = answers(whole)
    assert answer.startswith("SIOD (DMiner) is ahead of SIOD (base) by 3.0 ± 0.0 AP@S over 3 seeds")
    assert answer.endswith(ahead)
    behind = with_values(whole, change, {"splg": (0.12, 0.12, 0.12)})
    assert "other annotations" not in answers(behind)[0]


def test_a_difference_that_many_seeds_show_is_said_without_a_reservation(study: StudyRecord) -> None:
    seeds = tuple(range(8))
    few = replace(study, arms=tuple(arm for arm in study.arms if arm.name in {"base", "dminer"}), seeds=seeds)
    first = {trial.arm: trial for trial in study.trials}
    trials = [
        replace(first[arm], seed=seed, metrics={"ap_s": level + seed / 1000})
        for arm, level in (("base", 0.1), ("dminer", 0.2))
        for seed in seeds
    ]
    # 2 of 2^8 sign patterns.
    assert answers(replace(few, trials=tuple(trials))) == (
        "SIOD (DMiner) beats SIOD (base) by 10.0 ± 0.0 AP@S over 8 seeds (p = 0.00781).",
    )


def test_no_arm_ahead_is_an_answer_too(study: StudyRecord, change: Change) -> None:
    values = dict.fromkeys(("splg", "pgcl", "dminer"), (0.10, 0.10, 0.10)) | {"base": (0.11, 0.12, 0.13)}
    (answer,) = answers(with_values(study, change, values))
    assert answer.startswith("No arm beats SIOD (base): the closest, SIOD + SPLG, differs by \N{MINUS SIGN}2.0 ± 1.0")


def test_a_study_in_the_middle_has_no_answer_yet(study: StudyRecord) -> None:
    assert answers(replace(study, trials=())) == (
        "There is no answer yet: 0 of 15 trials are finished, and no arm shares a finished seed with SIOD (base).",
    )


def test_one_seed_is_not_tested(study: StudyRecord) -> None:
    (answer,) = answers(replace(study, seeds=(0,)))
    assert "over 1 seed (one seed cannot be tested)" in answer


def test_a_search_names_its_best_trials_and_tests_nothing(study: StudyRecord, change: Change) -> None:
    # Trial 1 of base is at 12 percent, trial 2 of DMiner at 15; its trial 0 was pruned.
    values = {"base": (0.10, 0.12, 0.11), "dminer": (0.13, 0.14, 0.15)}
    arms = tuple(arm for arm in study.arms if arm.name in values)
    found = replace(with_values(study, change, values), name="demo.search", arms=arms)
    found = change(found, "dminer", 0, status="pruned")
    assert answers(found) == (
        "SIOD (base): trial 1 is the best of 3 finished trials with 12.0 AP@S.",
        "SIOD (DMiner): trial 2 is the best of 2 finished trials with 15.0 AP@S.",
    )
    assert differences(found) == ()
    told = caveats(found)
    assert "Left out because pruned: dminer/0 (epoch 6)." in told
    assert any(note.startswith("The trials of a search differ in their settings") for note in told)
    assert status_counts(found)["pruned"] == 1


def test_every_group_has_its_answer(study: StudyRecord) -> None:
    arms = (
        ArmRecord("base", "SIOD (base)", group="A"),
        ArmRecord("dminer", "SIOD (DMiner)", group="A"),
        ArmRecord("splg", "SIOD (base)", group="B"),
        ArmRecord("pgcl", "SIOD (DMiner)", group="B"),
    )
    told = answers(replace(study, arms=arms, baselines={"B": "splg"}))
    assert [sentence.partition(":")[0] for sentence in told] == ["A", "B"]


def test_costs_are_medians_of_epochs_and_sums_of_hours(study: StudyRecord, change: Change) -> None:
    for seed in study.seeds:
        history = {"cost/epoch_seconds": ((1, 90.0), (2, 4.0), (3, 6.0)), "cost/peak_memory_mib": ((1, 100.0),)}
        study = change(study, "base", seed, history=history, started_ms=0, ended_ms=1_800_000)
    rows = {one.label: one for one in costs(study)}
    assert rows["SIOD (base)"].cells() == ("6.0 ± 0.0", "", "100 ± 0", "1.50")
    assert rows["SIOD (DMiner)"].slower == pytest.approx(5 / 6)


def test_trials_that_did_not_measure_their_cost_show_none(study: StudyRecord) -> None:
    bare = tuple(replace(trial, history={}, ended_ms=None) for trial in study.trials)
    assert costs(replace(study, trials=bare)) == ()


def test_where_no_arm_learnt_anything_that_is_said_before_arms_are_compared(study: StudyRecord, change: Change) -> None:
    for arm in study.arms:
        for seed in study.seeds:
            study = change(study, arm.name, seed, metrics={"ap_s": 0.001, "ap_s0": 0.004 if arm.name == "pgcl" else 0})
    first, second = answers(study)
    assert first == (
        "No arm learnt anything: the highest AP@S0 is 0.4 (SIOD + PGCL), so differences between arms are noise; look "
        "at losses and detections, then train longer, from pretrained weights, or at a larger size."
    )
    assert second.startswith("No arm beats SIOD (base)")
    assert caveats(study)[0] == first
    # Detections of any score are something: the rest is their scores.
    assert len(answers(change(study, "fsod", 0, metrics={"ap_s": 0.001, "ap_s0": 0.09}))) == 1


def test_primary_comparisons_are_answered_and_others_are_not_tested(study: StudyRecord, change: Change) -> None:
    """DMiner gains 3.1 on the baseline, which is not tested; SPLG gains 1.0 on PGCL, and PGCL -2.1 on DMiner."""
    values = {"fsod": (0.10, 0.11, 0.12), "base": (0.10, 0.11, 0.12), "dminer": (0.13, 0.14, 0.153)}
    values |= {"splg": (0.12, 0.13, 0.14), "pgcl": (0.11, 0.12, 0.13)}
    primary = (("splg", "pgcl"), ("pgcl", "dminer"))
    study = replace(with_values(study, change, values), primary=primary)
    p = "(p = 0.25, 0.5 after Holm's correction: not significant at 5%; so few seeds cannot show it)."
    untested = "(not a primary comparison, so not tested)."
    assert answers(study) == (
        f"SIOD (DMiner) is ahead of SIOD (base) by 3.1 ± 0.2 AP@S over 3 seeds {untested}",
        f"SIOD + SPLG is ahead of SIOD + PGCL by 1.0 ± 0.0 AP@S over 3 seeds {p}",
        f"SIOD + PGCL is behind SIOD (DMiner) by 2.1 ± 0.2 AP@S over 3 seeds {p}",
    )


def test_a_primary_comparison_that_is_the_answer_is_told_once(study: StudyRecord, change: Change) -> None:
    values = {"fsod": (0.10, 0.11, 0.12), "base": (0.10, 0.11, 0.12), "dminer": (0.13, 0.14, 0.153)}
    values |= {"splg": (0.12, 0.13, 0.14), "pgcl": (0.11, 0.12, 0.13)}
    study = replace(with_values(study, change, values), primary=(("dminer", "base"),))
    (told,) = answers(study)
    assert "over 3 seeds (p = 0.25: not significant at 5%; so few seeds cannot show it)" in told
