"""What the miners cost: a training step at the paper's size without them, with SPLG and PGCL, and with reject.

Four images of 512 x 512, CenterNet-R18 with 64 feature channels on a 128 x 128 grid, 80 classes, three
annotated classes an image, which may hide more instances. *step* is forward, loss and backward; *loss* is the loss
and its backward alone, from features and scores. Processor time on one thread, the least of alternating repeats;
peak memory of a fresh process for each variant, above what it held before.

Run: OMP_NUM_THREADS=1 python tests/benchmarks/bench_dminer.py [--repeats 3]
"""

# ruff: noqa: T201  (a benchmark prints its table)

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import memory
import torch

from siod.detectors.networks.centernet import CenterNetDetector, CenterNetOutputs
from siod.detectors.zoo import CENTERNET_R18
from siod.dminer.mining.levels import mine
from siod.dminer.pgcl import PGCL
from siod.dminer.reject import Reject
from siod.dminer.splg import SPLG
from siod.state import State
from siod.types import Target, stacked_states

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES, CHANNELS, CLASSES, SIDE_PX, SIDE = 4, 64, 80, 512, 128
PER_IMAGE = 3
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "DMiner": {"splg": SPLG(), "pgcl": PGCL()},
    "reject": {"rejected_share": Reject().max_share},
}


def targets() -> list[Target]:
    """Boxes of 40 to 200 px, each of a class of its own."""
    found = []
    for _ in range(IMAGES):
        corners = torch.rand(PER_IMAGE, 2) * 300
        boxes = torch.cat([corners, corners + 40 + torch.rand(PER_IMAGE, 2) * 160], dim=1)
        labels = torch.randperm(CLASSES)[:PER_IMAGE]
        states = torch.full((CLASSES,), State.ABSENT, dtype=torch.int8).index_fill(0, labels, State.SOME)
        found.append(Target(boxes, labels, boxes[:0], labels[:0], states, some_unlabelled=False))
    return found


def loss_of(detector: CenterNetDetector, outputs: CenterNetOutputs, annotated: list[Target], variant: str) -> None:
    """Encode, mine, compare, and go backward."""
    encoded = detector.encode(annotated, outputs)
    mining = mine(detector.levels(outputs, encoded), states=stacked_states(annotated), **VARIANTS[variant])
    terms = {**detector.losses(outputs, encoded, mining.mined), **mining.terms}
    torch.stack([term.mean() for term in terms.values()]).sum().backward()


def prepare(part: str) -> Callable[[str], None]:
    """Everything that is there before a step, and the step itself, of a variant."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    detector = CenterNetDetector(CENTERNET_R18, CLASSES)
    annotated = targets()
    if part == "step":
        images = torch.randint(0, 256, (IMAGES, 3, SIDE_PX, SIDE_PX), dtype=torch.uint8)

        def step(variant: str) -> None:
            detector.zero_grad(set_to_none=True)
            loss_of(detector, detector(images), annotated, variant)

        return step
    features = torch.randn(IMAGES, CHANNELS, SIDE, SIDE).relu().contiguous(memory_format=torch.channels_last)
    logits = (torch.randn(IMAGES, CLASSES, SIDE, SIDE) - 2).requires_grad_()
    maps = torch.rand(IMAGES, 2, SIDE, SIDE, requires_grad=True)
    features.requires_grad_()

    def loss(variant: str) -> None:
        for leaf in (features, logits, maps):
            leaf.grad = None
        loss_of(detector, CenterNetOutputs(features, logits.sigmoid(), maps, maps * 2), annotated, variant)

    return loss


def seconds(part: str, repeats: int) -> dict[str, float]:
    """The least time of the part for each variant."""
    work = prepare(part)
    times: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(repeats + 1):
        for variant, of_variant in times.items():
            began = time.process_time()
            work(variant)
            of_variant.append(time.process_time() - began)
    # The first of each warms up.
    return {variant: min(of_variant[1:]) for variant, of_variant in times.items()}


def peak_mib(part: str, variant: str) -> float:
    """Peak resident memory of the part; run in a process of its own."""
    return memory.peak_mib(partial(prepare(part), variant))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    print(f"torch {torch.__version__}, one thread, least of {repeats}")
    print(f"{'part':<6}{'variant':<9}{'s':>8}{'ratio':>8}{'MiB':>8}{'ratio':>8}")
    for part in ("step", "loss"):
        times = seconds(part, repeats if part == "step" else 5 * repeats)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as fresh:
            peaks = dict(zip(VARIANTS, fresh.map(peak_mib, [part] * len(VARIANTS), VARIANTS), strict=True))
        for variant, took in times.items():
            held = peaks[variant]
            print(
                f"{part:<6}{variant:<9}{took:>8.3f}{took / times['base']:>8.3f}{held:>8.0f}{held / peaks['base']:>8.2f}"
            )


if __name__ == "__main__":
    main()
