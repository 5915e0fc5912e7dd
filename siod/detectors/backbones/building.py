"""Backbones made of settings: ResNets of our own, and somebody else's models up to their last stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siod.detectors.backbones.architectures import LAYOUTS
from siod.detectors.backbones.norms import with_norm
from siod.detectors.backbones.reading import read_model, whole_model
from siod.detectors.backbones.resnet import ResNet
from siod.detectors.backbones.staged import StagedBackbone

if TYPE_CHECKING:
    from siod.detectors.backbones.backbone import Backbone
    from siod.detectors.backbones.names import BackboneSpec


def build_backbone(spec: BackboneSpec) -> Backbone:
    """Build the backbone a detector asks for, with random weights.

    Args:
        spec: Names the architecture, its width and its normalisation.
    """
    if spec.backbone in LAYOUTS:
        return ResNet(spec.backbone, base_width=spec.base_width, norm=spec.norm)
    read = read_model(spec.backbone)
    model = with_norm(whole_model(spec.backbone), spec.norm)
    return StagedBackbone(spec.backbone, model, read.stages, pixels=read.pixels)


def freeze_stages(backbone: Backbone, stages: int) -> None:
    """Let the first parts of a backbone learn nothing.

    Args:
        backbone: Changed in place.
        stages: How many parts, 0 to 4, the stem counting as one.
    """
    for part in backbone.freezable()[:stages]:
        part.requires_grad_(False)
