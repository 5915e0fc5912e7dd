"""What a study will cost, before it is started: estimated from earlier runs of the same shape.

Two runs have the same shape when a step of one costs what a step of the other costs: same data, detector,
batch, precision, evaluation, compute, miners and method; annotation set, seed, epochs, how often they are judged,
learning rate and the miners' settings do not count.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from siod.json_file import read_json
from siod.training.phases import total_epochs
from siod.training.placement import Placement
from siod.training.results import EPOCH_SECONDS, EXPERIMENT, HISTORY, PEAK_MEMORY_MIB, RESULT
from siod.tuning.showing.board import makespan
from siod.value import digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from siod.training.experiment import Experiment
    from siod.tuning.trials.trial import Job

SECONDS_PER_HOUR = 3600.0
JUDGED = "ap_s"
"""Is in the history of an epoch that ended in a judgement."""


@dataclass(frozen=True)
class Measured:
    """What runs of one shape cost.

    Args:
        runs: How many were measured.
        judged_seconds: Of an epoch at whose end the run was judged: mean over the runs of their means.
        plain_seconds: Likewise of an epoch without; that of a judged one where each epoch was judged.
        memory_mib: Greatest peak of one worker.
        disk_bytes: Mean size of their folders.
    """

    runs: int
    judged_seconds: float
    plain_seconds: float
    memory_mib: float
    disk_bytes: float

    def seconds(self, experiment: Experiment) -> float:
        """Expected seconds of a run of this shape, with any number of epochs and evaluations."""
        epochs, every = total_epochs(experiment), experiment.evaluation.every_epochs
        judged = -(-epochs // every)  # the last one is, whatever its number
        return judged * self.judged_seconds + (epochs - judged) * self.plain_seconds


@dataclass(frozen=True)
class Estimate:
    """What is left of a study and what it will take.

    Args:
        waiting: Names of the trials that have no result yet.
        unknown: Those among them whose shape was never measured; the figures below are without them.
        slots: How many run at once.
        wall_seconds: From the first start to the last end.
        cpu_hours: Reserved cores times hours.
        gpu_hours: Reserved GPUs times hours.
        memory_mib: Of the trials that run at once, at most.
        disk_bytes: What the new folders will hold.
    """

    waiting: tuple[str, ...]
    unknown: tuple[str, ...]
    slots: int
    wall_seconds: float
    cpu_hours: float
    gpu_hours: float
    memory_mib: float
    disk_bytes: float


def shape_of(experiment: Experiment) -> str:
    """Name the shape of a run: equal names cost the same per epoch.

    Args:
        experiment: The run, placed.

    Returns:
        16 hexadecimal digits.
    """
    return _shape(experiment.model_dump(mode="json"))


def _shape(settings: Mapping[str, Any]) -> str:
    recipe, dminer, method = settings["recipe"], settings["dminer"] or {}, settings.get("method") or {}
    miners = [name for name in ("splg", "pgcl", "reject") if dminer.get(name) is not None]
    parts = {name: settings[name] for name in ("data", "detector", "augmentation")}
    # How often a run is judged is known of what is planned; what a judgement takes is measured.
    judged = {name: setting for name, setting in settings["evaluation"].items() if name != "every_epochs"}
    compute = {name: settings["compute"][name] for name in ("carrier", "workers", "cpus_per_worker", "gpus_per_worker")}
    if settings["compute"]["loader_workers"]:  # unsaid at 0: earlier runs are found by their shape
        compute["loader_workers"] = settings["compute"]["loader_workers"]
    batch = {name: recipe[name] for name in ("batch_size", "precision")}
    parts |= {"evaluation": judged, "batch": batch, "miners": miners, "method": method.get("kind"), "compute": compute}
    return digest(parts)


def measure_runs(runs_dir: Path) -> dict[str, Measured]:
    """Read what finished runs cost.

    Args:
        runs_dir: Folder of runs.

    Returns:
        By shape; runs whose costs were not recorded are left out.
    """
    found: dict[str, list[_RunCost]] = {}
    for folder in sorted(path.parent for path in (runs_dir / "trials").glob(f"*/{RESULT}")):
        metrics = _run_cost(folder)
        if metrics is not None:
            found.setdefault(_shape(read_json(folder / EXPERIMENT)["experiment"]), []).append(metrics)
    return {shape: _summed_up(runs) for shape, runs in found.items()}


class _RunCost(NamedTuple):
    """Cost of one finished run: seconds of epochs with and without evaluation, memory and disk."""

    judged: list[float]
    plain: list[float]
    memory_mib: float
    disk_bytes: int


def _run_cost(folder: Path) -> _RunCost | None:
    history = read_json(folder / HISTORY)
    epochs = [metrics for metrics in history if EPOCH_SECONDS in metrics]
    peaks = [metrics[PEAK_MEMORY_MIB] for metrics in history if PEAK_MEMORY_MIB in metrics]
    judged = [metrics[EPOCH_SECONDS] for metrics in epochs if JUDGED in metrics]
    if not judged or not peaks:
        return None
    plain = [metrics[EPOCH_SECONDS] for metrics in epochs if JUDGED not in metrics]
    files = [file.stat() for file in folder.rglob("*") if file.is_file()]
    sizes = {(file.st_dev, file.st_ino): file.st_size for file in files}  # best.pt may be a second name
    return _RunCost(judged, plain, max(peaks), sum(sizes.values()))


def _summed_up(runs: Sequence[_RunCost]) -> Measured:
    judged = statistics.fmean(statistics.fmean(run.judged) for run in runs)
    plain = [statistics.fmean(run.plain) for run in runs if run.plain]
    return Measured(
        runs=len(runs),
        judged_seconds=judged,
        plain_seconds=statistics.fmean(plain) if plain else judged,
        memory_mib=max(run.memory_mib for run in runs),
        disk_bytes=statistics.fmean(run.disk_bytes for run in runs),
    )


def estimate(jobs: Sequence[Job], measured: Mapping[str, Measured], *, slots: int) -> Estimate:
    """Add up what the trials without a result will take.

    Args:
        jobs: All trials of the study, placed, in the order they start.
        measured: Of :func:`measure_runs`.
        slots: How many run at once, at least 1.

    Returns:
        Sums over the trials whose shape was measured.
    """
    waiting = [job for job in jobs if job.result() is None]
    shapes = {job.name: shape_of(job.experiment) for job in waiting}
    known = [job for job in waiting if shapes[job.name] in measured]
    costs = {job.name: measured[shapes[job.name]] for job in known}
    seconds = {job.name: costs[job.name].seconds(job.experiment) for job in known}
    placements = {job.name: Placement.of(job.experiment.compute) for job in known}
    hours = {job.name: seconds[job.name] / SECONDS_PER_HOUR * placements[job.name].workers for job in known}
    memory = sorted((costs[job.name].memory_mib * placements[job.name].workers for job in known), reverse=True)
    return Estimate(
        waiting=tuple(job.name for job in waiting),
        unknown=tuple(job.name for job in waiting if job.name not in costs),
        slots=slots,
        wall_seconds=makespan((), [seconds[job.name] for job in known], slots=slots),
        cpu_hours=sum(spent * placements[name].cpus for name, spent in hours.items()),
        gpu_hours=sum(spent * placements[name].gpus for name, spent in hours.items()),
        memory_mib=sum(memory[:slots]),
        disk_bytes=sum(cost.disk_bytes for cost in costs.values()),
    )
