"""A detector from its family and backbone, with anchors and ranges that fit the boxes of a data set."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from siod.detectors import zoo
from siod.detectors.anchors import LEAST_ANCHOR_STRIDES
from siod.detectors.backbones.names import stride_px
from siod.detectors.centernet import OUTPUT_STRIDE_PX, CenterNet
from siod.detectors.faster_rcnn_c4 import FasterRCNNC4
from siod.detectors.fcos import FCOS
from siod.detectors.fpn import PyramidSpec
from siod.detectors.retinanet import RetinaNet
from siod.errors import UserError, closest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from siod.detectors.spec import DetectorSpec

DEFAULT_BACKBONE = "efficientnet_lite0"

# Named values of siod.detectors.zoo by family and backbone; the first is where any other backbone starts from.
STARTS: Mapping[str, Mapping[str, str]] = {
    "centernet": {DEFAULT_BACKBONE: "CENTERNET_LITE0", "resnet18": "CENTERNET_R18", "tiny_resnet18": "CENTERNET_TINY"},
    "fcos": {"resnet50": "FCOS_R50_FPN", DEFAULT_BACKBONE: "FCOS_LITE0", "tiny_resnet18": "FCOS_TINY"},
    "retinanet": {
        "resnet50": "RETINANET_R50_FPN",
        DEFAULT_BACKBONE: "RETINANET_LITE0",
        "tiny_resnet18": "RETINANET_TINY",
    },
    "faster_rcnn": {"resnet50": "FASTER_RCNN_R50_C4", "tiny_resnet18": "FASTER_RCNN_TINY"},
}
SMALL_HEAD: Mapping[str, Any] = {"pyramid_channels": 64, "tower_convolutions": 2, "extra_levels": 0}
"""A quarter of the width and half of the depth that a pyramid on ResNet-50 has: as small as the backbones it is for."""

LEAST_STRIDES, MOST_STRIDES = 1.0, 8.0
SIZES_APART_PX = 3
"""Anchors whose sizes differ by less may be the same in whole pixels."""


@dataclass(frozen=True)
class FittedDetector:
    """A named detector with some settings changed.

    Attributes:
        name: Of the value in ``siod.detectors.zoo``.
        changes: Settings that differ from it, by dotted path.
        why: The reason of each.
        mining_from: The value of the zoo whose ``mining_branch`` DMiner works on; empty where it needs none.
    """

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    mining_from: str = ""

    def spec(self) -> DetectorSpec:
        """The settings themselves."""
        named: DetectorSpec = getattr(zoo, self.name)
        return named.with_changes(self.changes)


def fit_detector(
    family: str, backbone: str, boxes_px: NDArray[np.float64], *, pretrained: bool = True
) -> FittedDetector:
    """Choose a detector.

    Args:
        family: One of STARTS.
        backbone: Any that the family takes.
        boxes_px: ``[B, 2]`` heights and widths of the boxes in pixels of the input.
        pretrained: Whether the backbone has learnt anything that could be kept as it is.

    Raises:
        UserError: There is no such family, or no such backbone.
    """
    if family not in STARTS:
        raise UserError(f"--detector {family!r}: no such family{closest(family, STARTS)}")
    starts = STARTS[family]
    named = backbone in starts
    start = FittedDetector(starts[backbone if named else next(iter(starts))])
    changes = {} if named else _with_backbone(start.spec(), backbone)
    try:
        spec = start.spec().with_changes(changes)
    except UserError as error:
        raise UserError(f"--backbone {backbone}: {error}") from error
    fitted, why = _fitted(spec, boxes_px)
    if not pretrained:
        fitted |= _thawed(spec)
        why |= dict.fromkeys(_thawed(spec), "random weights have to learn throughout")
    mining_from = f"{start.name}_MINING" if isinstance(spec, FasterRCNNC4) else ""
    return FittedDetector(start.name, {**changes, **fitted}, why, mining_from)


def top_m(spec: DetectorSpec, input_size: tuple[int, int]) -> int | tuple[int, ...]:
    """How many positions PGCL looks at: as many as a square map of that area is wide.

    The paper's 128 on maps of 128 x 128 positions.

    Args:
        spec: The detector; one number for each map that miners look at.
        input_size: Height and width in pixels.

    Source: Li et al., SIOD, CVPR 2022, section 4.1.
    """
    side = math.sqrt(input_size[0] * input_size[1])
    counts = tuple(max(1, round(side / stride)) for stride in _mined_strides(spec))
    return counts[0] if len(counts) == 1 else counts


def _with_backbone(spec: DetectorSpec, backbone: str) -> dict[str, Any]:
    """What another backbone changes: whose pixels it knows and, on a pyramid, how large the head is."""
    pixels = {"pixels": "backbone"} if hasattr(spec, "pixels") else {}
    return {"backbone": backbone} | pixels | (dict(SMALL_HEAD) if isinstance(spec, PyramidSpec) else {})


def _mined_strides(spec: DetectorSpec) -> tuple[int, ...]:
    if isinstance(spec, PyramidSpec):
        return spec.strides_px()[: spec.mined_levels()]
    return (OUTPUT_STRIDE_PX if isinstance(spec, CenterNet) else stride_px(spec.backbone) // 2,)


def _fitted(spec: DetectorSpec, boxes_px: NDArray[np.float64]) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings of a family that are about the size of objects, and the reasons."""
    sides = np.sqrt(boxes_px.prod(axis=1))
    if isinstance(spec, FCOS):
        reach = float(np.quantile(boxes_px.max(axis=1) / 2, 1 / 3))
        strides = _strides(reach / spec.strides_px()[0])
        return {"range_strides": strides}, {"range_strides": f"a third of the boxes reach {reach:.0f} px or less"}
    if isinstance(spec, RetinaNet):
        side = float(np.quantile(sides, 0.1))
        strides = max(_strides(side / spec.strides_px()[0]), float(LEAST_ANCHOR_STRIDES))
        return {"anchor_strides": strides}, {"anchor_strides": f"a tenth of the boxes are {side:.0f} px wide or less"}
    if isinstance(spec, FasterRCNNC4):
        count = len(spec.proposals.anchor_sizes_px)
        anchors = np.quantile(sides, (np.arange(count) + 0.5) / count).round()
        path, largest = "proposals.anchor_sizes_px", LEAST_ANCHOR_STRIDES * spec.size_divisor()
        return {path: _apart(anchors, largest)}, {path: f"in the middle of {count} equal parts"}
    return {}, {}


def _apart(anchors: NDArray[np.float64], least_largest: int) -> tuple[int, ...]:
    """Ascending sizes in whole pixels that differ as anchors must, the last as large as it must be."""
    sizes: list[int] = []
    for anchor in anchors:
        sizes.append(max(int(anchor), sizes[-1] + SIZES_APART_PX if sizes else 1))
    return (*sizes[:-1], max(sizes[-1], least_largest))


def _thawed(spec: DetectorSpec) -> dict[str, Any]:
    """Changes that unfreeze the whole backbone."""
    stages = {"frozen_stages": 0} if getattr(spec, "frozen_stages", 0) else {}
    return stages | ({"norm": "batch"} if spec.norm == "frozen" else {})


def _strides(number: float) -> float:
    """Round strides to halves, within the range of a pyramid."""
    return min(max(round(2 * number) / 2, LEAST_STRIDES), MOST_STRIDES)
