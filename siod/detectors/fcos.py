"""FCOS: every position in the middle of an object says how far its four sides are.

B images, C classes, N boxes of an image, P positions of all levels, K of them objects. An anchor stands for a
position: a square as wide as the stride around it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from jaxtyping import Float, Int  # noqa: TC002  (beartype resolves the annotations at run time)
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection._utils import BoxLinearCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSRegressionHead
from torchvision.ops import box_area, generalized_box_iou_loss

from siod.detectors.float32 import in_float32
from siod.detectors.fpn import BACKGROUND, PyramidDetector, PyramidOutputs, PyramidSpec, PyramidTargets
from siod.types import LossTerm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.types import Mined


class FCOS(PyramidSpec):
    """The architecture and the losses of an FCOS; the defaults are torchvision's with ResNet-50.

    The head has ``tower_convolutions`` before its last one, normalised in ``tower_groups``. A position belongs to
    a box if it is less than ``centre_radius`` strides from its centre. A level detects boxes whose farthest side
    is up to ``range_strides`` strides away, and more than half of that; the first and last have no limit below
    and above.
    """

    family: Literal["fcos"] = "fcos"
    tower_convolutions: Annotated[int, Field(ge=0)] = 4
    tower_groups: PositiveInt = 32
    centre_radius: PositiveFloat = 1.5
    range_strides: PositiveFloat = 8.0
    box_weight: Annotated[float, Field(ge=0)] = 1.0
    centre_weight: Annotated[float, Field(ge=0)] = 1.0
    score_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.2
    suppression_iou: Annotated[float, Field(gt=0, le=1)] = 0.6


class FCOSDetector(PyramidDetector):
    """FCOS with a ResNet and a feature pyramid.

    Args:
        spec: Architecture and losses.
        num_classes: Without background.

    Source: Tian et al., FCOS, ICCV 2019, with the improvements of the journal version that torchvision has.
    """

    def __init__(self, spec: FCOS, num_classes: int) -> None:
        strides = spec.strides_px()
        anchors = AnchorGenerator(tuple((stride,) for stride in strides), ((1.0,),) * len(strides))
        super().__init__(spec, num_classes, _head(spec, num_classes), anchors)
        self.spec = spec
        self.loss_weights = {"class": 1.0, "box": spec.box_weight, "centre": spec.centre_weight}
        self.coder = BoxLinearCoder(normalize_by_size=True)

    def assign(
        self, boxes_xyxy: Float[Tensor, "n 4"], outputs: PyramidOutputs
    ) -> tuple[Int[Tensor, " p"], Int[Tensor, " n"]]:
        """Give each position to the smallest box that it is in the middle of and in range of.

        A box belongs to the level whose range holds the distance of its centre to its farthest side.
        """
        anchors = outputs.anchors_xyxy
        points, strides = (anchors[:, :2] + anchors[:, 2:]) / 2, anchors[:, 2] - anchors[:, 0]
        upper = strides.new_tensor(self.spec.strides_px()) * self.spec.range_strides
        farthest_of_centre = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).amax(dim=1) / 2
        own_level = torch.bucketize(farthest_of_centre, upper[:-1], right=True)
        if len(boxes_xyxy) == 0:
            return torch.full((len(anchors),), BACKGROUND, device=anchors.device), own_level
        centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
        middle = (points[:, None] - centres).abs().amax(dim=2) < self.spec.centre_radius * strides[:, None]
        sides = torch.cat([points[:, None] - boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - points[:, None]], dim=2)
        farthest, limit = sides.amax(dim=2), self.spec.range_strides * strides[:, None]
        finest, coarsest = strides[:, None] == strides[0], strides[:, None] == strides[-1]
        in_range = ((farthest > limit / 2) | finest) & ((farthest < limit) | coarsest)
        area = box_area(boxes_xyxy).masked_fill(~(middle & (sides.amin(dim=2) > 0) & in_range), torch.inf)
        smallest, box = area.min(dim=1)
        return box.masked_fill(smallest == torch.inf, BACKGROUND), own_level

    def losses(self, outputs: PyramidOutputs, encoded: PyramidTargets, mined: Sequence[Mined]) -> dict[str, LossTerm]:
        """Focal loss of all positions; of the objects the overlap and how central the position is.

        Source: Tian et al., FCOS, ICCV 2019, Eq. 2 and 3; Rezatofighi et al., GIoU, CVPR 2019.
        """
        objects, boxes = encoded.objects, encoded.boxes_xyxy
        anchors = outputs.anchors_xyxy[objects % len(outputs.anchors_xyxy)]
        found = self.boxes(outputs.deltas.flatten(0, 1)[objects], anchors)
        overlap = generalized_box_iou_loss(found, boxes, reduction="sum")
        assert outputs.centre_logits is not None  # noqa: S101  (the head of this family has it)
        centre = functional.binary_cross_entropy_with_logits(
            outputs.centre_logits.flatten()[objects], centerness(self.coder.encode(anchors, boxes)), reduction="sum"
        )
        count = overlap.new_tensor(len(objects))
        return {
            "class": self.class_term(outputs, encoded, mined),
            "box": LossTerm(overlap, count),
            "centre": LossTerm(centre, count),
        }

    def soft_labels(self, mined: Float[Tensor, "b c h w"]) -> Float[Tensor, "b _ c"]:
        """An anchor is a position."""
        return mined.permute(0, 2, 3, 1).flatten(1, 2)

    def boxes(self, deltas: Float[Tensor, "k 4"], anchors_xyxy: Float[Tensor, "k 4"]) -> Float[Tensor, "k 4"]:
        """The deltas are distances to left, top, right and bottom in strides."""
        found: Tensor = self.coder.decode(deltas, anchors_xyxy)
        return found

    def scores(self, outputs: PyramidOutputs) -> Float[Tensor, "b p c"]:
        """The geometric mean of class score and centerness."""
        assert outputs.centre_logits is not None  # noqa: S101  (the head of this family has it)
        return (outputs.class_logits.sigmoid() * outputs.centre_logits.sigmoid()[:, :, None]).sqrt()


def centerness(sides: Float[Tensor, "k 4"]) -> Float[Tensor, " k"]:
    """How close positions are to the middle of their box, 1 there and 0 at its edge.

    Args:
        sides: Distances to left, top, right and bottom, above 0, in any unit.

    Source: Tian et al., FCOS, ICCV 2019, Eq. 3.

    Example:
        >>> centerness(torch.tensor([[1.0, 2.0, 4.0, 2.0]]))  # sqrt(1 / 4 x 2 / 2)
        tensor([0.5000])
    """
    across, down = sides[:, 0::2], sides[:, 1::2]
    shares = (across.amin(dim=1) / across.amax(dim=1)) * (down.amin(dim=1) / down.amax(dim=1))
    return shares.sqrt()


def _head(spec: FCOS, num_classes: int) -> nn.ModuleDict:
    """Make torchvision's two heads, with towers of a length and normalisation of one's own."""
    norm = partial(nn.GroupNorm, spec.tower_groups)
    channels, depth = spec.pyramid_channels, spec.tower_convolutions
    classes = FCOSClassificationHead(channels, 1, num_classes, depth, norm_layer=norm)
    boxes = FCOSRegressionHead(channels, 1, depth, norm_layer=norm)
    in_float32(boxes.bbox_reg, boxes.bbox_ctrness)
    return nn.ModuleDict({"classification_head": classes, "regression_head": boxes})
