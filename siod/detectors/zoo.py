"""The papers' detectors as named values, and how a value becomes a detector."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siod.detectors.centernet import CenterNet, CenterNetDetector

if TYPE_CHECKING:
    from siod.detectors.detector import Detector

CENTERNET_R18 = CenterNet(backbone="resnet18")
CENTERNET_R101 = CenterNet(backbone="resnet101")
# For scenes of about 100 px: a quarter of the width, no max-pooling, two doublings from stride 16.
CENTERNET_TINY = CenterNet(
    backbone="tiny_resnet18", base_width=16, upsampling="plain", upsampling_channels=(64, 32), head_channels=32
)


def build(spec: CenterNet, *, num_classes: int) -> Detector:
    """Build a detector with random weights.

    Args:
        spec: Its architecture.
        num_classes: How many classes it tells apart, at least 1.

    Returns:
        On the CPU, in training mode.

    Raises:
        ValueError: ``num_classes`` is below 1.

    Example:
        >>> build(CENTERNET_TINY, num_classes=5).num_classes
        5
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    return CenterNetDetector(spec, num_classes)
