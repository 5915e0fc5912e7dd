"""What a study's trials reserved, how much of it they trained, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from siod.price import priced
from siod.reports.analysis.cost import EPOCH_SECONDS, HOUR_MS

if TYPE_CHECKING:
    from siod.tracking.records import StudyRecord, TrialRecord

MS_PER_SECOND = 1000.0
HELD = ("compute.workers", "compute.cpus_per_worker", "compute.gpus_per_worker")


@dataclass(frozen=True)
class Spending:
    """What the trials of a study that ended reserved from first start to end, pauses included.

    Args:
        trials: How many are counted, whatever became of them, teachers included.
        left_out: How many are not: they run, or the records do not hold their times and what they reserved, or hold
            less time than their epochs took, because they were trained for another study.
        gpu_hours: Reserved GPUs times hours.
        cpu_hours: Reserved cores times hours.
        duty: Share of the reserved time that was spent in epochs, judging included.
        estimated: Whether the last epoch of a trial stands for all of them.
    """

    trials: int
    left_out: int
    gpu_hours: float
    cpu_hours: float
    duty: float
    estimated: bool = False

    def sentence(self, price: float | None) -> str:
        """The same in words.

        Args:
            price: Of a GPU-hour, or of a core-hour where no trial reserved a GPU; None leaves money out.
        """
        trials = f"{self.trials} trial{'s' * (self.trials != 1)} that ended"
        said = f"Reserved by {trials}: {self.gpu_hours:.2f} GPU-hours, {self.cpu_hours:.2f} CPU-hours"
        if price is not None:
            said += f", {priced(price, gpu_hours=self.gpu_hours, cpu_hours=self.cpu_hours)}"
        about = "about " if self.estimated else ""
        said += f"; {about}{100 * self.duty:.0f}% of the reserved time was spent in epochs, pauses count as reserved"
        if self.left_out:
            are = "1 trial is" if self.left_out == 1 else f"{self.left_out} trials are"
            said += f"; {are} not counted (still running, trained for another study, or of unknown time)"
        return f"{said}."


def spending(study: StudyRecord) -> Spending | None:
    """Add up what a study's trials reserved; None where the records do not hold it of any.

    Args:
        study: With values by epoch; without, a trial's last epoch stands for all of them.
    """
    gpu_hours = cpu_hours = hours = trained = 0.0
    counted, estimated = 0, False
    for trial in study.trials:
        reserved, in_epochs, held = _reserved_hours(trial), _epoch_hours(trial), _held(trial)
        if reserved is None or held is None or in_epochs > reserved:
            continue
        counted, estimated = counted + 1, estimated or EPOCH_SECONDS not in trial.history
        hours, trained = hours + reserved, trained + in_epochs
        cpu_hours, gpu_hours = cpu_hours + held[0] * reserved, gpu_hours + held[1] * reserved
    if not hours:
        return None
    return Spending(counted, len(study.trials) - counted, gpu_hours, cpu_hours, trained / hours, estimated)


def _reserved_hours(trial: TrialRecord) -> float | None:
    if trial.started_ms is None or trial.ended_ms is None:
        return None
    return (trial.ended_ms - trial.started_ms) / HOUR_MS


def _epoch_hours(trial: TrialRecord) -> float:
    """Hours of its epochs; 0 where none was measured."""
    points = trial.history.get(EPOCH_SECONDS, ())
    seconds = sum(value for _, value in points) if points else trial.epoch * trial.metrics.get(EPOCH_SECONDS, 0.0)
    return seconds * MS_PER_SECOND / HOUR_MS


def _held(trial: TrialRecord) -> tuple[float, float] | None:
    """Cores and GPUs of all its workers together; None where that is not recorded."""
    try:
        workers, cpus, gpus = (float(trial.params[name]) for name in HELD)
    except (KeyError, ValueError):
        return None
    return workers * cpus, workers * gpus
