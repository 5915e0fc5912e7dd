"""What a study's trials reserved, how much of it was spent in epochs, and the price of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from siod.cli.study_status import lines
from siod.reports.analysis.spending import spending
from siod.reports.build import build_report
from siod.tracking.records import StudyRecord, TrialRecord

Change = Callable[..., StudyRecord]
HOUR_MS = 3_600_000


def held(workers: int, cpus: float, gpus: float) -> dict[str, str]:
    return {
        "compute.workers": f"{workers}",
        "compute.cpus_per_worker": f"{cpus}",
        "compute.gpus_per_worker": f"{gpus}",
    }


def of(study: StudyRecord, *trials: tuple[dict[str, str], float, float]) -> StudyRecord:
    """A study whose trials reserved what is told for so many hours, of which they spent so many in two epochs."""
    made: list[TrialRecord] = []
    for model, (params, reserved, trained) in zip(study.trials, trials, strict=False):
        epochs = ((1, trained * 1200.0), (2, trained * 2400.0))  # a third and two thirds of it
        ended = round(reserved * HOUR_MS)
        cost = {"cost/epoch_seconds": epochs}
        made.append(replace(model, params=params, history=cost, started_ms=0, ended_ms=ended))
    return replace(study, trials=tuple(made))


def test_gpus_are_paid_where_there_are_some_with_the_cores_beside_them(study: StudyRecord) -> None:
    # 2 workers x 2 h and one x 1 h: 4 and 1 GPU-hours beside 4 x 4 and 8 x 1 core-hours; 2 of 3 h in epochs.
    found = spending(of(study, (held(2, 4, 1), 2.0, 1.5), (held(1, 8, 1), 1.0, 0.5)))
    assert found is not None
    assert (found.trials, found.left_out, found.gpu_hours, found.cpu_hours) == (2, 0, 5.0, 24.0)
    assert found.duty == pytest.approx(2 / 3)
    assert found.sentence(2.5) == (
        "Reserved by 2 trials that ended: 5.00 GPU-hours, 24.00 CPU-hours, price 12.50 at 2.50 per GPU-hour; "
        "67% of the reserved time was spent in epochs, pauses count as reserved."
    )
    assert "price" not in found.sentence(None)


def test_cores_are_paid_where_no_trial_reserved_a_gpu(study: StudyRecord) -> None:
    found = spending(of(study, (held(2, 4, 0), 2.0, 1.0)))
    assert found is not None
    assert "0.00 GPU-hours, 16.00 CPU-hours, price 0.64 at 0.04 per CPU-core-hour; 50% of" in found.sentence(0.04)


def test_what_runs_was_trained_elsewhere_or_is_not_told_is_left_out_and_counted(study: StudyRecord) -> None:
    kept, none = (held(1, 2, 0), 2.0, 1.0), {"compute.workers": "1"}
    found = of(study, kept, (held(1, 2, 0), 0.1, 1.0), (none, 1.0, 0.5), (held(1, 2, 0), 9.0, 0.5))
    running = replace(found.trials[3], ended_ms=None, status="running")
    told = spending(replace(found, trials=(*found.trials[:3], running)))
    assert told is not None
    assert (told.trials, told.left_out, told.cpu_hours, told.duty) == (1, 3, 4.0, 0.5)
    assert told.sentence(None).endswith(
        "; 3 trials are not counted (still running, trained for another study, or of unknown time)."
    )


def test_trials_that_failed_or_were_pruned_were_paid_for_too(study: StudyRecord) -> None:
    two = of(study, (held(1, 1, 0), 1.0, 0.5), (held(1, 1, 0), 3.0, 0.5))
    failed, pruned = replace(two.trials[0], status="failed"), replace(two.trials[1], status="pruned")
    found = spending(replace(two, trials=(failed, pruned)))
    assert found is not None
    assert (found.trials, found.cpu_hours, found.duty) == (2, 4.0, 0.25)


def test_records_that_hold_nothing_tell_nothing(study: StudyRecord) -> None:
    bare = tuple(replace(trial, params={}) for trial in study.trials)
    assert spending(replace(study, trials=bare)) is None


def test_without_values_by_epoch_the_last_epoch_stands_for_all(study: StudyRecord) -> None:
    one = of(study, (held(1, 1, 0), 1.0, 0.5))
    (trial,) = one.trials
    short = replace(trial, history={}, epoch=2, metrics={"cost/epoch_seconds": 900.0})
    found = spending(replace(one, trials=(short,)))
    assert found is not None
    assert found.duty == 0.5  # 2 x 900 s of an hour
    assert "; about 50% of the reserved time" in found.sentence(None)


def test_status_and_report_tell_it(study: StudyRecord, tmp_path: Path) -> None:
    one = of(study, (held(1, 2, 1), 2.0, 1.0))
    said = "Reserved by 1 trial that ended: 2.00 GPU-hours, 4.00 CPU-hours, price 5.00 at 2.50 per GPU-hour; 50% of"
    *_, told, count = lines(one, tmp_path, price=2.5)
    assert told.startswith(said)
    assert count == "1 of 15 finished"
    page = build_report(one, tmp_path / "report", price=2.5).page.read_text()
    assert said in page
