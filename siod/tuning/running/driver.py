"""Run jobs with Ray Tune, listed beforehand or proposed by a search; `siod.tuning.running.watch` handles the events."""

from __future__ import annotations

import json
import logging
import shutil
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ray import tune
from ray.tune.search import Searcher

from siod.training.placement import Placement
from siod.training.stopping import STOP_FILE, request_stop
from siod.tuning.running.interrupt import interruptible
from siod.tuning.searching.search import job_with_changes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from siod.tuning.running.watch import Watch
    from siod.tuning.searching.search import StudySearch
    from siod.tuning.trials.trial import Job

# Workers of a TorchTrainer have their own placement group; the trial itself must hold nothing of it.
DRIVER_ONLY: dict[str, float] = {"memory": 2**20}


@dataclass(frozen=True)
class Engine:
    """How Tune runs jobs.

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


def run_jobs(stages: Sequence[Sequence[Job]], watch: Watch, engine: Engine) -> None:
    """Run exactly these jobs, in their order; each stage starts when the one before it has ended.

    Args:
        stages: Of jobs; those after a stop or an abort are left out.
        watch: Receives every event.
        engine: How to run them.
    """
    for jobs in stages:
        if jobs and not watch.ending:
            _run_stage(jobs, watch, engine)


def _run_stage(stage: Sequence[Job], watch: Watch, engine: Engine) -> None:
    jobs = {watch.add(job): job for job in stage}
    trainable = tune.with_resources(
        tune.with_parameters(_listed_trial, jobs=jobs, study=engine.folder),
        lambda config: _resources(jobs[config["index"]]),
    )
    _fit(trainable, ({"index": index} for index in jobs), watch, engine)


def run_proposals(search: StudySearch, watch: Watch, engine: Engine) -> None:
    """Run what a search proposes, until it proposes nothing more; nothing after a stop or an abort.

    Args:
        search: Proposes jobs; those that have a result already are reused.
        watch: Receives every event.
        engine: How to run them.
    """
    if watch.ending:
        return
    bases = {name: arm.base for name, arm in search.arms.items()}
    trainable = tune.with_resources(
        tune.with_parameters(_proposed_trial, bases=bases, study=engine.folder),
        lambda config: _resources(bases[config["arm"]]),
    )
    configs = (
        {
            "index": watch.add(job),
            "arm": job.arm,
            "number": job.number,
            "changes": json.dumps(search.changes_of(job)),
        }
        for job in iter(search.ask, None)
        if not watch.reuse(job)
    )
    _fit(trainable, configs, watch, engine)


def _fit(trainable: Any, configs: Iterator[dict[str, Any]], watch: Watch, engine: Engine) -> None:
    """Run one trial of Tune for each config."""
    if not engine.verbose:
        # Its warnings repeat, at length, what the board and the records say.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    shutil.rmtree(engine.folder / "tune", ignore_errors=True)
    config = tune.TuneConfig(
        max_concurrent_trials=engine.slots,
        num_samples=-1,  # until there is no further config
        search_alg=_ConfigSearcher(configs, watch),
        reuse_actors=True,  # the next trial finds torch imported
        trial_name_creator=lambda trial: watch.job(trial).name,
        trial_dirname_creator=lambda trial: f"{trial.config['index']:04d}",
    )
    run_config = tune.RunConfig(
        name="tune",
        storage_path=str(engine.folder),
        verbose=0,
        callbacks=[watch],
        stop=_AbortStopper(watch),
        failure_config=tune.FailureConfig(max_failures=engine.max_failures),
    )
    tuner = tune.Tuner(trainable, param_space={}, tune_config=config, run_config=run_config)
    (engine.folder / STOP_FILE).unlink(missing_ok=True)

    def stop() -> None:
        request_stop(engine.folder)
        watch.stop()

    # Tune's way to end at once; its own answer to Ctrl-C is switched off in siod.tuning.running.cluster.
    with interruptible(stop, lambda: signal.raise_signal(signal.SIGUSR1)):
        tuner.fit()


def _resources(job: Job) -> tune.PlacementGroupFactory:
    """What Tune reserves for a trial; Ray Train reserves for its workers itself."""
    if not job.experiment.compute.in_process():
        return tune.PlacementGroupFactory([DRIVER_ONLY])
    placement = Placement.of(job.experiment.compute)
    return tune.PlacementGroupFactory([{"CPU": placement.cpus} | ({"GPU": placement.gpus} if placement.gpus else {})])


def _listed_trial(config: dict[str, Any], jobs: dict[int, Job], study: Path) -> None:
    _run_trial(jobs[config["index"]], study)


def _proposed_trial(config: dict[str, Any], bases: dict[str, Job], study: Path) -> None:
    _run_trial(job_with_changes(bases[config["arm"]], json.loads(config["changes"]), config["number"]), study)


def _run_trial(job: Job, study: Path) -> None:
    from siod.tuning.trials.ray_trial import run_trial  # noqa: PLC0415  (needs torch, which this process does without)

    run_trial(job, study)


class _ConfigSearcher(Searcher):
    """Gives Tune the config of one trial after the other."""

    def __init__(self, configs: Iterator[dict[str, Any]], watch: Watch) -> None:
        super().__init__()
        self.configs, self.watch = configs, watch

    def suggest(self, trial_id: str) -> Any:
        """The next trial's config, or that there is none."""
        del trial_id
        return Searcher.FINISHED if self.watch.stopping else next(self.configs, Searcher.FINISHED)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:  # noqa: FBT001, FBT002  (Tune's signature)
        """Nothing: the watch handles it."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a study continues from its trials' folders, a search from its database."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as :meth:`save`."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as :meth:`save`."""
        return {}


class _AbortStopper(tune.Stopper):
    """Stops all trials of a study that is aborted."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """False: a single trial ends by itself."""
        del trial_id, result
        return False

    def stop_all(self) -> bool:
        """True when the study should stop early."""
        return bool(self.watch.board.abort_reason)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune stores it to restore a run."""
        return {}
