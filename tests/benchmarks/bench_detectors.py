"""What DMiner costs each family of detectors: a training step with it beside the plain detector's.

Two images of 512 x 512 with 80 classes, three annotated classes an image. A step is forward, loss and backward.
Processor time on one thread, the least of alternating repeats; peak memory of a fresh process for each variant,
above what it held before. The goal is at most 1.2 times the time and 1.25 times the memory; the paper admits 1.4
and 3.

Run: OMP_NUM_THREADS=1 python tests/benchmarks/bench_detectors.py [--repeats 2] [--families fcos retinanet]
"""

# ruff: noqa: T201  (a benchmark prints its table)

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, NamedTuple

import memory
import torch

from siod.detectors.zoo import (
    CENTERNET_R18,
    CENTERNET_R101,
    DFINE_R50,
    FASTER_RCNN_R50_C4,
    FASTER_RCNN_R50_C4_MINING,
    FCOS_R50_FPN,
    RETINANET_R50_FPN,
    RTDETR_R50,
    build,
)
from siod.dminer.pgcl import PGCL
from siod.dminer.splg import SPLG
from siod.training.phases import Phase
from siod.training.step import batch_loss
from siod.types import Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from siod.detectors.spec import DetectorSpec

IMAGES, CLASSES, SIDE_PX, PER_IMAGE = 2, 80, 512, 3


class Family(NamedTuple):
    """The plain detector, the one DMiner works on, and how many positions PGCL selects."""

    plain: DetectorSpec
    mining: DetectorSpec
    top_m: int | tuple[int, ...]


FAMILIES = {
    "centernet_r18": Family(CENTERNET_R18, CENTERNET_R18, 128),
    "centernet_r101": Family(CENTERNET_R101, CENTERNET_R101, 128),
    "faster_rcnn_r50_c4": Family(FASTER_RCNN_R50_C4, FASTER_RCNN_R50_C4_MINING, 128),
    "fcos_r50_fpn": Family(FCOS_R50_FPN, FCOS_R50_FPN, (96, 64, 32)),
    "retinanet_r50_fpn": Family(RETINANET_R50_FPN, RETINANET_R50_FPN, (96, 64, 32)),
    "rt_detr_r50": Family(RTDETR_R50, RTDETR_R50, (96, 64, 32)),
    "d_fine_r50": Family(DFINE_R50, DFINE_R50, (96, 64, 32)),
}


def targets() -> list[Target]:
    """Boxes of 40 to 200 px, each of a class of its own."""
    found = []
    for _ in range(IMAGES):
        corners = torch.rand(PER_IMAGE, 2) * 300
        boxes = torch.cat([corners, corners + 40 + torch.rand(PER_IMAGE, 2) * 160], dim=1)
        found.append(Target(boxes, torch.randperm(CLASSES)[:PER_IMAGE], boxes[:0], torch.zeros(0, dtype=torch.long)))
    return found


def prepare(name: str, variant: str) -> Callable[[], None]:
    """Everything that is there before a step, and the step itself: plain or with DMiner."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    family, with_dminer = FAMILIES[name], variant == "dminer"
    detector = build(family.mining if with_dminer else family.plain, num_classes=CLASSES)
    images = torch.randint(0, 256, (IMAGES, 3, SIDE_PX, SIDE_PX), dtype=torch.uint8)
    annotated = targets()
    phase = Phase(1, 1, splg=SPLG(), pgcl=PGCL(top_m=family.top_m)) if with_dminer else Phase(1, 1)

    def step() -> None:
        detector.zero_grad(set_to_none=True)
        torch.manual_seed(0)
        batch_loss(detector, detector(images, annotated), annotated, phase).total().backward()

    return step


def seconds(name: str, repeats: int) -> tuple[float, float]:
    """The least time of a step, plain and with DMiner."""
    steps = {variant: prepare(name, variant) for variant in ("plain", "dminer")}
    times: dict[str, list[float]] = {variant: [] for variant in steps}
    for _ in range(repeats + 1):
        for variant, step in steps.items():
            began = time.process_time()
            step()
            times[variant].append(time.process_time() - began)
    # The first of each warms up.
    return min(times["plain"][1:]), min(times["dminer"][1:])


def peak_mib(name: str, variant: str) -> float:
    """Peak resident memory of a step; run in a process of its own."""
    return memory.peak_mib(prepare(name, variant))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, one thread, least of {arguments.repeats}")
    print(f"{'family':<20}{'plain s':>9}{'DMiner s':>10}{'ratio':>7}{'plain MiB':>11}{'DMiner MiB':>12}{'ratio':>7}")
    for name in arguments.families:
        plain_s, dminer_s = seconds(name, arguments.repeats)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as fresh:
            plain_mib, dminer_mib = fresh.map(peak_mib, (name, name), ("plain", "dminer"))
        print(
            f"{name:<20}{plain_s:>9.2f}{dminer_s:>10.2f}{dminer_s / plain_s:>7.2f}"
            f"{plain_mib:>11.0f}{dminer_mib:>12.0f}{dminer_mib / plain_mib:>7.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
