"""The papers' detectors as named values, and how a value becomes a detector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from siod.detectors.backbones.architectures import DEFAULT_WIDTH
from siod.detectors.centernet import CenterNet
from siod.detectors.faster_rcnn_c4 import FasterRCNNC4, MiningBranch
from siod.detectors.fcos import FCOS
from siod.detectors.query import DFINE, RTDETR
from siod.detectors.region_head import RegionHead
from siod.detectors.region_proposals import ProposalNetwork
from siod.detectors.retinanet import RetinaNet
from siod.detectors.spec import DetectorSpec
from siod.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from siod.detectors.detector import Detector

CENTERNET_R18 = CenterNet(backbone="resnet18")
CENTERNET_R101 = CenterNet(backbone="resnet101")
# For scenes of about 100 px: a quarter of the width, no max-pooling, two doublings from stride 16.
CENTERNET_TINY = CenterNet(
    backbone="tiny_resnet18", base_width=16, upsampling="plain", upsampling_channels=(64, 32), head_channels=32
)
# For photographs of 160 to 320 px on processors, from ImageNet weights of a package. Only what has learnt statistics
# can have them frozen: the backbone.
CENTERNET_LITE0 = CenterNet(
    backbone="efficientnet_lite0",
    norm="frozen",
    frozen_stages=2,
    upsampling="lateral",
    upsampling_channels=(64, 48, 32),
    upsampling_norm="batch",
    head_channels=32,
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
    pixels="coco",
    proposals=ProposalNetwork(anchor_sizes_px=(12, 20, 32, 44, 60), sampled=64, candidates=(400, 400), kept=(128, 100)),
    head=RegionHead(positions=6, sampled=24),
)
FASTER_RCNN_TINY_MINING = FASTER_RCNN_TINY.with_changes(
    {"mining_branch": MiningBranch(channels=32, pooling_kernels=(1, 1, 3, 3, 5))}
)


# The defaults are torchvision's.
FCOS_R50_FPN = FCOS()
RETINANET_R50_FPN = RetinaNet()
# For scenes of about 100 px with objects of 12 to 60: three levels of strides 4, 8 and 16, whose ranges part at
# objects of 24 and 48 px.
FCOS_TINY = FCOS(
    backbone="tiny_resnet18",
    base_width=16,
    norm="batch",
    frozen_stages=0,
    pixels="coco",
    pyramid_channels=32,
    extra_levels=0,
    tower_convolutions=2,
    tower_groups=8,
    range_strides=3.0,
    score_threshold=0.05,
)
RETINANET_TINY = RetinaNet(
    backbone="tiny_resnet18",
    base_width=16,
    norm="batch",
    frozen_stages=0,
    pixels="coco",
    pyramid_channels=32,
    extra_levels=0,
    tower_convolutions=2,
    tower_groups=8,
    anchor_strides=3.0,
    pooling_kernels=(3, 3, 3),
    max_detections=100,
)
# For photographs as CENTERNET_LITE0: strides 8, 16 and 32, whose ranges part at objects of 64 and 128 px, or whose
# anchors are 24 to 152 px wide.
_LITE0 = {
    "backbone": "efficientnet_lite0",
    "base_width": DEFAULT_WIDTH,
    "norm": "frozen",
    "frozen_stages": 2,
    "pixels": "backbone",
    "pyramid_channels": 64,
}
FCOS_LITE0 = FCOS_TINY.with_changes({**_LITE0, "range_strides": 4.0})
RETINANET_LITE0 = RETINANET_TINY.with_changes(_LITE0)

# The library's default configurations on torchvision's ResNet-50, of which there are weights of ImageNet.
RTDETR_R50 = RTDETR()
DFINE_R50 = DFINE()
# For scenes of about 100 px: maps of strides 4, 8 and 16, two layers, a quarter of the width.
_TINY_QUERIES = {
    "backbone": "tiny_resnet18",
    "base_width": 16,
    "norm": "batch",
    "frozen_stages": 0,
    "pixels": "coco",
    "queries": 100,
    "decoder_layers": 2,
    "denoising": 20,
    "config": {
        "d_model": 64,
        "encoder_hidden_dim": 64,
        "decoder_in_channels": [64, 64, 64],
        "encoder_ffn_dim": 128,
        "decoder_ffn_dim": 128,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "hidden_expansion": 0.5,
    },
}
RTDETR_TINY = RTDETR(**_TINY_QUERIES)
DFINE_TINY = DFINE(**_TINY_QUERIES)


FAMILIES: Registry[DetectorSpec] = Registry("family", "family")
FAMILIES.add(CenterNet, "siod.detectors.networks.centernet:CenterNetDetector")
FAMILIES.add(FasterRCNNC4, "siod.detectors.networks.faster_rcnn_c4:FasterRCNNC4Detector")
FAMILIES.add(FCOS, "siod.detectors.networks.fcos:FCOSDetector")
FAMILIES.add(RetinaNet, "siod.detectors.networks.retinanet:RetinaNetDetector")
FAMILIES.add(RTDETR, "siod.detectors.networks.query:QueryDetector")
FAMILIES.add(DFINE, "siod.detectors.networks.query:QueryDetector")


def add_family(spec: type[DetectorSpec], detector: Callable[[Any, int], Detector]) -> None:
    """Make a kind of detector known to experiments; a module outside the package may do so when it is imported.

    Args:
        spec: Its settings; the default of ``family`` is its name.
        detector: Called with the settings and the number of classes.

    Raises:
        ValueError: Other settings have that name. The same class of a module that is loaded anew takes its place.
    """
    FAMILIES.add(spec, detector)


def _of_its_family(data: object) -> object:
    """Settings as plain data become those of the family they name."""
    if not isinstance(data, dict):
        return data
    return FAMILIES.spec_of(data.get("family", "centernet")).model_validate(data)


AnyDetector = Annotated[SerializeAsAny[DetectorSpec], BeforeValidator(_of_its_family)]
"""The settings of a detector of any known family, told apart by ``family``; CenterNet where it is not said."""


def build(spec: DetectorSpec, *, num_classes: int) -> Detector:
    """Build a detector with random weights.

    Args:
        spec: Its architecture, of a known family.
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
    detector: Detector = FAMILIES.make(spec, num_classes)
    return detector
