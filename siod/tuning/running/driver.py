"""Let Ray Tune carry out jobs, listed beforehand or proposed on the way; `watch` hears of what becomes of them."""

from __future__ import annotations

import gc
import json
import logging
import shutil
import signal
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from ray import tune
from ray.tune.search import Searcher

from siod.errors import RunError, UserError
from siod.training.context import STOP_FILE, request_stop, stop_requested
from siod.training.loop import Stopped
from siod.training.placement import Placement
from siod.tuning.running.interrupt import interruptible
from siod.tuning.running.watch import FAILURE, TRACEBACK, WAITING
from siod.tuning.searching.search import derived
from siod.tuning.trials.device_fault import end_process, forget_last_words, is_device_fault
from siod.tuning.trials.execution import carry_out

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from siod.tuning.running.watch import Watch
    from siod.tuning.searching.search import Campaign
    from siod.tuning.trials.trial import Job

# Workers of a TorchTrainer have their own placement group; the trial itself must hold nothing of it.
DRIVER_ONLY: dict[str, float] = {"memory": 2**20}


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
        tune.with_parameters(_listed_trial, jobs=known, study=engine.folder),
        lambda config: _resources(known[config["index"]]),
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
        tune.with_parameters(_proposed_trial, bases=bases, study=engine.folder),
        lambda config: _resources(bases[config["arm"]]),
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
    _trial(jobs[config["index"]], study)


def _proposed_trial(config: dict[str, Any], bases: dict[str, Job], study: Path) -> None:
    _trial(derived(bases[config["arm"]], json.loads(config["changes"]), config["number"]), study)


def _trial(job: Job, study: Path) -> None:
    """What Tune runs in a process of its own.

    An error is reported, not raised: training again would meet it again. Tune restarts only what died, as a process
    does here whose GPU is lost to it (:mod:`siod.tuning.trials.device_fault`).

    Args:
        job: What to train. While another study trains it, or the file server holds the lock of a node that died, the
            trial waits.
        study: Folder of the study.
    """
    # Ray Train workers report by themselves (see siod.training.worker).
    listener = _report if job.experiment.compute.in_process() else None
    forget_last_words(job.run_dir)
    try:
        carry_out(job, listener, wait=_waiting(study))
    except Exception as error:  # noqa: BLE001  (whatever it is, it belongs to this trial alone)
        if is_device_fault(error):
            end_process(error, job.run_dir)
        tune.report({FAILURE: _sentence(error), TRACEBACK: traceback.format_exc()})
    finally:
        # The process goes on to the next trial; this one's tensors must not.
        gc.collect()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()


def _waiting(study: Path) -> Callable[[], None]:
    """What a trial does every second while it waits: say so once, and end with its study.

    A stop is not asked for in the folder of the trial, where whoever trains there would take it for his.
    """
    untold = iter((True,))

    def wait() -> None:
        if next(untold, False):
            tune.report({WAITING: True})
        if stop_requested(study):
            raise Stopped(f"{study}: stopped as requested; run again to continue")

    return wait


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
