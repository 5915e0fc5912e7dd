"""What SPLG and PGCL cost: a training step at the paper's size with them and without.

Four images of 512 x 512, CenterNet-R18 with 64 feature channels on a 128 x 128 grid, 80 classes, three
annotated classes an image. *step* is forward, loss and backward; *loss* is the loss and its backward alone,
from features and scores. Processor time on one thread, the least of alternating repeats; peak memory of a
fresh process for each variant, above what it held before.

Run: OMP_NUM_THREADS=1 python tests/benchmarks/bench_dminer.py [--repeats 3]
"""

# ruff: noqa: T201  (a benchmark prints its table)

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING

import memory
import torch

from siod.detectors.networks.centernet import CenterNetDetector, CenterNetOutputs
from siod.detectors.zoo import CENTERNET_R18
from siod.dminer.mining.levels import mine
from siod.dminer.pgcl import PGCL
from siod.dminer.splg import SPLG
from siod.types import Target

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES, CHANNELS, CLASSES, SIDE_PX, SIDE = 4, 64, 80, 512, 128
PER_IMAGE = 3


def targets() -> list[Target]:
    """Boxes of 40 to 200 px, each of a class of its own."""
    found = []
    for _ in range(IMAGES):
        corners = torch.rand(PER_IMAGE, 2) * 300
        boxes = torch.cat([corners, corners + 40 + torch.rand(PER_IMAGE, 2) * 160], dim=1)
        found.append(Target(boxes, torch.randperm(CLASSES)[:PER_IMAGE], boxes[:0], torch.zeros(0, dtype=torch.long)))
    return found


def loss_of(detector: CenterNetDetector, outputs: CenterNetOutputs, annotated: list[Target], *, dminer: bool) -> None:
    """Encode, mine, compare, and go backward."""
    encoded = detector.encode(annotated, outputs)
    splg, pgcl = (SPLG(), PGCL()) if dminer else (None, None)
    mining = mine(detector.levels(outputs, encoded), splg=splg, pgcl=pgcl)
    terms = {**detector.losses(outputs, encoded, mining.mined), **mining.terms}
    torch.stack([term.mean() for term in terms.values()]).sum().backward()


def prepare(part: str) -> Callable[[bool], None]:
    """Everything that is there before a step, and the step itself: with miners or without."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    detector = CenterNetDetector(CENTERNET_R18, CLASSES)
    annotated = targets()
    if part == "step":
        images = torch.randint(0, 256, (IMAGES, 3, SIDE_PX, SIDE_PX), dtype=torch.uint8)

        def step(dminer: bool) -> None:  # noqa: FBT001  (two variants of one thing)
            detector.zero_grad(set_to_none=True)
            loss_of(detector, detector(images), annotated, dminer=dminer)

        return step
    features = torch.randn(IMAGES, CHANNELS, SIDE, SIDE).relu().contiguous(memory_format=torch.channels_last)
    logits = (torch.randn(IMAGES, CLASSES, SIDE, SIDE) - 2).requires_grad_()
    maps = torch.rand(IMAGES, 2, SIDE, SIDE, requires_grad=True)
    features.requires_grad_()

    def loss(dminer: bool) -> None:  # noqa: FBT001
        for leaf in (features, logits, maps):
            leaf.grad = None
        loss_of(detector, CenterNetOutputs(features, logits.sigmoid(), maps, maps * 2), annotated, dminer=dminer)

    return loss


def seconds(part: str, repeats: int) -> tuple[float, float]:
    """The least time of the part without miners and with them."""
    work = prepare(part)
    times: dict[bool, list[float]] = {False: [], True: []}
    for index in range(2 * (repeats + 1)):
        dminer = bool(index % 2)
        began = time.process_time()
        work(dminer)
        times[dminer].append(time.process_time() - began)
    # The first of each warms up.
    return min(times[False][1:]), min(times[True][1:])


def peak_mib(part: str, dminer: bool) -> float:  # noqa: FBT001
    """Peak resident memory of the part; run in a process of its own."""
    return memory.peak_mib(partial(prepare(part), dminer))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    print(f"torch {torch.__version__}, one thread, least of {repeats}")
    print(f"{'part':<6}{'base s':>9}{'DMiner s':>10}{'ratio':>7}{'base MiB':>10}{'DMiner MiB':>12}{'ratio':>7}")
    for part in ("step", "loss"):
        base_s, dminer_s = seconds(part, repeats if part == "step" else 5 * repeats)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as fresh:
            base_mib, dminer_mib = fresh.map(peak_mib, (part, part), (False, True))
        print(
            f"{part:<6}{base_s:>9.3f}{dminer_s:>10.3f}{dminer_s / base_s:>7.2f}"
            f"{base_mib:>10.0f}{dminer_mib:>12.0f}{dminer_mib / base_mib:>7.2f}"
        )


if __name__ == "__main__":
    main()
