"""What one trial does in its own process: train, and leave behind what tracking and reports want."""

from __future__ import annotations

import gzip
import os
import platform
import shutil
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import torch

from siod.training import results
from siod.training.run import train

if TYPE_CHECKING:
    from pathlib import Path

    from siod.data.source import PreparedData
    from siod.training.context import EpochListener
    from siod.training.experiment import Experiment

GALLERY, ENVIRONMENT, PACKED_DETECTIONS, LOG = "gallery.json", "environment.json", "detections.json.gz", "train.log"
# Detections below this score are not drawn in galleries.
GALLERY_SCORE = 0.3


@dataclass(frozen=True)
class Job:
    """A planned trial with its files in place.

    Args:
        name: ``arm/seed``.
        experiment: What to learn.
        data: Its prepared files.
        identity: Equal identities learn equal weights.
        run_dir: Where it trains, named by its identity.
        cache_dir: Where pretrained weights are.
        gallery_ids: Validation images whose detections are kept for the report's gallery.
    """

    name: str
    experiment: Experiment
    data: PreparedData
    identity: str
    run_dir: Path
    cache_dir: Path
    gallery_ids: tuple[int, ...] = ()

    def result(self) -> dict[str, float] | None:
        """The final metrics if the trial was trained before, here or in another study."""
        return results.read_result(self.run_dir)


def carry_out(job: Job, listener: EpochListener | None = None) -> dict[str, float]:
    """Train a job in this process (or from it, with Ray Train workers) and complete its folder.

    Args:
        job: What to train.
        listener: Called after each epoch.

    Returns:
        The final metrics.

    Raises:
        UserError: The folder is in use or weights are missing.
        RunError: The run failed.
    """
    compute = job.experiment.compute
    if compute.in_process() and not torch.cuda.is_available():
        torch.set_num_threads(max(1, int(compute.cpus_per_worker)))
    metrics = train(job.experiment, job.data, job.run_dir, cache_dir=job.cache_dir, listener=listener)
    complete_folder(job)
    return metrics


def complete_folder(job: Job) -> None:
    """Write what is derived from a finished run, unless it is there: packed detections, gallery, environment."""
    packed = job.run_dir / PACKED_DETECTIONS
    if not packed.exists():
        _pack(job.run_dir / results.DETECTIONS, packed)
    if not (job.run_dir / ENVIRONMENT).exists():
        results.write_json(job.run_dir / ENVIRONMENT, environment())
    if job.gallery_ids and not (job.run_dir / GALLERY).exists():
        detections = results.read_json(job.run_dir / results.DETECTIONS)
        results.write_json(job.run_dir / GALLERY, gallery_of(detections, job.gallery_ids, job.data.category_ids))


def gallery_of(
    detections: list[dict[str, Any]], image_ids: tuple[int, ...], category_ids: tuple[int, ...]
) -> dict[str, list[list[float]]]:
    """Pick what a gallery draws from a COCO results list.

    Args:
        detections: COCO results, boxes x, y, width, height in pixels.
        image_ids: Images of the gallery.
        category_ids: The data set's id of each label.

    Returns:
        For each image id, as text, rows of x, y, width, height, score, label; the highest score first.

    Example:
        >>> found = {"image_id": 7, "category_id": 3, "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.9}
        >>> gallery_of([found], (7, 8), (1, 3))
        {'7': [[1.0, 2.0, 3.0, 4.0, 0.9, 1]], '8': []}
    """
    label_of = {category: label for label, category in enumerate(category_ids)}
    drawn: dict[str, list[list[float]]] = {str(image_id): [] for image_id in image_ids}
    for found in detections:
        rows = drawn.get(str(found["image_id"]))
        if rows is not None and found["score"] >= GALLERY_SCORE:
            rows.append([*found["bbox"], found["score"], label_of[found["category_id"]]])
    for rows in drawn.values():
        rows.sort(key=lambda row: -row[4])
    return drawn


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


def _pack(source: Path, packed: Path) -> None:
    temporary = packed.with_name(f".{packed.name}.{os.getpid()}.tmp")
    try:
        with source.open("rb") as plain, gzip.GzipFile(temporary, "wb", compresslevel=5, mtime=0) as out:
            shutil.copyfileobj(plain, out)
        temporary.replace(packed)
    finally:
        temporary.unlink(missing_ok=True)
