"""What arms reach in the same training time, the time of teachers included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from siod.reports.analysis.aggregate import Spread
from siod.reports.analysis.equal_cost import equal_cost
from siod.tracking.records import StudyRecord, TrialRecord

Change = Callable[..., StudyRecord]


def course(epoch_seconds: float, *values: float) -> dict[str, tuple[tuple[int, float], ...]]:
    """Epochs of one length, all judged."""
    return {
        "cost/epoch_seconds": tuple((epoch, epoch_seconds) for epoch in range(1, len(values) + 1)),
        "ap_s": tuple(enumerate(values, start=1)),
    }


@pytest.fixture
def pair(study: StudyRecord, change: Change) -> StudyRecord:
    """A base of 10 s an epoch and a DMiner of 15 s, with two seeds."""
    study = replace(study, seeds=(0, 1), arms=tuple(arm for arm in study.arms if arm.name in {"base", "dminer"}))
    for seed in study.seeds:
        study = change(study, "base", seed, history=course(10.0, 0.1, 0.2, 0.3 + 0.02 * seed))
        study = change(study, "dminer", seed, history=course(15.0, 0.2, 0.28 + 0.04 * seed, 0.4))
    return study


def test_arms_are_compared_at_the_training_time_of_each(pair: StudyRecord) -> None:
    table = equal_cost(pair)
    assert table is not None
    assert table.budgets == (30.0, 45.0)
    assert table.target == pytest.approx(0.31)
    base, dminer = table.rows
    assert (base.seconds, dminer.seconds) == (Spread(30.0, 0.0, 2), Spread(45.0, 0.0, 2))
    assert [spread and round(spread.mean, 3) for spread in base.reached] == [0.31, 0.31]
    assert [spread and round(spread.mean, 3) for spread in dminer.reached] == [0.3, 0.4]  # after two epochs, and three
    # The base reaches its own mean with seed 1 alone; DMiner after 45 s and, with seed 1, after 30 s.
    assert base.to_target == Spread(30.0, None, 1)
    assert dminer.to_target is not None
    assert dminer.to_target.mean == 37.5
    assert table.headings("AP@S") == ("seconds of training", "AP@S after 30 s", "AP@S after 45 s", "seconds to 31.0")
    assert base.cells() == ("30 ± 0", "31.0 ± 1.4", "31.0 ± 1.4", "30 (1 of 2)")


def test_a_student_pays_for_its_teachers(pair: StudyRecord, change: Change) -> None:
    teacher = replace(one_of(pair, "dminer", 0), arm="teacher:x", identity="t", seed=0)
    first = replace(teacher, identity="t0", history=course(5.0, 0.1, 0.1))
    taught = change(replace(pair, trials=(*pair.trials, replace(teacher, tags={"teacher": "t0"}), first)), "dminer", 0,
                    tags={"teacher": "t"})  # fmt: skip
    table = equal_cost(taught)
    assert table is not None
    # Seed 0: 45 s of its own, 45 s of its teacher, 10 s of the teacher's teacher; seed 1 has none.
    assert table.rows[1].seconds.mean == (100.0 + 45.0) / 2


@pytest.mark.parametrize("tags", [{"teacher": "unknown"}, {"teacher": "dminer-0"}])
def test_a_trial_whose_teacher_is_not_known_is_left_out_and_not_counted_as_free(
    tags: dict[str, str], pair: StudyRecord, change: Change
) -> None:
    table = equal_cost(change(pair, "dminer", 0, tags=tags))
    assert table is not None
    assert table.rows[1].trials == 1


def test_arms_of_like_cost_and_unknown_times_have_no_table(pair: StudyRecord, change: Change) -> None:
    assert equal_cost(change(pair, "dminer", 0, history={"ap_s": ((1, 0.3),)})) is not None
    alike = pair
    for seed in pair.seeds:
        alike = change(alike, "dminer", seed, history=course(11.0, 0.2, 0.3, 0.4))
    assert equal_cost(alike) is None
    for seed in pair.seeds:
        gap = {"cost/epoch_seconds": ((2, 9.0), (3, 9.0)), "ap_s": ((3, 0.4),)}
        pair = change(pair, "dminer", seed, history=gap)
    assert equal_cost(pair) is None


def one_of(study: StudyRecord, arm: str, seed: int) -> TrialRecord:
    return next(trial for trial in study.trials if (trial.arm, trial.seed) == (arm, seed))
