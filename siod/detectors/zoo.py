"""The papers' detectors as named values, and how a value becomes a detector."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siod.detectors.centernet import CenterNet, CenterNetDetector
from siod.detectors.faster_rcnn_c4 import FasterRCNNC4, MiningBranch
from siod.detectors.region_head import RegionHead
from siod.detectors.region_proposals import ProposalNetwork

if TYPE_CHECKING:
    from siod.detectors.detector import Detector

CENTERNET_R18 = CenterNet(backbone="resnet18")
CENTERNET_R101 = CenterNet(backbone="resnet101")
# For scenes of about 100 px: a quarter of the width, no max-pooling, two doublings from stride 16.
CENTERNET_TINY = CenterNet(
    backbone="tiny_resnet18", base_width=16, upsampling="plain", upsampling_channels=(64, 32), head_channels=32
)

# The defaults are detectron2's R50-C4. DMiner works on the branch that _MINING has in training.
FASTER_RCNN_R50_C4 = FasterRCNNC4()
FASTER_RCNN_R50_C4_MINING = FasterRCNNC4(mining_branch=MiningBranch())
# For scenes of about 100 px: C4 at stride 8, so a kernel of k positions spans 8 k px instead of 16 k.
FASTER_RCNN_TINY = FasterRCNNC4(
    backbone="tiny_resnet18",
    base_width=16,
    norm="batch",
    frozen_stages=0,
    proposals=ProposalNetwork(anchor_sizes_px=(12, 20, 32, 44, 60), sampled=64, candidates=(400, 400), kept=(128, 100)),
    head=RegionHead(positions=6, sampled=32),
)
FASTER_RCNN_TINY_MINING = FASTER_RCNN_TINY.with_changes(
    {"mining_branch": MiningBranch(channels=32, pooling_kernels=(1, 1, 3, 3, 5))}
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
