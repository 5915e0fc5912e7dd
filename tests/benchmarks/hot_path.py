"""Counts for ``bench_hot_path.py``, of whichever siod is imported; prints them as one line of JSON."""

# ruff: noqa: T201  (its output is read by the benchmark)

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

import memory
import torch
from host_cost import HostCost

from siod.detectors import zoo
from siod.dminer.mining.levels import Mining
from siod.dminer.pgcl import PGCL
from siod.dminer.splg import SPLG
from siod.methods.co_student import CoStudent
from siod.methods.comining import CoMining
from siod.methods.csd import CSD
from siod.methods.mean_teacher import MeanTeacher
from siod.methods.method import Moment
from siod.methods.pseudo import PseudoBoxes
from siod.methods.teacher_student import TeacherStudent
from siod.methods.zoo import build_method
from siod.training import loop
from siod.training.distributed import average_statistics
from siod.training.mining_log import FigureLog, MiningLog
from siod.training.optim import build_optimiser, build_schedule
from siod.training.phases import Phase
from siod.training.presets import DIGITS_RECIPE
from siod.training.step import DetectorAndMiners, normalised, refuse_nonfinite
from siod.types import Batch, Grid, Mined, Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from siod.detectors.spec import DetectorSpec
    from siod.methods.spec import MethodSpec

CLASSES, SIDE_PX, ANNOTATED, HIDDEN = 80, 128, 3, 6
EAGER = PseudoBoxes(min_score=0.2)
FAMILIES: dict[str, DetectorSpec] = {
    "centernet": zoo.CENTERNET_TINY,
    "fcos": zoo.FCOS_TINY,
    "retinanet": zoo.RETINANET_TINY,
    "faster_rcnn": zoo.FASTER_RCNN_TINY_MINING,
}
METHODS: dict[str, MethodSpec] = {
    "csd": CSD(foreground_score=0.2),
    "comining": CoMining(pseudo=EAGER),
    "teacher_student": TeacherStudent(pseudo=EAGER),
    "mean_teacher": MeanTeacher(pseudo=EAGER, start_epoch=0),
    "co_student": CoStudent(pseudo=EAGER, student=EAGER, start_epoch=0),
}
# SPLG labels three positions of ten, as it does on digits; and PGCL's best ones.
FOUND, BEST, JUDGED_IMAGES = 5000, 128, (16, 28, 57)


def a_batch(images: int, *, side_px: int = SIDE_PX) -> Batch:
    """Noise with annotated boxes, each of a class of its own, and hidden ones of those classes."""
    generator = torch.Generator().manual_seed(0)
    targets = []
    for _ in range(images):
        corners = torch.rand(ANNOTATED + HIDDEN, 2, generator=generator) * side_px * 0.6
        sizes = (0.1 + 0.3 * torch.rand(ANNOTATED + HIDDEN, 2, generator=generator)) * side_px
        boxes = torch.cat([corners, corners + sizes], dim=1)
        labels = torch.randperm(CLASSES, generator=generator)[:ANNOTATED]
        hidden_labels = labels.repeat(HIDDEN // ANNOTATED)
        targets.append(Target(boxes[:ANNOTATED], labels, boxes[ANNOTATED:], hidden_labels))
    pixels = torch.randint(0, 256, (images, 3, side_px, side_px), dtype=torch.uint8, generator=generator)
    return Batch(pixels, tuple(targets), tuple(range(images)), torch.zeros(images, 2, 3))


def a_learner(spec: DetectorSpec, method_spec: MethodSpec | None) -> loop.Learner:
    """A fresh detector that finds something, with its optimiser and method."""
    torch.manual_seed(0)
    detector = zoo.build(spec, num_classes=CLASSES)
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            if name.endswith(("cls_logits.bias", "heatmap_head.2.bias")):
                parameter.fill_(-1.0)
            elif name.endswith("size_head.2.bias"):
                parameter.fill_(4.0)
    method = build_method(method_spec, detector)
    if method_spec is not None and method_spec.needs_teacher():
        method.receive_teacher(detector.state_dict())
    optimiser = build_optimiser(detector, DIGITS_RECIPE)
    schedule = build_schedule(optimiser, DIGITS_RECIPE, steps_per_epoch=100, epochs=1)
    detector.train()
    return loop.Learner(detector, method, detector, optimiser, schedule, torch.amp.GradScaler("cpu", enabled=False))


def a_step(learner: loop.Learner, batch: Batch, phase: Phase) -> Callable[[], None]:
    """The step of the loop that is imported."""
    moment = Moment(seed=0, epoch=1, step=0, steps=2, epochs=1)
    sums: dict[str, torch.Tensor] = {}
    mining, figures = MiningLog(), FigureLog()

    def earlier() -> None:
        """The sequence of commit 94b8280, whose loop had no function for it."""
        views = learner.method.views(batch, moment)
        outputs = learner.model(views.images, views.targets)
        criterion = DetectorAndMiners(learner.detector, phase)
        objective = learner.method.objective(views, outputs, criterion)
        losses = normalised(objective.parts, 1)
        parts = {name: part.detach() for name, part in losses.items()}
        numbers = dict(zip(parts, torch.stack(list(parts.values())).tolist(), strict=True))
        refuse_nonfinite(numbers, epoch=1, step=1, last_good="none yet")
        loop._update(learner, torch.stack(list(losses.values())).sum() * 1, clip_norm=None)
        average_statistics(learner.detector, 1)
        learner.method.after_update(moment)
        for name, part in parts.items():
            sums[name] = sums[name] + part if name in sums else part
        for mined, targets in criterion.mined:
            mining.add(mined, targets)
        figures.add(objective.figures)

    if not hasattr(loop, "train_step"):
        return earlier
    from siod.training.epoch_log import EpochLog  # noqa: PLC0415  (the earlier commit has none)

    arguments = {"phase": phase, "recipe": DIGITS_RECIPE, "epoch_log": EpochLog()}
    return lambda: loop.train_step(learner, batch, moment, **arguments)


def step_figures(spec: DetectorSpec, method: MethodSpec | None, images: int, *, dminer: bool) -> dict[str, float]:
    """Waits and launches of the second step: the first one sets up what lives on."""
    levels = spec.mined_levels()
    miners = {"splg": SPLG(), "pgcl": PGCL(top_m=16 if levels == 1 else (16,) * levels)} if dminer else {}
    step = a_step(a_learner(spec, method), a_batch(images), Phase(1, 1, **miners))
    step()
    with HostCost() as cost:
        step()
    return {"waits": cost.synchronisations, "launches": cost.operations}


def copy_figures(images: int) -> dict[str, float]:
    """Copies of a batch to a device, here one without memory."""
    batch = a_batch(images)
    with HostCost() as cost:
        batch.to("meta")
    return {"copies": cost.by_name["_to_copy"]}


def judged(images: int) -> tuple[Callable[[], object], dict[str, list[int]]]:
    """The judging of one step, and what it counts."""
    torch.set_num_threads(1)
    batch, side = a_batch(images, side_px=512), 128
    generator = torch.Generator().manual_seed(1)
    pseudo = torch.zeros(images, CLASSES, side * side)
    best = torch.zeros(images, CLASSES, side * side, dtype=torch.bool)
    for index, target in enumerate(batch.targets):
        for found, maps in ((FOUND, pseudo), (BEST, best)):
            positions = torch.randperm(side * side, generator=generator)[:found]
            classes = target.labels[torch.randint(0, ANNOTATED, (found,), generator=generator)]
            maps[index, classes, positions] = 1
    shape = (images, CLASSES, side, side)
    mining = Mining((Mined(pseudo.view(shape)),), {}, (best.view(shape),), (Grid(4, 2),))
    found = {name: counts.as_tensor().tolist() for name, counts in mining.counts(batch.targets).items()}
    return lambda: mining.counts(batch.targets), found


def judge_seconds(images: int) -> float:
    """The least processor time of three."""
    work, _ = judged(images)
    times = []
    for _ in range(3):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def judge_mib(images: int) -> float:
    """Peak memory of the judging; run in a process of its own."""
    work, _ = judged(images)
    return memory.peak_mib(work)


def judge_figures(images: int) -> dict[str, float]:
    """Time, memory and all counts of the judging."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as fresh:
        figures = {"seconds": fresh.submit(judge_seconds, images).result()}
        figures["MiB"] = fresh.submit(judge_mib, images).result()
    _, found = judged(images)
    names = ("images", "entries", "on_hidden", "on_annotated", "hidden", "recalled")
    for miner, counts in found.items():
        figures |= {f"{miner} {name}": count for name, count in zip(names, counts, strict=True)}
    return figures


def main() -> None:
    """Count what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", required=True)
    parser.add_argument("--only", nargs="*", default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, Callable[[], dict[str, float]]] = {}
    for images in arguments.images:
        for name, spec in FAMILIES.items():
            for dminer in (False, True):
                title = f"{name}{' + dminer' if dminer else ''}, {images} images"
                rows[title] = lambda s=spec, n=images, d=dminer: step_figures(s, None, n, dminer=d)
        for name, method in METHODS.items():
            rows[f"{name}, {images} images"] = lambda m=method, n=images: step_figures(
                FAMILIES["centernet"], m, n, dminer=False
            )
        rows[f"copies, {images} images"] = lambda n=images: copy_figures(n)
    for images in JUDGED_IMAGES:
        rows[f"judge, {images} images"] = lambda n=images: judge_figures(n)
    asked = {row: count for row, count in rows.items() if not arguments.only or any(p in row for p in arguments.only)}
    print(json.dumps({row: count() for row, count in asked.items()}))


if __name__ == "__main__":
    main()
