"""Detectors of random weights to make checks on, and what they say of tiny inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from siod.detectors.zoo import build
from siod.dminer.pgcl import PGCL
from siod.dminer.splg import SPLG
from siod.testing.scenes import ap50, digit_scenes, noise, two_targets
from siod.training.phases import Phase
from siod.training.step import batch_loss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from siod.detectors.detector import Detector, DetectorSpec
    from siod.training.step import BatchLoss
    from siod.types import Detections, Target

CLASSES = 3
PIXELS = 1e-2
"""How far boxes may lie apart that are the same but for rounding."""
BY_HEART = 0.9
"""The AP50 of a detector that knows its few scenes."""


def fresh(spec: DetectorSpec, classes: int = CLASSES) -> Detector:
    """A detector with the same random weights at every call, in training mode.

    Args:
        spec: Its settings.
        classes: How many it tells apart.
    """
    torch.manual_seed(0)
    return build(spec, num_classes=classes)


def eager(spec: DetectorSpec, classes: int = CLASSES) -> Detector:
    """A detector that finds something: its heads are spread out, the backbone (and a pyramid on it) is as built.

    Args:
        spec: Its settings.
        classes: How many it tells apart.
    """
    detector = fresh(spec, classes)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            if not name.startswith(("backbone.", "fpn.")) and parameter.dim() != 1:
                parameter.normal_(std=0.1, generator=generator)
            elif name.endswith("cls_logits.bias"):
                parameter.zero_()
    return detector


def with_fixed_statistics(detector: Detector) -> Detector:
    """The detector itself, its batch normalisation no longer looking at the batch."""
    for module in detector.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    return detector


def side_of(detector: Detector) -> int:
    """The least side of an input that holds 96 pixels, which the boxes of ``two_targets`` lie within."""
    return -(-96 // detector.size_divisor) * detector.size_divisor


def noise_for(detector: Detector, images: int) -> Tensor:
    """Square images of noise that a detector takes."""
    return noise(images, side_of(detector), side_of(detector))


def miners(spec: DetectorSpec) -> Phase:
    """Both miners at work, or none for settings without maps to mine."""
    if not spec.mined_levels():
        return Phase(1, 1)
    return Phase(1, 1, splg=SPLG(min_similarity=-1.0), pgcl=PGCL(top_m=8))


def loss_of(detector: Detector, spec: DetectorSpec, images: Tensor, targets: Sequence[Target]) -> BatchLoss:
    """The loss of images with both miners, from the same state of torch's generator at every call."""
    torch.manual_seed(1)
    return batch_loss(detector, detector(images, targets), targets, miners(spec))


def losses_without_and_with_labels(spec: DetectorSpec) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The losses of one fresh detector on two images, without miners and with all pseudo labels there can be.

    Args:
        spec: Its settings, with at least one map to mine.
    """
    detector, targets = fresh(spec), two_targets()
    torch.manual_seed(3)
    outputs = detector(noise_for(detector, 2), targets)
    without = batch_loss(detector, outputs, targets, Phase(1, 1))
    return without.parts, batch_loss(detector, outputs, targets, Phase(1, 1, splg=SPLG(min_similarity=-1.0))).parts


def equal(one: Detections, other: Detections) -> bool:
    """Whether two images' detections are the same to the bit."""
    pairs = ((one.boxes_xyxy, other.boxes_xyxy), (one.scores, other.scores), (one.labels, other.labels))
    return all(torch.equal(mine, theirs) for mine, theirs in pairs)


def alike(one: Detections, other: Detections) -> bool:
    """Whether two images' detections are the same but for rounding; equal scores may change places."""
    if len(one.labels) != len(other.labels):
        return False
    if not len(one.labels):
        return True
    first, second = (
        torch.cat([each.boxes_xyxy, each.scores[:, None] * 100, each.labels[:, None] * 1000], dim=1)
        for each in (one, other)
    )
    farthest = (first[:, None] - second).abs().amax(dim=2)
    near = bool(farthest.amin(dim=0).max() < PIXELS) and bool(farthest.amin(dim=1).max() < PIXELS)
    return near and torch.allclose(one.scores, other.scores, rtol=1e-4, atol=1e-5)


def learnt_by_heart(spec: DetectorSpec, *, images: int, steps: int) -> float:
    """Train a fresh detector on a few scenes of digits until it finds what they show.

    Args:
        spec: Its settings.
        images: How many scenes; all in every batch.
        steps: Of Adam, at the most; every 20th from the 60th on it is judged.

    Returns:
        AP50 on the same scenes, in [0, 1]; the first that reaches ``BY_HEART``, or else the last.
    """
    detector = fresh(spec, classes=5)
    batch = digit_scenes(images, side_of(detector))
    optimiser = torch.optim.Adam(detector.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    reached = 0.0
    for step in range(1, steps + 1):
        loss = batch_loss(detector, detector(batch.images, batch.targets), batch.targets, Phase(1, 1))
        optimiser.zero_grad()
        torch.autograd.backward(loss.total())
        optimiser.step()
        schedule.step()
        if step in range(60, steps + 1, 20):
            with torch.inference_mode():
                reached = ap50(batch, detector.eval().decode(detector(batch.images)), classes=5)
            detector.train()
            if reached >= BY_HEART:
                break
    return reached
