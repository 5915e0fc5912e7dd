"""Train one experiment outside of any study, in a folder that studies find again."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from siod.errors import UserError
from siod.training import results
from siod.training.machine import this_machine
from siod.training.phases import total_epochs
from siod.training.placement import Placement, refuse_unplaceable
from siod.training.run_lock import HOLDER, LOCK
from siod.training.stopping import STOP_FILE
from siod.tuning.planning.jobs import prepare_jobs
from siod.tuning.planning.plan import Capacity, Trial, confirm_cpu, place_trials, refuse_uncomputable
from siod.tuning.showing.board import Board
from siod.tuning.showing.progress import live_display
from siod.tuning.study import Arm
from siod.tuning.trials.epochs import follow_epochs
from siod.tuning.trials.execution import train_job
from siod.tuning.trials.folder import ensure_weights
from siod.tuning.trials.trial import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from siod.data.usable_files import Check
    from siod.training.context import EpochListener
    from siod.training.experiment import Experiment
    from siod.training.placement import Node
    from siod.tuning.trials.trial import Job


def train_one(
    experiment: Experiment,
    *,
    name: str,
    runs_dir: Path,
    cache_dir: Path,
    out: Path | None = None,
    address: str | None = None,
    check_images: Check = "refuse",
    progress: bool = True,
    autoscale: bool = False,
    confirm: Callable[[str], bool] | None = None,
) -> tuple[Path, dict[str, float]]:
    """Train one experiment: start it, continue it from its last epoch, or return the result it already has.

    Args:
        experiment: What to train.
        name: What progress calls it.
        runs_dir: Absolute folder of runs.
        cache_dir: Absolute folder of generated data and pretrained weights.
        out: Absolute folder of the run; named by what it learns, as in studies, when None.
        address: ``host:port`` of a Ray cluster, for experiments with Ray Train workers.
        check_images: What to do with images that do not decode.
        progress: Whether to show it.
        autoscale: Whether the cluster starts machines as workers ask for them.
        confirm: Asked before an experiment of COCO's size trains on CPU cores; None where there is no user to ask.

    Returns:
        The folder of the run and its final metrics.

    Raises:
        UserError: Something in the input has to be mended; nothing was trained.
        RunError: The run failed or was stopped.
    """
    if out is not None:
        _refuse_foreign(out)
    with ExitStack() as stack:
        nodes = stack.enter_context(_machines(experiment, address, autoscale=autoscale))
        (trial,) = place_trials([Trial(Arm(name=name), experiment.seed, experiment)], nodes, autoscale=autoscale)
        if out is None or results.read_result(out) is None:
            confirm_cpu([trial], confirm, cache_dir)
        board = Board.of("train", {trial.name: total_epochs(experiment)})
        stack.enter_context(live_display(board) if progress else nullcontext())
        board.set_activity("preparing the data")
        (job,) = prepare_jobs(
            [trial],
            runs_dir=runs_dir,
            cache_dir=cache_dir,
            baseline=name,
            check_images=check_images,
            progress=lambda done, images: board.set_progress("preparing the data", done, images),
        )
        if out is not None:
            job = replace(job, run_dir=out)
        if job.result() is None:
            if not autoscale:
                _refuse_unplaceable(trial, nodes)
            refuse_uncomputable([trial], here=address is None or experiment.compute.in_process())
            board.set_placements(Capacity(nodes, autoscale=autoscale).describe([trial], 1))
        return job.run_dir, _train(job, board, address, autoscale=autoscale)


def _machines(
    experiment: Experiment, address: str | None, *, autoscale: bool
) -> AbstractContextManager[tuple[Node, ...]]:
    """The machines: those of the cluster for Ray Train workers, otherwise this one, without loading Ray."""
    if experiment.compute.in_process():
        return nullcontext((this_machine(),))
    from siod.tuning.running.cluster import machines  # noqa: PLC0415

    return machines(address, autoscale=autoscale)


def _refuse_unplaceable(trial: Trial, nodes: Sequence[Node]) -> None:
    placement = Placement.of(trial.experiment.compute)
    if trial.experiment.compute.in_process():  # nothing is reserved here: it may have more threads than there are cores
        placement = replace(placement, cpus=min(placement.cpus, nodes[0].cpus))
    refuse_unplaceable(trial.name, placement, nodes)


def _train(job: Job, board: Board, address: str | None, *, autoscale: bool) -> dict[str, float]:
    def show_epoch(epoch: int, metrics: Mapping[str, float]) -> None:
        board.epoch(job.name, epoch, metrics)

    if job.result() is not None:
        metrics = train_job(job)
        board.finish(job.name, metrics, state="reused")
        return metrics
    with ExitStack() as stack:
        listener: EpochListener = show_epoch
        if not job.experiment.compute.in_process():
            from siod.tuning.running.cluster import session  # noqa: PLC0415

            board.set_activity("starting Ray")
            stack.enter_context(session(address, autoscale=autoscale))
            listener = stack.enter_context(follow_epochs(job.run_dir / f".epochs.{os.getpid()}", show_epoch))
        board.set_activity("preparing the initial weights")
        ensure_weights(
            [job], progress=lambda epoch, epochs, _: board.set_activity(f"pretraining: epoch {epoch}/{epochs}")
        )
        board.set_activity("")
        board.begin(job.name)
        metrics = train_job(job, listener)
    board.finish(job.name, metrics)
    return metrics


def _refuse_foreign(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; name a folder")
    left_behind = {LOCK, HOLDER, STOP_FILE}  # by a run that failed before it began
    if out.exists() and {path.name for path in out.iterdir()} - left_behind and not (out / results.EXPERIMENT).exists():
        raise UserError(f"{out}: the folder is not empty and holds no run of siod; name a new one or empty it")
