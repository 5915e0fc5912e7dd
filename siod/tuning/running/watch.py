"""The callback of Ray Tune, in the process that started the study: shows and records each event, feeds the search."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune

from siod.training.claim import warn_if_changed
from siod.training.results import wait_for_result
from siod.training.stopping import request_stop
from siod.tuning.trials.device_fault import read_fault_record
from siod.tuning.trials.folder import complete_folder
from siod.tuning.trials.trial import FAILURE, TRACEBACK, WAITING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ray.tune.experiment import Trial as TuneTrial

    from siod.tuning.running.recorder import Recorder
    from siod.tuning.searching.search import StudySearch
    from siod.tuning.showing.board import Board
    from siod.tuning.trials.trial import Job

# So many trials in a row that fail alike stop the study: the rest would fail as well.
MOST_FAILURES_ALIKE = 5
# How Python says that a module is not there, or is another one of that name.
NOT_IMPORTED = re.compile(r"^(?:ModuleNotFoundError|ImportError): .+$", re.MULTILINE)


class Watch(tune.Callback):
    """Passes Tune's events on to board, recorder and search, in the process that started the study.

    Statuses are set here and not by the trials: a trial that is killed cannot say so.

    Args:
        board: Shows the trials.
        recorder: Records them.
        search: The search that proposes them; None when they are listed beforehand.
    """

    def __init__(self, board: Board, recorder: Recorder, search: StudySearch | None = None) -> None:
        self.board, self.recorder, self.search = board, recorder, search
        self.jobs: list[Job] = []
        self.failures: dict[str, tuple[str, str]] = {}
        self.open: set[str] = set()
        self.pruned: set[str] = set()
        self.waiting: set[str] = set()
        self.stopping = False
        self._alike: list[str] = []

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune stores its callbacks to restore a run, which siod does from the trials' folders."""
        return {}

    def add(self, job: Job) -> int:
        """Add a job; returns its index."""
        self.jobs.append(job)
        self.open.add(job.name)
        return len(self.jobs) - 1

    @property
    def ending(self) -> bool:
        """True when no further trial should start: a stop was requested, or the study is aborted."""
        return self.stopping or bool(self.board.abort_reason)

    def reuse(self, job: Job) -> bool:
        """Show and record a job that was trained before; returns False when it has no result."""
        metrics = job.result()
        if metrics is None:
            return False
        complete_folder(job)
        warn_if_changed(job.run_dir, job.experiment)
        self.recorder.reuse(job, metrics)
        self.board.finish(job.name, metrics, state="reused")
        if (search := self._search_of(job)) is not None:
            search.finish(job, metrics)
        return True

    def stop(self) -> None:
        """Let every running trial end after its epoch, and start no other."""
        self.stopping = True
        self.board.set_activity("stopping after the running epochs; Ctrl-C again stops at once")
        for job in self._training():
            request_stop(job.run_dir)

    def _training(self) -> list[Job]:
        """Running jobs, without those that wait for another process: a stop in their folder would stop that one."""
        return [job for job in self._running() if job.name not in self.waiting]

    def _running(self) -> list[Job]:
        return [job for job in self.jobs if job.name in self.open and self.board.rows[job.name].state == "running"]

    def job(self, trial: TuneTrial) -> Job:
        """The job that a trial of Tune trains."""
        index: int = trial.config["index"]
        return self.jobs[index]

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """The trial has a process, the first or one after a crash."""
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
        elif WAITING in result:
            self.waiting.add(job.name)
            self.board.wait(job.name)
        elif "epoch" in result:
            self.waiting.discard(job.name)
            self.board.epoch(job.name, result["epoch"], result["metrics"])
            self.recorder.epoch(job, result["epoch"], result["metrics"])
            self._prune_or_stop(job, result["epoch"], result["metrics"])

    def _search_of(self, job: Job) -> StudySearch | None:
        """The search that proposed a job; a teacher belongs to none."""
        return None if job.number is None else self.search

    def _prune_or_stop(self, job: Job, epoch: int, metrics: Mapping[str, float]) -> None:
        """Request that a trial ends after its epoch, if the search prunes it or the study stops."""
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
        if metrics is None and not self._ended_early(job):
            metrics = wait_for_result(job.run_dir)
        if metrics is not None:
            self._finished(job, metrics)
        elif job.name in self.pruned:
            self._pruned(job)
        elif self.ending:
            return  # it ended early, and continues next time
        elif job.name in self.failures:
            self._failed(job, *self.failures[job.name])
        else:
            self._failed(job, f"{job.run_dir}: no result here; put the folder of runs on storage all nodes share", "")

    def _ended_early(self, job: Job) -> bool:
        return self.ending or job.name in self.pruned or job.name in self.failures

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """The trial's process died more often than ``max_failures`` allows."""
        del iteration, trials, info
        path = trial.error_file
        text = Path(path).read_text() if path and Path(path).exists() else ""
        job = self.job(trial)
        fault = read_fault_record(job.run_dir)
        if fault is None:
            self._failed(job, why_it_died(text, Path.cwd()), text)
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
        self.open.discard(job.name)
        self._alike.clear()
        self.board.prune(job.name)
        self.recorder.prune(job)
        if (search := self._search_of(job)) is not None:
            search.prune(job)

    def _failed(self, job: Job, sentence: str, trace: str) -> None:
        self.open.discard(job.name)
        self.board.fail(job.name, sentence)
        self.recorder.fail(job, sentence, trace)
        if (search := self._search_of(job)) is not None:
            search.fail(job)
        cause = re.sub(r"\d+", "#", sentence.replace(str(job.run_dir), ""))
        self._alike = [*(self._alike if cause in self._alike else ()), cause]
        if len(self._alike) >= MOST_FAILURES_ALIKE:
            self.board.abort_reason = f"{len(self._alike)} trials in a row failed alike: {sentence}"

    def interrupted(self) -> None:
        """Mark what still runs as interrupted, after Tune has stopped."""
        for job in self._running():
            self.recorder.interrupt(job)
        self.board.interrupt()


def why_it_died(text: str, folder: Path) -> str:
    """Find out from Ray's error why the process of a trial died.

    Args:
        text: Of Ray's error.
        folder: The driver's; Ray puts it at the head of its workers' path, where its files hide packages.

    Returns:
        A sentence.
    """
    missing = NOT_IMPORTED.findall(text)
    if not missing:
        return "its process died (out of memory, killed, or a lost node)"
    unfound = [name.partition(".")[0] for name in re.findall(r"No module named '([\w.]+)'", missing[-1])]
    for name in [*unfound, *re.findall(rf'File "{re.escape(str(folder))}/(\w+)\.py"', text)]:
        if (folder / f"{name}.py").exists() and importlib.util.find_spec(name) is not None:
            return f"its process could not start: {folder / name}.py hides the package of that name; rename the file"
    return f"its process could not start ({missing[-1]}); install what is missing on every node"
