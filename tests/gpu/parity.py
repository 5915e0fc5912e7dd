"""The same weights and the same batch on the CPU and on the GPU: losses, gradients, mined masks."""

from __future__ import annotations

import copy
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from scenes import TINY, TINY_DEFORMABLE, fresh, scene_batch
from training import kernels

from siod.detectors.networks import faster_rcnn_c4
from siod.training.arithmetic import HALF as HALVES
from siod.training.arithmetic import matmul_precision
from siod.training.phases import Phase
from siod.training.step import batch_loss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reporting import Report, Setting
    from scenes import Family
    from torch import Tensor

    from siod.detectors.detector import Detector
    from siod.types import Batch

LOSS_SCALE = 1024.0
"""Keeps small gradients above fp16's least number; large ones stay far below its greatest."""
LEAST_SHARE = 1e-3
"""A parameter whose gradient is less than this share of the whole is compared with that share: before a normalisation
a bias has no effect, and its gradient is rounding alone."""


class Apart(NamedTuple):
    """How far the two devices are apart, or may be; None asks for finite numbers alone.

    Attributes:
        loss: Of each term, relative.
        gradient: Of every entry, relative to the largest of all.
        parameter: Of each parameter's gradient, in 2-norm, relative.
        mask: Share of entries in which what was mined differs.
    """

    loss: float | None
    gradient: float | None
    parameter: float | None
    mask: float | None


FP32 = Apart(loss=1e-4, gradient=1e-3, parameter=1e-2, mask=1e-3)
"""Two kernels for the same operation on one CPU are 1e-6, 1e-4, 2e-3 and 0 apart: a position next to a kink of the
loss may end on its other side."""
HALF = Apart(loss=5e-2, gradient=None, parameter=None, mask=1e-2)
"""Likewise 3e-2 and 5e-3 for losses and masks; gradients of fresh networks are apart by a third of their norm."""


class Step(NamedTuple):
    """What one step computes, on the CPU and in float32."""

    losses: dict[str, float]
    gradients: dict[str, Tensor]
    masks: dict[str, Tensor]


def fp32(setting: Setting, report: Report) -> None:
    """In float32 proper, without TF32."""
    _compare_all(setting, report, "fp32", FP32)


def half(setting: Setting, report: Report) -> None:
    """Under autocast, each precision against itself on the CPU."""
    for precision in HALVES:
        _compare_all(setting, report, precision, HALF)


def _compare_all(setting: Setting, report: Report, precision: str, limits: Apart) -> None:
    for name, family in {**TINY, **TINY_DEFORMABLE}.items():
        for miners in (False, True):
            variant = f"{name}{'_dminer' if miners else ''}_{precision}"
            with report.part(variant):
                apart = _apart(*_on_both(setting, family, precision, miners=miners))
                report.figures(**{variant: apart._asdict()})
                _judge(report, variant, apart, limits)


def _on_both(setting: Setting, family: Family, precision: str, *, miners: bool) -> tuple[Step, Step]:
    """One step on the CPU and the same on the device."""
    batch = scene_batch(setting.size(8, 2), 96, 96, classes=5)
    detector = fresh(family.mining if miners else family.plain, classes=5)
    phase = Phase(1, 1, splg=family.dminer.splg, pgcl=family.dminer.pgcl) if miners else Phase(1, 1)
    with sampled_on_the_cpu() as replay, kernels(precision, setting.device):
        ours = _step(copy.deepcopy(detector), batch, phase, precision, "cpu")
        replay(setting.device)
        return ours, _step(detector, batch, phase, precision, setting.device)


def _judge(report: Report, variant: str, apart: Apart, limits: Apart) -> None:
    for quantity, limit, found in zip(Apart._fields, limits, apart, strict=True):
        if limit is None:
            report.require(math.isfinite(found), f"{variant}: {quantity} is not finite")
        else:
            report.require(found <= limit, f"{variant}: {quantity} differs by {found:.2g} (at most {limit:g})")


def _step(detector: Detector, batch: Batch, phase: Phase, precision: str, device: str) -> Step:
    detector = detector.to(device).to(memory_format=torch.channels_last)
    batch = batch.to(device)
    torch.manual_seed(1)
    with matmul_precision(detector, precision):
        outputs = detector(batch.images, batch.targets)
        loss = batch_loss(detector, outputs, batch.targets, phase)
    (loss.total() * LOSS_SCALE).backward()
    gradients = {
        name: parameter.grad.float().cpu() / LOSS_SCALE
        for name, parameter in detector.named_parameters()
        if parameter.grad is not None
    }
    masks = {
        f"{miner} {level}": mask.cpu()
        for miner, levels in loss.mining.masks().items()
        for level, mask in enumerate(levels)
    }
    return Step({name: float(part.detach()) for name, part in loss.parts.items()}, gradients, masks)


def _apart(ours: Step, theirs: Step) -> Apart:
    """How far two steps are apart; infinitely if a number is not finite or something is there in one alone."""
    if not all(one.keys() == other.keys() for one, other in zip(ours, theirs, strict=True)):
        return Apart(*[float("inf")] * 4)
    losses = [abs(theirs.losses[name] - value) / max(abs(value), 1e-6) for name, value in ours.losses.items()]
    differences = {name: theirs.gradients[name] - one for name, one in ours.gradients.items()}
    largest = max(float(gradient.abs().max()) for gradient in ours.gradients.values())
    norm = math.hypot(*(float(gradient.norm()) for gradient in ours.gradients.values()))
    return Apart(
        loss=_greatest(losses),
        gradient=_greatest([float(difference.abs().max()) / largest for difference in differences.values()]),
        parameter=_greatest(
            [
                float(difference.norm()) / max(float(ours.gradients[name].norm()), LEAST_SHARE * norm)
                for name, difference in differences.items()
            ]
        ),
        mask=_greatest([float((theirs.masks[name] != one).float().mean()) for name, one in ours.masks.items()]),
    )


def _greatest(values: list[float]) -> float:
    """The greatest of all; infinity if one is no number."""
    return max((value if math.isfinite(value) else math.inf for value in values), default=0.0)


@contextmanager
def sampled_on_the_cpu() -> Iterator[Callable[[str], None]]:
    """Let a second Faster R-CNN see the regions and anchors that the first one sampled.

    Which ones are drawn depends on the device's random numbers, and on the order of proposals of nearly equal scores;
    with other ones the losses would be others.

    Yields:
        To be called with the second one's device, once the first is through.
    """
    drawn: dict[str, Any] = {}
    device: list[str] = []
    names = ("sample_regions", "sample_anchors")
    original = {name: getattr(faster_rcnn_c4, name) for name in names}

    def recorded(name: str) -> Callable[..., Any]:
        def sample(*args: Any, **kwargs: Any) -> Any:
            if device:
                return _moved(drawn[name], device[0])
            drawn[name] = original[name](*args, **kwargs)
            return drawn[name]

        return sample

    try:
        for name in names:
            setattr(faster_rcnn_c4, name, recorded(name))
        yield device.append
    finally:
        for name in names:
            setattr(faster_rcnn_c4, name, original[name])


def _moved(value: Any, device: str) -> Any:
    """Tensors, also inside tuples, on a device; what is neither stays as it is."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if not isinstance(value, tuple):
        return value
    moved = [_moved(entry, device) for entry in value]
    return type(value)(*moved) if hasattr(value, "_fields") else type(value)(moved)
