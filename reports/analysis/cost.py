"""What the arms cost: time of an epoch, memory, and time in all."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from siod.reports.analysis.aggregate import Spread, of_status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.tracking.records import StudyRecord, TrialRecord

EPOCH_SECONDS, PEAK_MIB = "cost/epoch_seconds", "cost/peak_memory_mib"
HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Cost:
    """What one arm's finished trials took.

    Args:
        label: Of the arm.
        epoch_seconds: Median epoch of each trial, over trials.
        peak_mib: Largest memory of each trial, over trials, in MiB.
        hours: From first start to end of all trials together, pauses included.
        slower: Time of an epoch by that of the baseline; None where one is unknown and on the baseline.
    """

    label: str
    epoch_seconds: Spread | None
    peak_mib: Spread | None
    hours: float | None
    slower: float | None

    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of ``HEADINGS``; empty where nothing was recorded."""
        return (
            _text(self.epoch_seconds),
            "" if self.slower is None else f"{self.slower:.2f}",
            _text(self.peak_mib),
            "" if self.hours is None else f"{self.hours:.2f}",
        )


HEADINGS = ("seconds per epoch", "times the baseline", "peak memory (MiB)", "hours in all")


def costs(study: StudyRecord) -> tuple[Cost, ...]:
    """Add up what each arm's finished trials cost.

    Args:
        study: Trials of versions that did not measure it count for the time in all only.

    Returns:
        In the declared order; nothing when no finished trial says anything.
    """
    finished = {arm.name: of_status(study.trials_of(arm.name), "finished") for arm in study.arms}
    epochs = {name: _over(trials, EPOCH_SECONDS) for name, trials in finished.items()}
    rows = []
    for arm in study.arms:
        own, reference = epochs[arm.name], epochs[study.baseline_of(arm.group)]
        known = own is not None and reference is not None and arm.name != study.baseline_of(arm.group)
        slower = own.mean / reference.mean if known and own and reference and reference.mean > 0 else None
        rows.append(Cost(arm.title, own, _over(finished[arm.name], PEAK_MIB), _hours(finished[arm.name]), slower))
    return tuple(rows) if any(any(row.cells()) for row in rows) else ()


def _over(trials: Sequence[TrialRecord], metric: str) -> Spread | None:
    """One value a trial: the median of its epochs, so that a first epoch that compiles does not count."""
    values = [[value for _, value in trial.history.get(metric, ())] for trial in trials]
    return Spread.of(statistics.median(each) for each in values if each)


def _hours(trials: Sequence[TrialRecord]) -> float | None:
    durations = [
        one.ended_ms - one.started_ms for one in trials if one.started_ms is not None and one.ended_ms is not None
    ]
    return sum(durations) / HOUR_MS if durations else None


def _text(spread: Spread | None) -> str:
    if spread is None:
        return ""
    digits = 1 if spread.mean < 100 else 0  # noqa: PLR2004  (three digits are enough)
    return f"{spread.mean:.{digits}f}" + ("" if spread.std is None else f" ± {spread.std:.{digits}f}")
