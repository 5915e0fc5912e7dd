"""Train an experiment with the carrier that fits: the calling process, or Ray Train workers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from siod.errors import UserError
from siod.training import results, weights
from siod.training.checkpoint_files import CHECKPOINTS, CheckpointFiles
from siod.training.claim import claim
from siod.training.context import InProcess
from siod.training.devices import reserved_device
from siod.training.fitness import refuse_unfit
from siod.training.machine import this_machine
from siod.training.placement import Placement, placed
from siod.training.run_lock import locked
from siod.training.stopping import STOP_FILE, Stopped, request_stop, stop_requested

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from siod.data.source import PreparedData
    from siod.training.context import EpochListener
    from siod.training.experiment import Experiment

TEACHERS = "teachers"


def train(
    experiment: Experiment,
    data: PreparedData,
    run_dir: Path,
    *,
    cache_dir: Path,
    listener: EpochListener | None = None,
    teachers_dir: Path | None = None,
    wait: Callable[[], None] | None = None,
) -> dict[str, float]:
    """Train in a folder: start, continue from its last checkpoint, or return the result it already has.

    Args:
        experiment: What to learn and with which carrier; what its ``compute`` leaves open this machine decides.
        data: Its prepared files.
        run_dir: Folder of the run; on several nodes it must be on storage they share.
        cache_dir: Where pretrained weights are kept.
        listener: Called on rank 0 after each epoch; picklable when the carrier is Ray Train.
        teachers_dir: Where a teacher that the method needs is found or trained, by its identity; ``teachers`` in
            ``cache_dir`` if None.
        wait: Called every second while another process trains in the folder; without it that is refused at once.

    Returns:
        The final metrics (``siod.training.results.summary``).

    Raises:
        UserError: The folder belongs to another experiment or is in use, weights are missing, or the experiment cannot
            learn from these images.
        RunError: The run failed or was stopped, or who holds the folder gives no sign of life.
    """
    finished = results.read_result(run_dir)
    if finished is not None:
        claim(run_dir, experiment, data)
        return finished
    refuse_unfit(experiment, data)
    experiment = placed(experiment, (this_machine(),))
    run_dir.mkdir(parents=True, exist_ok=True)
    with locked(run_dir, wait):
        claim(run_dir, experiment, data)
        finished = results.read_result(run_dir)
        if finished is not None:  # by the process that was waited for
            return finished
        (run_dir / STOP_FILE).unlink(missing_ok=True)
        initial = weights.ensure(experiment, cache_dir)
        teacher = ensure_teacher(
            experiment, data, cache_dir, run_dir=run_dir, teachers_dir=teachers_dir or cache_dir / TEACHERS
        )
        _run_carrier(experiment, data, run_dir, initial=initial, teacher=teacher, listener=listener)
    result = results.wait_for_result(run_dir, give_up=lambda: stop_requested(run_dir))
    if result is None and stop_requested(run_dir):
        raise Stopped(f"{run_dir}: stopped as requested; run again to continue")
    if result is None:
        raise UserError(f"{run_dir}: the workers left no result here; put the run folder on storage all nodes share")
    return result


def _run_carrier(
    experiment: Experiment,
    data: PreparedData,
    run_dir: Path,
    *,
    initial: Path | None,
    teacher: Path | None,
    listener: EpochListener | None,
) -> None:
    """Train in the calling process or on Ray Train workers, as the experiment says."""
    if experiment.compute.in_process():
        from siod.training.work import run_worker  # noqa: PLC0415  (where others train, they load it)

        placement = Placement.of(experiment.compute)
        device = reserved_device(placement)
        context = InProcess(run_dir, listener, device, loader_workers=placement.loader_workers)
        run_worker(experiment, data, context, initial, teacher)
    else:
        from siod.training.worker import fit  # noqa: PLC0415  (Ray Train only where it is needed)

        fit(experiment, data, run_dir, initial_weights=initial, teacher=teacher, listener=listener)


def ensure_teacher(
    experiment: Experiment, data: PreparedData, cache_dir: Path, *, run_dir: Path, teachers_dir: Path
) -> Path | None:
    """Train the teacher that a method needs before its own run can start, and before it the teachers it needs itself.

    Once per seed, for all methods that ask. One of several processes that ask at once trains it, from its last
    checkpoint if it was interrupted; the others wait.

    Args:
        experiment: Its ``method`` says whether there is one.
        data: Its prepared files.
        cache_dir: Where pretrained weights are kept.
        run_dir: Of the run that asks; a stop that is requested there stops the teacher's training or the waiting too.
        teachers_dir: Teachers are kept here as finished runs, by identity. In the folder of a study's trials a trial
            that is the same experiment is the teacher.

    Returns:
        The teacher's checkpoint after its last epoch, or None when the method needs none.

    Raises:
        Stopped: A stop was requested; the teacher continues when asked for again.
    """
    teachers = experiment.teachers()
    if not teachers:
        return None

    def wait() -> None:
        if stop_requested(run_dir):
            raise Stopped(f"{run_dir}: stopped as requested; run again to continue")

    folder = run_dir
    for teacher in _still_needed(teachers, teachers_dir, data.fingerprint):
        folder = teachers_dir / teacher.identity(data.fingerprint)
        listener = partial(_pass_on_stop, run_dir, folder)
        train(teacher, data, folder, cache_dir=cache_dir, listener=listener, teachers_dir=teachers_dir, wait=wait)
    latest = CheckpointFiles(folder / CHECKPOINTS).latest()
    if latest is None:
        raise UserError(f"{folder}: holds a result but no checkpoint; delete the folder to train the teacher again")
    return latest


def _still_needed(teachers: Sequence[Experiment], teachers_dir: Path, fingerprint: str) -> Iterator[Experiment]:
    """Teachers in the order in which they train; one that has a result comes first, and its own teachers are left."""
    needed = []
    for teacher in teachers:
        needed.append(teacher)
        if results.read_result(teachers_dir / teacher.identity(fingerprint)) is not None:
            break
    return reversed(needed)


def _pass_on_stop(asked: Path, training: Path, epoch: int, metrics: Mapping[str, float]) -> None:
    """Epoch listener of a teacher's run: stops it when the run that needs it should stop."""
    del epoch, metrics
    if stop_requested(asked):
        request_stop(training)
