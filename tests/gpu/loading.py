"""Images a second from JPEG files: what the loader makes by itself, and what a detector gets of it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from scenes import FULL, TINY, Files, fresh, jpeg_folder, scene_batch
from timing import step_ms, wait
from training import Trainee, declared

from siod.data.loading.loader import train_batches
from siod.data.transforms import CENTERNET_AUGMENTATION

if TYPE_CHECKING:
    from collections.abc import Callable

    from reporting import Report, Setting

    from siod.data.loading.loader import Batches
    from siod.data.source import PreparedData
    from siod.types import Batch

FILES = Files(2000, 1000, 480, 640, distinct=100)
SMALL_FILES = Files(24, 8, 96, 128, distinct=8)
WORKERS = (12, 8, 4, 0)
JUDGED_WORKERS = 12
LEAST_SHARE = 0.9
"""Of the throughput of a batch that is there already."""
IN_PROCESS_BATCHES = 8
"""Without loader processes a batch takes a fifth of a second."""


def check(setting: Setting, report: Report) -> None:
    """Measure with each number of loader processes, the judged number first."""
    data = jpeg_folder(setting.size(FILES, SMALL_FILES), setting.work)
    images, side = setting.size((28, 512), (4, 96))
    spec = setting.size(FULL["centernet_r18"].plain, TINY["centernet"].plain)
    trainee = Trainee(fresh(spec, 80), declared(spec, precision="bf16"), setting.device)
    there = scene_batch(images, side, side, 80, pinned=setting.on_gpu)
    times = step_ms(lambda: trainee.step(there), setting, warm=setting.size(5, 1), steps=setting.size(20, 1))
    synthetic = 1000 * images / times
    cores = len(os.sched_getaffinity(0))
    report.figures(synthetic_images_per_second=synthetic, cores=cores)
    for workers in setting.size(WORKERS, (1, 0)):
        with report.part(f"{workers} loader processes"):
            most = None if workers else IN_PROCESS_BATCHES
            alone = _rate(_batches(setting, data, images, workers, epoch=1), images, most=most)
            fed = _rate(
                _batches(setting, data, images, workers, epoch=2),
                images,
                most=most,
                take=trainee.step,
                end=lambda: wait(setting),
            )
            figures = {"alone": alone, "fed": fed, "share_of_synthetic": fed / synthetic}
            report.figures(**{f"workers_{workers}": figures})
            if setting.on_gpu and workers == JUDGED_WORKERS:
                found = f"{workers} loader processes on {cores} cores feed {fed / synthetic:.2f} of synthetic input"
                report.require(fed >= LEAST_SHARE * synthetic, f"{found} (at least {LEAST_SHARE})")


def _batches(setting: Setting, data: PreparedData, images: int, workers: int, *, epoch: int) -> Batches:
    side = setting.size(512, 96)
    return train_batches(
        data,
        CENTERNET_AUGMENTATION.with_changes({"input_size": (side, side)}),
        batch_size=images,
        seed=0,
        epoch=epoch,
        workers=workers,
        pin_memory=setting.on_gpu,
    )


def _rate(
    batches: Batches,
    images: int,
    *,
    most: int | None,
    take: Callable[[Batch], None] = lambda batch: None,
    end: Callable[[], None] = lambda: None,
) -> float:
    """Images a second.

    The first batch is not counted: before it is there, processes start.

    Args:
        batches: All are taken, or as many as ``most`` says.
        images: In a batch.
        most: Batches.
        take: What is done with each.
        end: Waits until it is done.
    """
    began, counted = 0.0, 0
    for number, batch in enumerate(batches, start=1):
        take(batch)
        if number == 1:
            end()
            began = time.perf_counter()
        else:
            counted += images
        if number == most:
            break
    end()
    return counted / (time.perf_counter() - began)
