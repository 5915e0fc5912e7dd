"""Measure the time of training and evaluating an image on this machine, by a few steps on the user's images."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from loky import ProcessPoolExecutor

from siod.data import coco
from siod.data.annotation_sets import without_images
from siod.data.source import CocoFiles, locate, prepare
from siod.errors import RunError
from siod.json_file import read_json
from siod.training.placement import Placement
from siod.training.results import EPOCH_SECONDS, HISTORY
from siod.training.run import train
from siod.tuning.fitting.budget import Pace
from siod.tuning.planning.estimate import shape_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from siod.data.derived import SizeCounts
    from siod.data.source import PreparedData
    from siod.training.experiment import Experiment

STEPS, EPOCHS = 4, 2
"""The last epoch counts; the first warms up."""

JUDGED_IMAGES = 32
MOST_PROCESSES = 8
"""That are timed side by side: trials of one machine slow each other down, and more of them hardly more so."""


class Timed(NamedTuple):
    """Seconds per image in training, and in evaluation."""

    train: float
    judge: float


def measure_pace(
    arms: Mapping[str, Experiment],
    *,
    slots: int,
    cache_dir: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Pace:
    """Time a few steps of each arm; arms of one shape are timed once.

    Args:
        arms: Experiments of one data set and one size of the input, placed, by the arm's name.
        slots: How many run at once; as many are timed side by side on CPUs, one on a GPU.
        cache_dir: Where pretrained weights are.
        progress: Called with the number of shapes timed and of all.

    Returns:
        The mean over the processes.

    Raises:
        UserError: The data is refused.
        RunError: A run failed.
    """
    reference = next(iter(arms.values()))
    on_gpu = Placement.of(reference.compute).device == "cuda"
    processes = 1 if on_gpu else min(slots, MOST_PROCESSES)
    shapes = {shape_of(experiment): experiment for experiment in arms.values()}
    with tempfile.TemporaryDirectory(prefix="siod-pace-") as folder:
        source, images = _few(reference, Path(folder))
        began = time.perf_counter()
        data = prepare(source, reference.annotations, Path(folder) / "cache", check_images="off")
        prepare_seconds = (time.perf_counter() - began) / images
        timed: dict[str, Timed] = {}
        with ProcessPoolExecutor(processes) as pool:
            for done, (shape, experiment) in enumerate(shapes.items(), start=1):
                short = experiment.with_changes({"data": source, "recipe.epochs": EPOCHS, "evaluation.every_epochs": 1})
                runs = [Path(folder) / f"{shape}-{place}" for place in range(processes)]
                timed[shape] = _mean(pool, short, data, runs, cache_dir)
                if progress is not None:
                    progress(done, len(shapes))
    height, width = reference.augmentation.input_size or (0, 0)
    return Pace(
        pixels=height * width,
        train_seconds={arm: timed[shape_of(experiment)].train for arm, experiment in arms.items()},
        judge_seconds=max(one.judge for one in timed.values()),
        prepare_seconds=prepare_seconds,
        slots=slots,
    )


def _few(experiment: Experiment, folder: Path) -> tuple[CocoFiles, int]:
    """The data with a few images of each split, those with boxes first; and how many these are in all."""
    files = locate(experiment.data, folder)
    paths: dict[str, Path] = {}
    images = 0
    for split, count in (("train", STEPS * experiment.recipe.batch_size), ("val", JUDGED_IMAGES)):
        dataset = coco.read(getattr(files, f"{split}_annotations"))
        with_boxes = np.unique(dataset.image_index[~dataset.iscrowd])
        without = np.setdiff1d(np.arange(len(dataset.images)), with_boxes)
        chosen = [*_spread(with_boxes, count), *without][:count]
        left_out = [image.id for place, image in enumerate(dataset.images) if place not in chosen]
        paths[f"{split}_annotations"] = folder / f"{split}.json"
        coco.write(paths[f"{split}_annotations"], without_images(dataset, left_out))
        images += len(chosen)
    # A test split, where there is one, would be judged in whole after the few steps.
    few = CocoFiles(**paths, train_images=files.train_images, val_images=files.val_images, longest_px=files.longest_px)
    return few, images


def _spread(entries: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At most so many entries, evenly spaced."""
    places = np.linspace(0, len(entries) - 1, min(count, len(entries))).astype(np.int64)
    spread: NDArray[np.int64] = entries[places]
    return spread


def _mean(pool: Executor, experiment: Experiment, data: PreparedData, runs: list[Path], cache_dir: Path) -> Timed:
    """Time one experiment in several processes at the same time."""
    futures = [pool.submit(_timed, experiment, data, run_dir, cache_dir) for run_dir in runs]
    try:
        timed = [future.result() for future in futures]
    except BrokenProcessPool as error:
        raise RunError("a process that was timed for --budget died; most likely there is too little memory") from error
    return Timed(fmean(one.train for one in timed), fmean(one.judge for one in timed))


def _timed(experiment: Experiment, data: PreparedData, run_dir: Path, cache_dir: Path) -> Timed:
    torch.set_num_threads(Placement.of(experiment.compute).threads)
    train(experiment, data, run_dir, cache_dir=cache_dir)
    metrics = read_json(run_dir / HISTORY)[-1]
    batch = experiment.recipe.batch_size
    trained = _images(data.train_sizes) // batch * batch
    train_seconds = 1 / metrics["train/images_per_second"]
    judging = max(0.0, metrics[EPOCH_SECONDS] - trained * train_seconds)
    return Timed(train_seconds, judging / _images(data.val_sizes))


def _images(sizes: SizeCounts) -> int:
    return sum(count for _, _, count in sizes)
