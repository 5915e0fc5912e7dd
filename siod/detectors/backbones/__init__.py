"""Backbones: their names, their layers, their weights.

What a detector from outside needs of them stands here; torch is loaded when one is built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from siod.detectors.backbones.names import stride_px

if TYPE_CHECKING:
    from siod.detectors.backbones.backbone import Backbone
    from siod.detectors.backbones.names import BackboneSpec

__all__ = ["build_backbone", "stride_px"]


def build_backbone(spec: BackboneSpec) -> Backbone:
    """Build the backbone a detector asks for, with random weights.

    Args:
        spec: Names the architecture, its width and its normalisation.
    """
    from siod.detectors.backbones.building import build_backbone as build  # noqa: PLC0415  (loads torch)

    return build(spec)
