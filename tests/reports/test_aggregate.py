from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siod.reports.analysis.aggregate import Spread, aggregate, curve
from siod.reports.sentences.caveats import caveats
from siod.reports.tables.table import tabulate
from siod.tracking.records import ArmRecord, StudyRecord, TrialRecord

Change = Callable[..., StudyRecord]
fractions = st.lists(st.floats(0, 1), min_size=1, max_size=6)


def trial(arm: str, seed: int, ap_s: float, status: str = "finished") -> TrialRecord:
    return TrialRecord(
        run_id=f"{arm}{seed}",
        study="s",
        arm=arm,
        seed=seed,
        identity=f"{arm}{seed}",
        status=status,  # type: ignore[arg-type]  (the callers' literals)
        metrics={"ap_s": ap_s},
    )


def study(*trials: TrialRecord) -> StudyRecord:
    return StudyRecord(
        name="s",
        question="q",
        arms=(ArmRecord("base", "Base"), ArmRecord("dminer", "DMiner")),
        baseline="base",
        columns=("ap_s",),
        seeds=(0, 1, 2),
        run_id="r",
        status="finished",
        trials=trials,
    )


def test_an_arm_is_the_mean_and_sample_deviation_of_its_seeds() -> None:
    # 0.10, 0.12, 0.17: mean 0.39 / 3 = 0.13; deviations -0.03, -0.01, 0.04; squares 0.0026; / 2 = 0.0013.
    base, _ = aggregate(study(trial("base", 0, 0.10), trial("base", 1, 0.12), trial("base", 2, 0.17)))
    cell = base.cells["ap_s"]
    assert cell is not None
    assert cell.n == 3
    assert cell.mean == pytest.approx(0.13)
    assert cell.std == pytest.approx(math.sqrt(0.0013))


def test_the_gain_is_the_difference_of_the_means() -> None:
    # 0.30 - (0.10 + 0.20) / 2 = 0.15
    base, dminer = aggregate(study(trial("base", 0, 0.1), trial("base", 1, 0.2), trial("dminer", 0, 0.3)))
    assert base.gains["ap_s"] is None
    assert dminer.gains["ap_s"] == pytest.approx(0.15)


@pytest.mark.parametrize("status", ["failed", "running", "interrupted"])
def test_a_trial_without_a_result_is_left_out_and_never_zero(status: str) -> None:
    base, _ = aggregate(study(trial("base", 0, 0.1), trial("base", 1, 0.0, status)))
    assert base.cells["ap_s"] == Spread(0.1, None, 1)
    assert len(base.trials) == 2
    assert len(base.finished()) == 1


def test_without_a_baseline_there_is_no_gain() -> None:
    base, dminer = aggregate(study(trial("base", 0, 0.0, "failed"), trial("dminer", 0, 0.3)))
    assert base.cells["ap_s"] is None
    assert dminer.gains["ap_s"] is None


def test_a_seed_that_is_no_longer_declared_does_not_count() -> None:
    base, _ = aggregate(study(trial("base", 0, 0.1), trial("base", 9, 0.9)))
    assert base.cells["ap_s"] == Spread(0.1, None, 1)


@given(fractions)
def test_a_spread_lies_among_its_values_whatever_their_order(values: list[float]) -> None:
    spread = Spread.of(values)
    assert spread is not None
    assert min(values) - 1e-12 <= spread.mean <= max(values) + 1e-12
    assert spread == Spread.of(reversed(values))


@given(fractions)
def test_values_that_are_no_numbers_change_nothing(values: list[float]) -> None:
    assert Spread.of([*values, math.nan, math.inf]) == Spread.of(values)


def test_a_curve_counts_the_trials_that_reached_an_epoch() -> None:
    long = replace(trial("base", 0, 0.0), history={"ap_s": ((1, 0.1), (2, 0.2))})
    short = replace(trial("base", 1, 0.0), history={"ap_s": ((1, 0.3),)})
    told = curve((long, short), "ap_s")
    assert list(told) == [1, 2]
    assert told[1].mean == pytest.approx(0.2)
    assert told[1].n == 2
    assert told[2] == Spread(0.2, None, 1)


def test_every_arm_of_a_study_in_the_middle_has_a_row(unfinished: StudyRecord) -> None:
    rows = aggregate(unfinished)
    assert [row.arm.name for row in rows] == ["fsod", "base", "splg", "pgcl", "dminer"]
    assert [len(row.finished()) for row in rows] == [3, 2, 2, 2, 0]


def test_an_arm_that_was_declared_with_fewer_seeds_lacks_none() -> None:
    made = study(trial("base", 0, 0.1), trial("base", 1, 0.2), trial("dminer", 0, 0.3), trial("dminer", 1, 0.5))
    few = replace(made, seeds=(0, 1), arms=(ArmRecord("base", "Base"), ArmRecord("dminer", "DMiner", seeds=1)))
    assert few.declared() == (("base", 0), ("dminer", 0), ("base", 1))
    assert [line.seeds for line in tabulate(few).lines] == ["2", "1"]
    notes = caveats(few)
    assert not any("have not started" in note for note in notes)
    assert "Left out because the study no longer declares them: dminer/1." in notes
