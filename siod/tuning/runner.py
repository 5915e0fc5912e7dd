"""Run the trials of a study with Ray Tune (the only file that knows it)."""

from __future__ import annotations

import gc
import logging
import shutil
import time
import traceback
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from ray import tune

from siod.errors import RunError, UserError
from siod.training.phases import total_epochs
from siod.tuning import cluster
from siod.tuning.board import DONE, Board
from siod.tuning.jobs import ensure_weights, forget, prepare_jobs
from siod.tuning.lock import alone
from siod.tuning.plan import concurrency, plan
from siod.tuning.progress import shown
from siod.tuning.recorder import Recorder
from siod.tuning.trial import carry_out, complete_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ray.tune.experiment import Trial as TuneTrial

    from siod.data.source import Check
    from siod.tracking.records import Status
    from siod.tuning.plan import Trial
    from siod.tuning.study import Study
    from siod.tuning.trial import Job

# A trial whose process died (out of memory, lost node) goes on from its last checkpoint this many times.
RESTARTS_AFTER_DEATH = 1
# Workers of a TorchTrainer have their own placement group; the trial itself must hold nothing of it.
DRIVER_ONLY: dict[str, float] = {"memory": 2**20}
FAILURE, TRACEBACK = "failure", "traceback"


@dataclass
class StudyOutcome:
    """What became of each trial of one call of :func:`run_study`."""

    study: str
    finished: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)
    unrecorded: dict[str, str] = field(default_factory=dict)
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
        fresh: Train again what is finished.
        command: What was typed, for the records.

    Returns:
        Which trials finished, were reused, failed, or are still to do after Ctrl-C.

    Raises:
        UserError: Something in the input has to be mended; nothing was trained.
    """
    began = time.monotonic()
    trials = plan(study, arms=arms, seeds=seeds)
    if address is not None:
        cluster.refuse_unreachable(address)
    folder = runs_dir / "studies" / study.name
    board = Board.of(
        study.name, {trial.name: total_epochs(trial.experiment) for trial in trials}, objective=study.objective
    )
    with alone(folder), shown(board) if progress else nullcontext():
        board.doing("preparing the data")
        jobs = prepare_jobs(
            trials,
            runs_dir=runs_dir,
            cache_dir=cache_dir,
            baseline=study.baseline,
            check_images=check_images,
            progress=lambda done, images: board.working("preparing the data", done, images),
        )
        board.doing("opening the tracking store")
        with Recorder.open(study, jobs, store_uri=store_uri, command=command) as recorder:
            if fresh:
                forget(jobs)
            pending = _reuse(jobs, board, recorder)
            if pending:
                _train(pending, trials, board, recorder, folder=folder, address=address, limit=max_concurrent)
            board.doing("")
            recorder.status = _status(board)
        outcome = _outcome(board, recorder)
    outcome.seconds = time.monotonic() - began
    return outcome


def _reuse(jobs: Sequence[Job], board: Board, recorder: Recorder) -> list[Job]:
    """Record what was trained before; returns the jobs that are left."""
    pending = []
    for job in jobs:
        metrics = job.result()
        if metrics is None:
            pending.append(job)
            continue
        complete_folder(job)
        recorder.reuse(job, metrics)
        board.finish(job.name, metrics, state="reused")
    return pending


def _train(
    pending: Sequence[Job],
    trials: Sequence[Trial],
    board: Board,
    recorder: Recorder,
    *,
    folder: Path,
    address: str | None,
    limit: int | None,
) -> None:
    names = {job.name for job in pending}
    board.doing("starting Ray")
    with cluster.session(address) as nodes:
        board.slots = concurrency([trial for trial in trials if trial.name in names], nodes, limit=limit)
        board.doing("preparing the initial weights")
        ensure_weights(pending, progress=lambda epoch, epochs, _: board.doing(f"pretraining: epoch {epoch}/{epochs}"))
        board.doing("starting the first trials")
        watch = _Watch(pending, board, recorder)
        try:
            _tune(pending, watch, folder=folder, slots=board.slots)
        finally:
            watch.interrupted()


def _tune(jobs: Sequence[Job], watch: _Watch, *, folder: Path, slots: int) -> None:
    """Let Ray Tune carry out exactly these jobs, in their order."""
    # Its warnings repeat, at length, what the board and the records say.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    shutil.rmtree(folder / "tune", ignore_errors=True)
    trainable = tune.with_resources(
        tune.with_parameters(_trial, jobs=list(jobs)), lambda config: _resources(jobs[config["index"]])
    )
    tuner = tune.Tuner(
        trainable,
        param_space={"index": tune.grid_search(list(range(len(jobs))))},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=slots,
            reuse_actors=True,  # the next trial finds torch imported
            trial_name_creator=lambda trial: jobs[trial.config["index"]].name,
            trial_dirname_creator=lambda trial: f"{trial.config['index']:04d}",
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder),
            verbose=0,
            callbacks=[watch],
            failure_config=tune.FailureConfig(max_failures=RESTARTS_AFTER_DEATH),
        ),
    )
    tuner.fit()


def _resources(job: Job) -> tune.PlacementGroupFactory:
    """What Tune reserves for a trial; Ray Train reserves for its workers itself."""
    compute = job.experiment.compute
    if not compute.in_process():
        return tune.PlacementGroupFactory([DRIVER_ONLY])
    gpus = {"GPU": compute.gpus_per_worker} if compute.gpus_per_worker else {}
    return tune.PlacementGroupFactory([{"CPU": compute.cpus_per_worker} | gpus])


def _trial(config: dict[str, Any], jobs: list[Job]) -> None:
    """What Tune runs in a process of its own.

    An error is reported, not raised: training again would meet it again. Tune restarts only what died.
    """
    job = jobs[config["index"]]
    # Ray Train workers report by themselves (see siod.training.worker).
    listener = _report if job.experiment.compute.in_process() else None
    try:
        carry_out(job, listener)
    except Exception as error:  # noqa: BLE001  (whatever it is, it belongs to this trial alone)
        tune.report({FAILURE: _sentence(error), TRACEBACK: traceback.format_exc()})
    finally:
        # The process goes on to the next trial; this one's tensors must not.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _report(epoch: int, metrics: Mapping[str, float]) -> None:
    tune.report({"epoch": epoch, "metrics": dict(metrics)})


def _sentence(error: Exception) -> str:
    words = " ".join(str(error).split())
    return words if isinstance(error, UserError | RunError) else f"{type(error).__name__}: {words}"


class _Watch(tune.Callback):
    """Tells board and recorder what Tune tells, in the process that started the study.

    Statuses are set here and not by the trials: a trial that is killed cannot say so.
    """

    def __init__(self, jobs: Sequence[Job], board: Board, recorder: Recorder) -> None:
        self.jobs, self.board, self.recorder = jobs, board, recorder
        self.failures: dict[str, tuple[str, str]] = {}
        self.open = {job.name for job in jobs}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune stores its callbacks to restore a run, which siod does from the trials' folders."""
        return {}

    def _job(self, trial: TuneTrial) -> Job:
        index: int = trial.config["index"]
        return self.jobs[index]

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """The trial has a process, for the first time or after its death."""
        del iteration, trials, info
        self.board.begin(self._job(trial).name)
        self.recorder.begin(self._job(trial))

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """An epoch is done, or the trial failed by itself."""
        del iteration, trials, info
        job = self._job(trial)
        if FAILURE in result:
            self.failures[job.name] = (result[FAILURE], result[TRACEBACK])
        elif "epoch" in result:
            self.board.epoch(job.name, result["epoch"], result["metrics"])
            self.recorder.epoch(job, result["epoch"], result["metrics"])

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """The trial's function has returned."""
        del iteration, trials, info
        job = self._job(trial)
        metrics = job.result()
        if job.name in self.failures:
            self._failed(job, *self.failures[job.name])
        elif metrics is None:
            self._failed(job, f"{job.run_dir}: no result here; put the folder of runs on storage all nodes share", "")
        else:
            self.open.discard(job.name)
            self.board.finish(job.name, metrics)
            self.recorder.finish(job, metrics)

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """The trial's process died once too often."""
        del iteration, trials, info
        path = trial.error_file
        text = Path(path).read_text() if path and Path(path).exists() else ""
        self._failed(self._job(trial), "its process died (out of memory, killed, or a lost node)", text)

    def _failed(self, job: Job, sentence: str, trace: str) -> None:
        self.open.discard(job.name)
        self.board.fail(job.name, sentence)
        self.recorder.fail(job, sentence, trace)

    def interrupted(self) -> None:
        """Tune has stopped: whatever is still running was interrupted."""
        for job in self.jobs:
            if job.name in self.open and self.board.rows[job.name].state == "running":
                self.recorder.interrupt(job)
        self.board.interrupt()


def _outcome(board: Board, recorder: Recorder) -> StudyOutcome:
    by_state: dict[str, list[str]] = {}
    for row in board.rows.values():
        by_state.setdefault(row.state, []).append(row.name)
    return StudyOutcome(
        study=board.study,
        finished=by_state.get("finished", []),
        reused=by_state.get("reused", []),
        failed={name: board.rows[name].error for name in by_state.get("failed", [])},
        unfinished=[row.name for row in board.rows.values() if row.state in {"waiting", "running", "interrupted"}],
        unrecorded=recorder.unrecorded,
    )


def _status(board: Board) -> Status:
    if board.count(*DONE) < len(board.rows):
        return "interrupted"
    return "failed" if board.count("failed") else "finished"
