"""Run the trials of a study: search each arm's space if there is one, then train every arm with every seed."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from siod.training.phases import total_epochs
from siod.tuning.planning.jobs import forget, in_stages
from siod.tuning.planning.plan import confirm_cpu, plan, refuse_hours_without_gpus
from siod.tuning.running import cluster
from siod.tuning.running.call import Call, add_teachers, reuse
from siod.tuning.running.driver import carry_out_all
from siod.tuning.running.lock import alone
from siod.tuning.running.recorder import Recorder
from siod.tuning.running.search_stage import run_search
from siod.tuning.running.watch import Watch
from siod.tuning.searching.best import best_of, tuned
from siod.tuning.showing.board import DONE, Board
from siod.tuning.showing.progress import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from siod.data.source import Check
    from siod.tracking.records import Status
    from siod.tuning.planning.plan import Trial
    from siod.tuning.study import Study
    from siod.tuning.trials.trial import Job


@dataclass
class StudyOutcome:
    """What became of each trial of one call of :func:`run_study`.

    ``doom`` says why the study was given up, if it was.
    """

    study: str
    finished: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)
    unrecorded: dict[str, str] = field(default_factory=dict)
    doom: str = ""
    seconds: float = 0.0


def run_study(
    study: Study,
    *,
    runs_dir: Path,
    cache_dir: Path,
    store_uri: str,
    address: str | None = None,
    max_concurrent: int | None = None,
    arms: Collection[str] | None = None,
    seeds: Collection[int] | None = None,
    check_images: Check = "refuse",
    progress: bool = True,
    fresh: bool = False,
    command: str = "",
    max_failures: int = 1,
    verbose: bool = False,
    autoscale: bool = False,
    confirm: Callable[[str], bool] | None = None,
) -> StudyOutcome:
    """Train every trial of a study that has no result yet, and record all of them.

    A trial's folder is named by what it learns, so that results are shared between studies and an
    interrupted trial continues from its last epoch.

    Args:
        study: What to run.
        runs_dir: Absolute folder of runs; on a cluster, on storage that all nodes share.
        cache_dir: Absolute folder of generated data and pretrained weights; likewise.
        store_uri: MLflow tracking URI.
        address: ``host:port`` of a Ray cluster; None starts one on this machine.
        max_concurrent: At most so many trials at once; None takes as many as fit.
        arms: Only these arms.
        seeds: Only these seeds.
        check_images: What to do with images that do not decode, before anything is trained.
        progress: Whether to show it.
        fresh: Train again what is finished; a search goes on all the same.
        command: What was typed, for the records.
        max_failures: A trial whose process died goes on from its last checkpoint at most so many times.
        verbose: Whether Ray's own messages are shown.
        autoscale: Whether the cluster starts machines as trials ask for them: none is refused as too large.
        confirm: Asked before trials of COCO's size train on CPU cores; None where nobody can be asked.

    Returns:
        Which trials finished, were reused, failed, or are still to do after Ctrl-C.

    Raises:
        UserError: Something in the input has to be mended; nothing was trained.
    """
    began = time.monotonic()
    planned = plan(study, arms=arms, seeds=seeds)  # tells mistakes before a cluster is joined
    with cluster.machines(address, verbose=verbose, autoscale=autoscale) as nodes:
        call = Call(
            runs_dir,
            cache_dir,
            store_uri,
            address,
            max_concurrent,
            check_images,
            progress,
            command,
            max_failures,
            verbose,
            nodes,
            autoscale,
        )
        trials = call.place(planned)
        refuse_hours_without_gpus(study, trials)
        confirm_cpu(trials, confirm)
        outcome = _run(study, call, trials, arms=arms, seeds=seeds, fresh=fresh)
    outcome.seconds = time.monotonic() - began
    return outcome


def _run(
    study: Study,
    call: Call,
    trials: Sequence[Trial],
    *,
    arms: Collection[str] | None,
    seeds: Collection[int] | None,
    fresh: bool,
) -> StudyOutcome:
    folder = call.runs_dir / "studies" / study.name
    with alone(folder):
        searched = StudyOutcome(study.name)
        if study.search is not None:
            searched = _search(study, call, folder, arms)
            if searched.unfinished or searched.doom:
                return searched
            study = tuned(study, best_of(study, folder))
            trials = call.place(plan(study, arms=arms, seeds=seeds))
        outcome = _train_all(study, call, folder, trials, fresh=fresh)
    outcome.failed |= searched.failed
    outcome.unrecorded |= searched.unrecorded
    return outcome


def _search(study: Study, call: Call, folder: Path, arms: Collection[str] | None) -> StudyOutcome:
    """Search every arm; what failed on the way only counts if nothing else is left of the arm."""
    board, unrecorded = run_search(study, call, folder=folder, arms=arms)
    outcome = _outcome(board, unrecorded)
    outcome.failed = {}
    for name in dict.fromkeys(row.partition("/")[0] for row in board.rows):
        states = {row.state for row in board.rows.values() if row.name.partition("/")[0] == name}
        if not states & {"finished", "reused"} and not outcome.unfinished:
            outcome.failed[f"{name} (search)"] = "no trial of its search finished; the arm keeps its own settings"
    return outcome


def _train_all(study: Study, call: Call, folder: Path, trials: Sequence[Trial], *, fresh: bool) -> StudyOutcome:
    """Train the planned trials that have no result."""
    board = Board.of(
        study.name, {trial.name: total_epochs(trial.experiment) for trial in trials}, objective=study.objective
    )
    with shown(board) if call.progress else nullcontext():
        jobs = call.prepare(trials, board, baseline=study.baseline)
        call.refuse_impossible([t for t, job in zip(trials, jobs, strict=True) if fresh or job.result() is None])
        board.doing("opening the tracking store")
        with Recorder.open(study, jobs, store_uri=call.store_uri, command=call.command) as recorder:
            if fresh:
                forget(jobs)
            pending = _reuse(jobs, board, recorder)
            if pending:
                names = {job.name for job in pending}
                watch, stages = Watch(board, recorder), in_stages(pending)
                add_teachers(stages[0], board)
                call.drive(
                    [trial for trial in trials if trial.name in names],
                    [*stages[0], *stages[1]],
                    watch,
                    lambda engine: carry_out_all(stages, watch, engine),
                    folder=folder,
                )
            board.doing("")
            recorder.status = _status(board)
        return _outcome(board, recorder.unrecorded)


def _reuse(jobs: Sequence[Job], board: Board, recorder: Recorder) -> list[Job]:
    """Record what was trained before; returns the jobs that are left."""
    pending = []
    for job in jobs:
        metrics = job.result()
        if metrics is None:
            pending.append(job)
            continue
        reuse(job, metrics, board, recorder)
    return pending


def _outcome(board: Board, unrecorded: dict[str, str]) -> StudyOutcome:
    by_state: dict[str, list[str]] = {}
    for row in board.rows.values():
        by_state.setdefault(row.state, []).append(row.name)
    return StudyOutcome(
        study=board.study,
        finished=by_state.get("finished", []),
        reused=by_state.get("reused", []),
        failed={name: board.rows[name].error for name in by_state.get("failed", [])},
        unfinished=[row.name for row in board.rows.values() if row.state in {"waiting", "running", "interrupted"}],
        unrecorded=unrecorded,
        doom=board.doom,
    )


def _status(board: Board) -> Status:
    if board.count(*DONE) < len(board.rows):
        return "interrupted"
    return "failed" if board.count("failed") else "finished"
