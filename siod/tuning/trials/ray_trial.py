"""One trial in a process that Ray Tune started for it."""

from __future__ import annotations

import gc
import traceback
from typing import TYPE_CHECKING

import torch
from ray import tune

from siod.errors import RunError, UserError
from siod.training.stopping import Stopped, stop_requested
from siod.tuning.trials.device_fault import clear_fault_record, end_process, is_device_fault
from siod.tuning.trials.execution import train_job
from siod.tuning.trials.trial import FAILURE, TRACEBACK, WAITING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from siod.tuning.trials.trial import Job


def run_trial(job: Job, study: Path) -> None:
    """Train one job, and report its epochs to Tune.

    An error is reported, not raised: training again would meet it again. Tune restarts only what died, as a process
    does here whose GPU is lost to it (:mod:`siod.tuning.trials.device_fault`).

    Args:
        job: What to train. While another study trains it, or the file server holds the lock of a node that died, the
            trial waits.
        study: Folder of the study.
    """
    # Ray Train workers report by themselves (see siod.training.worker).
    listener = _report if job.experiment.compute.in_process() else None
    clear_fault_record(job.run_dir)
    try:
        train_job(job, listener, wait=_waiting(study))
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
    """Make what a trial calls every second while it waits for its folder: report it once, and end with its study.

    The stop is looked for in the study's folder: one in the trial's would stop the process that trains there.
    """
    unreported = iter((True,))

    def wait() -> None:
        if next(unreported, False):
            tune.report({WAITING: True})
        if stop_requested(study):
            raise Stopped(f"{study}: stopped as requested; run again to continue")

    return wait


def _report(epoch: int, metrics: Mapping[str, float]) -> None:
    tune.report({"epoch": epoch, "metrics": dict(metrics)})


def _sentence(error: Exception) -> str:
    words = " ".join(str(error).split())
    return words if isinstance(error, UserError | RunError) else f"{type(error).__name__}: {words}"
