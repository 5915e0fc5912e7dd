"""Let Ray Tune carry out jobs, listed beforehand or proposed on the way (the only file that knows it)."""

from __future__ import annotations

import gc
import json
import logging
import re
import shutil
import signal
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from ray import tune
from ray.tune.search import Searcher

from siod.errors import RunError, UserError
from siod.training.context import request_stop
from siod.training.placement import Placement
from siod.tuning.device_fault import end_process, forget_last_words, is_device_fault, last_words
from siod.tuning.interrupt import interruptible
from siod.tuning.search import derived
from siod.tuning.trial import carry_out

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ray.tune.experiment import Trial as TuneTrial

    from siod.tuning.board import Board
    from siod.tuning.recorder import Recorder
    from siod.tuning.search import Campaign
    from siod.tuning.trial import Job

# So many trials in a row that fail alike stop the study: the rest would fail as well.
MOST_FAILURES_ALIKE = 5
# Workers of a TorchTrainer have their own placement group; the trial itself must hold nothing of it.
DRIVER_ONLY: dict[str, float] = {"memory": 2**20}
FAILURE, TRACEBACK = "failure", "traceback"


@dataclass(frozen=True)
class Engine:
    """How Tune carries out jobs.

    Args:
        folder: Of the study.
        slots: How many jobs at once.
        max_failures: A trial whose process died (out of memory, lost node) goes on from its last checkpoint at most
            so many times.
        verbose: Whether Tune's own warnings are shown.
    """

    folder: Path
    slots: int
    max_failures: int = 1
    verbose: bool = False


def carry_out_all(stages: Sequence[Sequence[Job]], watch: Watch, engine: Engine) -> None:
    """Carry out exactly these jobs, in their order; each stage starts when the one before it has ended.

    Args:
        stages: Of jobs.
        watch: Hears of every event.
        engine: How.
    """
    for jobs in stages:
        if jobs and not watch.stopping and not watch.doom:
            _carry_out_listed(jobs, watch, engine)


def _carry_out_listed(jobs: Sequence[Job], watch: Watch, engine: Engine) -> None:
    places = [watch.add(job) for job in jobs]
    known = dict(zip(places, jobs, strict=True))
    trainable = tune.with_resources(
        tune.with_parameters(_listed_trial, jobs=known), lambda config: _resources(known[config["index"]])
    )
    left = iter(places)

    def ask() -> dict[str, Any] | None:
        index = next(left, None)
        return None if index is None else {"index": index}

    _fit(trainable, ask, watch, engine)


def carry_out_campaign(campaign: Campaign, propose: Callable[[], Job | None], watch: Watch, engine: Engine) -> None:
    """Carry out what a search proposes, until it proposes nothing.

    Args:
        campaign: The search.
        propose: Its next job that has to be trained; None at the end.
        watch: Hears of every event.
        engine: How.
    """
    bases = {name: arm.base for name, arm in campaign.arms.items()}
    trainable = tune.with_resources(
        tune.with_parameters(_proposed_trial, bases=bases), lambda config: _resources(bases[config["arm"]])
    )

    def ask() -> dict[str, Any] | None:
        job = propose()
        if job is None:
            return None
        changes = json.dumps(campaign.changes_of(job))
        return {"index": watch.add(job), "arm": job.arm, "number": job.number, "changes": changes}

    _fit(trainable, ask, watch, engine)


def _fit(trainable: Any, ask: Callable[[], dict[str, Any] | None], watch: Watch, engine: Engine) -> None:
    if not engine.verbose:
        # Its warnings repeat, at length, what the board and the records say.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    shutil.rmtree(engine.folder / "tune", ignore_errors=True)
    config = tune.TuneConfig(
        max_concurrent_trials=engine.slots,
        num_samples=-1,  # until nothing more is asked for
        search_alg=_Asker(ask, watch),
        reuse_actors=True,  # the next trial finds torch imported
        trial_name_creator=lambda trial: watch.job(trial).name,
        trial_dirname_creator=lambda trial: f"{trial.config['index']:04d}",
    )
    run_config = tune.RunConfig(
        name="tune",
        storage_path=str(engine.folder),
        verbose=0,
        callbacks=[watch],
        stop=_Doomed(watch),
        failure_config=tune.FailureConfig(max_failures=engine.max_failures),
    )
    tuner = tune.Tuner(trainable, param_space={}, tune_config=config, run_config=run_config)
    # Tune's way to end at once; its own answer to Ctrl-C is switched off in siod.tuning.cluster.
    with interruptible(watch.stop, lambda: signal.raise_signal(signal.SIGUSR1)):
        tuner.fit()


def _resources(job: Job) -> tune.PlacementGroupFactory:
    """What Tune reserves for a trial; Ray Train reserves for its workers itself."""
    if not job.experiment.compute.in_process():
        return tune.PlacementGroupFactory([DRIVER_ONLY])
    placement = Placement.of(job.experiment.compute)
    return tune.PlacementGroupFactory([{"CPU": placement.cpus} | ({"GPU": placement.gpus} if placement.gpus else {})])


def _listed_trial(config: dict[str, Any], jobs: dict[int, Job]) -> None:
    _trial(jobs[config["index"]])


def _proposed_trial(config: dict[str, Any], bases: dict[str, Job]) -> None:
    _trial(derived(bases[config["arm"]], json.loads(config["changes"]), config["number"]))


def _trial(job: Job) -> None:
    """What Tune runs in a process of its own.

    An error is reported, not raised: training again would meet it again. Tune restarts only what died, as a process
    does here whose GPU is lost to it (:mod:`siod.tuning.device_fault`).
    """
    # Ray Train workers report by themselves (see siod.training.worker).
    listener = _report if job.experiment.compute.in_process() else None
    forget_last_words(job.run_dir)
    try:
        carry_out(job, listener)
    except Exception as error:  # noqa: BLE001  (whatever it is, it belongs to this trial alone)
        if is_device_fault(error):
            end_process(error, job.run_dir)
        tune.report({FAILURE: _sentence(error), TRACEBACK: traceback.format_exc()})
    finally:
        # The process goes on to the next trial; this one's tensors must not.
        gc.collect()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()


def _report(epoch: int, metrics: Mapping[str, float]) -> None:
    tune.report({"epoch": epoch, "metrics": dict(metrics)})


def _sentence(error: Exception) -> str:
    words = " ".join(str(error).split())
    return words if isinstance(error, UserError | RunError) else f"{type(error).__name__}: {words}"


class _Asker(Searcher):
    """Hands Tune the settings of one trial after the other."""

    def __init__(self, ask: Callable[[], dict[str, Any] | None], watch: Watch) -> None:
        super().__init__()
        self.ask, self.watch = ask, watch

    def suggest(self, trial_id: str) -> Any:
        """The next trial, or that there is none."""
        del trial_id
        settings = None if self.watch.stopping else self.ask()
        return Searcher.FINISHED if settings is None else settings

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:  # noqa: FBT001, FBT002  (Tune's signature)
        """The watch hears of it."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a study continues from its trials' folders, a search from its database."""

    def restore(self, checkpoint_path: str) -> None:
        """Likewise."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as :meth:`save`."""
        return {}


class _Doomed(tune.Stopper):
    """Ends a study whose trials all fail alike."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """A single trial ends by itself."""
        del trial_id, result
        return False

    def stop_all(self) -> bool:
        """Whether it has come to that."""
        return bool(self.watch.doom)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune stores it to restore a run."""
        return {}


class Watch(tune.Callback):
    """Tells board, recorder and search what Tune tells, in the process that started the study.

    Statuses are set here and not by the trials: a trial that is killed cannot say so.

    Args:
        board: Shows the trials.
        recorder: Writes them down.
        campaign: The search, if this is one.
    """

    def __init__(self, board: Board, recorder: Recorder, campaign: Campaign | None = None) -> None:
        self.board, self.recorder, self.campaign = board, recorder, campaign
        self.jobs: list[Job] = []
        self.failures: dict[str, tuple[str, str]] = {}
        self.open: set[str] = set()
        self.pruned: set[str] = set()
        self.doom = ""
        self.stopping = False
        self._alike: list[str] = []

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune stores its callbacks to restore a run, which siod does from the trials' folders."""
        return {}

    def add(self, job: Job) -> int:
        """Take in a job; returns its place."""
        self.jobs.append(job)
        self.open.add(job.name)
        return len(self.jobs) - 1

    def stop(self) -> None:
        """Let every running trial end after its epoch, and start no other."""
        self.stopping = True
        self.board.doing("stopping after the running epochs; Ctrl-C again stops at once")
        for job in self._running():
            request_stop(job.run_dir)

    def _running(self) -> list[Job]:
        return [job for job in self.jobs if job.name in self.open and self.board.rows[job.name].state == "running"]

    def job(self, trial: TuneTrial) -> Job:
        """What a trial of Tune carries out."""
        index: int = trial.config["index"]
        return self.jobs[index]

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """The trial has a process, for the first time or after its death."""
        del iteration, trials, info
        self.board.begin(self.job(trial).name)
        self.recorder.begin(self.job(trial))

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """An epoch is done, or the trial failed by itself."""
        del iteration, trials, info
        job = self.job(trial)
        if FAILURE in result:
            self.failures[job.name] = (result[FAILURE], result[TRACEBACK])
        elif "epoch" in result:
            self.board.epoch(job.name, result["epoch"], result["metrics"])
            self.recorder.epoch(job, result["epoch"], result["metrics"])
            self._judge(job, result["epoch"], result["metrics"])

    def _search_of(self, job: Job) -> Campaign | None:
        """The search that proposed a job; a teacher belongs to none."""
        return None if job.number is None else self.campaign

    def _judge(self, job: Job, epoch: int, metrics: Mapping[str, float]) -> None:
        """Ask a trial that is not worth its time to end; it does so by itself and lets go of its workers."""
        search = self._search_of(job)
        if search is not None and job.name not in self.pruned and search.epoch(job, epoch, metrics):
            self.pruned.add(job.name)
            request_stop(job.run_dir)
        elif self.stopping:  # a trial that had only begun to start when the stop was asked for has not seen it
            request_stop(job.run_dir)

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """The trial's function has returned."""
        del iteration, trials, info
        job = self.job(trial)
        metrics = job.result()
        if metrics is not None:
            self._finished(job, metrics)
        elif job.name in self.pruned:
            self._pruned(job)
        elif self.stopping or self.doom:
            return  # it was told to end, and will go on next time
        elif job.name in self.failures:
            self._failed(job, *self.failures[job.name])
        else:
            self._failed(job, f"{job.run_dir}: no result here; put the folder of runs on storage all nodes share", "")

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """The trial's process died once too often."""
        del iteration, trials, info
        path = trial.error_file
        text = Path(path).read_text() if path and Path(path).exists() else ""
        job = self.job(trial)
        fault = last_words(job.run_dir)
        if fault is None:
            self._failed(job, "its process died (out of memory, killed, or a lost node)", text)
        else:
            self._failed(job, f"its GPU failed: {fault.sentence}", fault.traceback)

    def _finished(self, job: Job, metrics: dict[str, float]) -> None:
        self.open.discard(job.name)
        self._alike.clear()
        self.board.finish(job.name, metrics)
        self.recorder.finish(job, metrics)
        if (search := self._search_of(job)) is not None:
            search.finish(job, metrics)

    def _pruned(self, job: Job) -> None:
        assert self.campaign is not None  # noqa: S101  (only a search prunes)
        self.open.discard(job.name)
        self._alike.clear()
        self.board.prune(job.name)
        self.recorder.prune(job)
        self.campaign.prune(job)

    def _failed(self, job: Job, sentence: str, trace: str) -> None:
        self.open.discard(job.name)
        self.board.fail(job.name, sentence)
        self.recorder.fail(job, sentence, trace)
        if (search := self._search_of(job)) is not None:
            search.fail(job)
        cause = re.sub(r"\d+", "#", sentence.replace(str(job.run_dir), ""))
        self._alike = [*(self._alike if cause in self._alike else ()), cause]
        if len(self._alike) >= MOST_FAILURES_ALIKE:
            self.doom = f"{len(self._alike)} trials in a row failed alike: {sentence}"

    def interrupted(self) -> None:
        """Tune has stopped: whatever is still running was interrupted."""
        for job in self._running():
            self.recorder.interrupt(job)
        self.board.interrupt()
