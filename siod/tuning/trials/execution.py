"""What one trial does in its own process: train, and write the files that tracking and reports read."""

from __future__ import annotations

import os
import platform
import shutil
from importlib import metadata
from typing import TYPE_CHECKING, Any

import torch

from siod.data import coco
from siod.evaluation.diagnosis import diagnose
from siod.evaluation.score_aware import evaluate_files
from siod.json_file import packed_into, read_json, write_json
from siod.training import results, weights
from siod.training.by_category import count_boxes
from siod.training.placement import Placement
from siod.training.run import train
from siod.tuning.trials.gallery import found_in, study_gallery
from siod.tuning.trials.pictures import draw_predictions
from siod.tuning.trials.trial import ANNOTATIONS, DIAGNOSIS, ENVIRONMENT, FOUND, PICTURE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from siod.training.context import EpochListener
    from siod.tuning.trials.trial import Job


def ensure_weights(jobs: Sequence[Job], *, progress: Callable[[int, int, float], None] | None = None) -> None:
    """Make the initial weights of all jobs, so that no two trials wait for the same download or pretraining.

    Args:
        jobs: What is about to run.
        progress: Called after each epoch of a pretraining with epoch, epochs and accuracy.
    """
    for job in jobs:
        weights.ensure(job.experiment, job.cache_dir, progress=progress)


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


def complete_folder(job: Job) -> None:
    """Write what is derived from a finished run, unless it is there: figures, counts, samples."""
    if not (job.run_dir / results.DETECTIONS).exists():  # of an earlier version
        _pack(results.detections_of(job.run_dir), job.run_dir / results.DETECTIONS)
    if not (job.run_dir / ENVIRONMENT).exists():
        write_json(job.run_dir / ENVIRONMENT, environment() | {"arithmetic": results.read_arithmetic(job.run_dir)})
    if not (job.run_dir / DIAGNOSIS).exists():
        table = evaluate_files(job.data.val, job.run_dir / results.DETECTIONS)
        write_json(job.run_dir / DIAGNOSIS, diagnose(table))
    if not (job.run_dir / ANNOTATIONS).exists():
        write_json(job.run_dir / ANNOTATIONS, count_boxes(job.data))
    if job.gallery_ids and not (job.run_dir / FOUND).exists():
        detections = read_json(job.run_dir / results.DETECTIONS)
        write_json(job.run_dir / FOUND, found_in(detections, job.gallery_ids, job.data.category_ids))
    if job.gallery_ids and not (job.run_dir / PICTURE).exists():
        gallery = study_gallery(coco.read(job.data.val), job.gallery_ids)
        draw_predictions(gallery, job.data.val_images, read_json(job.run_dir / FOUND), job.run_dir / PICTURE)


def environment() -> dict[str, Any]:
    """Describe where a trial ran: interpreter, machine, and the version of every installed package."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    packages = {entry.metadata["Name"]: entry.version for entry in metadata.distributions()}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
        "packages": dict(sorted(packages.items(), key=lambda entry: entry[0].lower())),
    }


def _pack(source: Path, path: Path) -> None:
    with packed_into(path) as packed, source.open("rb") as plain:
        shutil.copyfileobj(plain, packed)
