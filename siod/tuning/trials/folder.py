"""The folder of a trial: what is derived from a finished run, for tracking and reports, and the weights it begins with.

Without torch, so that the process that only drives a study need not load it.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from siod.data import coco
from siod.evaluation.diagnosis import diagnose
from siod.evaluation.score_aware import evaluate_files
from siod.json_file import packed_into, read_json, write_json
from siod.training import results, weights
from siod.training.by_category import count_boxes
from siod.tuning.trials.gallery import found_in, study_gallery
from siod.tuning.trials.pictures import draw_predictions
from siod.tuning.trials.trial import ANNOTATIONS, DIAGNOSIS, ENVIRONMENT, FOUND, PICTURE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from siod.tuning.trials.trial import Job


def ensure_weights(jobs: Sequence[Job], *, progress: Callable[[int, int, float], None] | None = None) -> None:
    """Make the initial weights of all jobs, so that no two trials wait for the same download or pretraining.

    Args:
        jobs: What is about to run.
        progress: Called after each epoch of a pretraining with epoch, epochs and accuracy.
    """
    for job in jobs:
        weights.ensure(job.experiment, job.cache_dir, progress=progress)


def complete_folder(job: Job) -> None:
    """Write what is derived from a finished run, unless it is there: figures, counts, samples."""
    if not (job.run_dir / results.DETECTIONS).exists():  # of an earlier version
        _pack(results.detections_of(job.run_dir), job.run_dir / results.DETECTIONS)
    if not (job.run_dir / ENVIRONMENT).exists():
        from siod.tuning.trials.environment import environment  # noqa: PLC0415  (asks torch, which who trained has)

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


def _pack(source: Path, path: Path) -> None:
    with packed_into(path) as packed, source.open("rb") as plain:
        shutil.copyfileobj(plain, packed)
