"""What each method costs: a training step with it beside the plain detector's.

CenterNet-R18 with 80 classes, images of 512 x 512, three annotated classes an image, any image open to pseudo boxes. A
step is views, forward, loss, backward and what follows the update (the optimiser's own work is the same for all).
Processor time on one thread, the least of alternating repeats; peak memory of a fresh process for each method, above
what it held before, teachers included.

Run: OMP_NUM_THREADS=1 python tests/benchmarks/bench_methods.py [--repeats 2] [--images 2] [--methods csd comining]
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

from siod.detectors.zoo import CENTERNET_R18, build
from siod.methods.co_student import CoStudent
from siod.methods.comining import CoMining
from siod.methods.csd import CSD
from siod.methods.mean_teacher import MeanTeacher
from siod.methods.method import Moment
from siod.methods.pseudo import PseudoBoxes
from siod.methods.teacher_student import TeacherStudent
from siod.methods.zoo import build_method
from siod.state import State
from siod.training.phases import Phase
from siod.training.step import DetectorAndMiners, normalised
from siod.types import Batch, Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from siod.methods.spec import MethodSpec

CLASSES, SIDE_PX, PER_IMAGE = 80, 512, 3
LOW = PseudoBoxes(min_score=0.05)
METHODS: dict[str, MethodSpec | None] = {
    "none": None,
    "csd": CSD(),
    "comining": CoMining(),
    "teacher_student": TeacherStudent(),
    "mean_teacher": MeanTeacher(start_epoch=0),
    "co_student": CoStudent(start_epoch=0),
    # The same detections with a fixed threshold, and with one from decoys.
    "teacher_0.05": TeacherStudent(pseudo=LOW),
    "teacher_decoys": TeacherStudent(pseudo=LOW.with_changes({"clean": True, "max_fdr": 0.1})),
}


def a_batch(images: int) -> Batch:
    """Noise with boxes of 40 to 200 px, each of a class of its own."""
    targets = []
    for _ in range(images):
        corners = torch.rand(PER_IMAGE, 2) * 300
        boxes = torch.cat([corners, corners + 40 + torch.rand(PER_IMAGE, 2) * 160], dim=1)
        labels = torch.randperm(CLASSES)[:PER_IMAGE]
        states = torch.zeros(CLASSES, dtype=torch.int8).index_fill_(0, labels, int(State.SOME))
        targets.append(Target(boxes, labels, boxes[:0], labels[:0], states))
    pixels = torch.randint(0, 256, (images, 3, SIDE_PX, SIDE_PX), dtype=torch.uint8)
    return Batch(pixels, tuple(targets), tuple(range(images)), torch.zeros(images, 2, 3))


def prepare(name: str, images: int) -> Callable[[], None]:
    """Everything that is there before a step, and the step itself."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    detector, batch, spec = build(CENTERNET_R18, num_classes=CLASSES), a_batch(images), METHODS[name]
    method, moment = build_method(spec, detector), Moment(seed=0, epoch=1, step=0, steps=2, epochs=1)
    if spec is not None and spec.needs_teacher():
        method.receive_teacher(detector.state_dict())

    def step() -> None:
        detector.zero_grad(set_to_none=True)
        views = method.views(batch, moment)
        outputs = detector(views.images, views.targets)
        objective = method.objective(views, outputs, DetectorAndMiners(detector, Phase(1, 1)))
        torch.stack(list(normalised(objective.parts, 1).values())).sum().backward()
        method.after_update(moment)

    return step


def seconds(names: list[str], repeats: int, images: int) -> dict[str, float]:
    """The least time of a step with each method."""
    steps = {name: prepare(name, images) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(repeats + 1):
        for name, step in steps.items():
            began = time.process_time()
            step()
            times[name].append(time.process_time() - began)
    # The first of each warms up.
    return {name: min(of_method[1:]) for name, of_method in times.items()}


def peak_mib(name: str, images: int) -> float:
    """Peak resident memory of a method's step, detectors included; run in a process of its own."""

    def whole() -> None:
        prepare(name, images)()

    return memory.peak_mib(whole)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    arguments = parser.parse_args()
    names = ["none", *(name for name in arguments.methods if name != "none")]
    print(f"torch {torch.__version__}, one thread, {arguments.images} images, least of {arguments.repeats}")
    print(f"{'method':<18}{'step s':>8}{'ratio':>7}{'MiB':>8}{'ratio':>7}")
    times = seconds(names, arguments.repeats, arguments.images)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as fresh:
        peaks = dict(zip(names, fresh.map(partial(peak_mib, images=arguments.images), names), strict=True))
    for name in names:
        print(
            f"{name:<18}{times[name]:>8.2f}{times[name] / times['none']:>7.2f}"
            f"{peaks[name]:>8.0f}{peaks[name] / peaks['none']:>7.2f}"
        )


if __name__ == "__main__":
    main()
