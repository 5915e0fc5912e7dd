"""What one trial does in its own process: train, and complete its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from siod.training.placement import Placement
from siod.training.run import train
from siod.tuning.trials.folder import complete_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from siod.training.context import EpochListener
    from siod.tuning.trials.trial import Job


def train_job(
    job: Job, listener: EpochListener | None = None, *, wait: Callable[[], None] | None = None
) -> dict[str, float]:
    """Train a job in this process (or from it, with Ray Train workers) and complete its folder.

    Args:
        job: What to train.
        listener: Called after each epoch.
        wait: As in :func:`siod.training.run.train`.

    Returns:
        The final metrics.

    Raises:
        UserError: The folder is in use or weights are missing.
        RunError: The run failed.
    """
    if job.experiment.compute.in_process():
        torch.set_num_threads(Placement.of(job.experiment.compute).threads)
    metrics = train(
        job.experiment,
        job.data,
        job.run_dir,
        cache_dir=job.cache_dir,
        listener=listener,
        teachers_dir=job.teachers_dir,
        wait=wait,
    )
    complete_folder(job)
    return metrics
