"""One step of a method on a few scenes of digits, and batches to make it on."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import torch

from siod.data.annotation_sets import Keep, Policy, WholeImages
from siod.data.digits import Digits
from siod.methods.method import Moment
from siod.methods.zoo import build_method
from siod.testing.scenes import first_batch, target
from siod.training.phases import Phase
from siod.training.step import DetectorAndMiners, normalised
from siod.types import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from siod.detectors.detector import Detector
    from siod.methods.method import Method, MethodSpec

SCENES = Digits(train_images=8, val_images=2)
CLASSES = 5
FIRST = Moment(seed=0, epoch=1, step=0, steps=2, epochs=2)


class Step(NamedTuple):
    """The weighted loss terms of a step, the gradients they give to the detector, and what the method reports."""

    parts: dict[str, Tensor]
    gradients: dict[str, Tensor]
    figures: dict[str, float]


def sparse_batch() -> Batch:
    """Four scenes with one annotated instance per category and image."""
    return _copied(_batch(Keep(k=1)))


def mixed_batch() -> Batch:
    """Four scenes, some wholly annotated, some bare."""
    return _copied(_batch(WholeImages()))


def bare_batch() -> Batch:
    """The bare ones of the mixed batch, as a worker's share may be."""
    batch = mixed_batch()
    return part_of(batch, [index for index, annotated in enumerate(batch.annotated or ()) if not annotated])


def empty_batch() -> Batch:
    """The sparse batch without a single box."""
    batch = sparse_batch()
    return replace(batch, targets=tuple(target([], []) for _ in batch.targets))


@cache
def _batch(policy: Policy) -> Batch:
    return first_batch(SCENES, policy, images=4)


def _copied(batch: Batch) -> Batch:
    """With images of its own, so that a method that changes them in place spoils no other check."""
    return replace(batch, images=batch.images.clone())


def part_of(batch: Batch, rows: Sequence[int]) -> Batch:
    """Some images of a batch, as a worker's share.

    Args:
        batch: It is not changed.
        rows: Which images.
    """
    return Batch(
        batch.images[list(rows)],
        tuple(batch.targets[row] for row in rows),
        tuple(batch.image_ids[row] for row in rows),
        batch.to_original[list(rows)],
        None if batch.annotated is None else tuple(batch.annotated[row] for row in rows),
    )


def made(spec: MethodSpec | None, detector: Detector) -> Method:
    """The method at the start of a run, with the detector's own weights as its teacher's if it needs one."""
    method = build_method(spec, detector)
    if spec is not None and spec.needs_teacher():
        method.receive_teacher(detector.state_dict())
    return method


def a_step(detector: Detector, spec: MethodSpec | None, batch: Batch, phase: Phase | None = None) -> Step:
    """Everything of a training step but the update.

    Args:
        detector: Its gradients are those of the step afterwards.
        spec: The method; None for training without one.
        batch: It is not changed.
        phase: The miners at work; none when None.
    """
    detector.zero_grad(set_to_none=True)
    method = made(spec, detector)
    torch.manual_seed(1)
    views = method.views(batch, FIRST)
    criterion = DetectorAndMiners(detector, phase or Phase(1, 2))
    objective = method.objective(views, detector(views.images, views.targets), criterion)
    parts = normalised(objective.parts, 1)
    torch.autograd.backward(torch.stack(list(parts.values())).sum())
    gradients = {name: value.grad for name, value in detector.named_parameters() if value.grad is not None}
    return Step(parts, gradients, {name: float(term.mean()) for name, term in objective.figures.items()})
