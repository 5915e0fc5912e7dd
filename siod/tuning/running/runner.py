"""Run the trials of a study: search each arm's space if there is one, then train every arm with every seed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from siod.training.phases import total_epochs
from siod.tuning.planning.jobs import delete_folders, in_stages
from siod.tuning.planning.plan import Capacity, confirm_cpu, plan, refuse_hours_without_gpus
from siod.tuning.running import cluster
from siod.tuning.running.context import RunContext
from siod.tuning.running.driver import run_jobs
from siod.tuning.running.lock import study_lock
from siod.tuning.running.outcome import StudyOutcome
from siod.tuning.running.recorder import Recorder
from siod.tuning.running.search_stage import run_search
from siod.tuning.running.watch import Watch
from siod.tuning.searching.best import best_of, tuned
from siod.tuning.showing.board import DONE, Board

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from siod.tracking.records import Status
    from siod.tuning.planning.plan import Trial
    from siod.tuning.running.run_config import RunConfig
    from siod.tuning.study import Study


def run_study(
    study: Study, config: RunConfig, *, progress: bool = True, confirm: Callable[[str], bool] | None = None
) -> StudyOutcome:
    """Train every trial of a study that has no result yet, and record all of them.

    A trial's folder is named by what it learns, so that results are shared between studies and an
    interrupted trial continues from its last epoch.

    Args:
        study: What to run.
        config: How to run it.
        progress: Whether progress is shown.
        confirm: Asked before trials of COCO's size train on CPU cores; None where there is no user to ask.

    Returns:
        Which trials finished, were reused, failed, or are still to do after Ctrl-C.

    Raises:
        UserError: Something in the input has to be mended; nothing was trained.
    """
    began = time.monotonic()
    planned = plan(study, arms=config.arms, seeds=config.seeds)  # reports mistakes before a cluster is joined
    with cluster.machines(config.address, verbose=config.verbose, autoscale=config.autoscale) as nodes:
        capacity = Capacity(nodes, config.max_concurrent, config.autoscale)
        run = RunContext(config, capacity, config.runs_dir / "studies" / study.name, progress)
        trials = run.place(planned)
        refuse_hours_without_gpus(study, trials)
        confirm_cpu(trials, confirm, config.cache_dir)
        with study_lock(run.folder):
            outcome = _train_all(study, run, trials) if study.search is None else _search_then_train(study, run)
    outcome.seconds = time.monotonic() - began
    return outcome


def _search_then_train(study: Study, run: RunContext) -> StudyOutcome:
    searched = run_search(study, run)
    if searched.unfinished or searched.abort_reason:
        return searched
    best = tuned(study, best_of(study, run.folder))
    outcome = _train_all(best, run, run.place(plan(best, arms=run.config.arms, seeds=run.config.seeds)))
    outcome.failed |= searched.failed
    outcome.unrecorded |= searched.unrecorded
    return outcome


def _train_all(study: Study, run: RunContext, trials: Sequence[Trial]) -> StudyOutcome:
    """Train the planned trials that have no result."""
    board = Board.of(
        study.name, {trial.name: total_epochs(trial.experiment) for trial in trials}, objective=study.objective
    )
    config = run.config
    with run.display(board):
        jobs = run.prepare(trials, board, baseline=study.baseline)
        run.refuse_impossible(
            [trial for trial, job in zip(trials, jobs, strict=True) if config.fresh or job.result() is None]
        )
        with Recorder.open(study, jobs, store_uri=config.store_uri, command=config.command) as recorder:
            if config.fresh:
                delete_folders(jobs)
            watch = Watch(board, recorder)
            pending = [job for job in jobs if not watch.reuse(job)]
            if pending:
                names = {job.name for job in pending}
                stages = in_stages(pending)
                in_order = [job for stage in stages for job in stage]
                for job in in_order:  # a teacher may be none of the trials
                    board.add(job.name, total_epochs(job.experiment))
                with run.engine([t for t in trials if t.name in names], in_order, watch) as engine:
                    run_jobs(stages, watch, engine)
            board.set_activity("")
            recorder.status = _status(board)
        return StudyOutcome.of(board, recorder.unrecorded)


def _status(board: Board) -> Status:
    if board.count(*DONE) < len(board.rows):
        return "interrupted"
    return "failed" if board.count("failed") else "finished"
