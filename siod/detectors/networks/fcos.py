"""FCOS: every position in the middle of an object says how far its four sides are.

B images, C classes, M slots for boxes of an image, P positions of all levels, K of them objects. An anchor stands for a
position: a square as wide as the stride around it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import FCOS_ResNet50_FPN_Weights
from torchvision.models.detection._utils import BoxLinearCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSRegressionHead
from torchvision.ops import box_area

from siod.detectors.networks.float32 import in_float32
from siod.detectors.networks.fpn import PyramidDetector, PyramidOutputs, PyramidTargets
from siod.detectors.networks.published import Published
from siod.ops.boxes import generalized_iou_loss
from siod.ops.matching import BACKGROUND, images_at_once
from siod.types import LossTerm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.detectors.fcos import FCOS
    from siod.detectors.networks.annotated import AnnotatedBoxes
    from siod.types import Mined


class FCOSDetector(PyramidDetector):
    """FCOS with a ResNet and a feature pyramid.

    Args:
        spec: Architecture and losses.
        num_classes: Without background.

    Source: Tian et al., FCOS, ICCV 2019, with the improvements of the journal version that torchvision has.
    """

    published = Published(FCOS_ResNet50_FPN_Weights.COCO_V1, norm_eps=1e-5)

    def __init__(self, spec: FCOS, num_classes: int) -> None:
        strides = spec.strides_px()
        anchors = AnchorGenerator(tuple((stride,) for stride in strides), ((1.0,),) * len(strides))
        super().__init__(spec, num_classes, _head(spec, num_classes), anchors)
        self.spec = spec
        self.loss_weights = {"class": 1.0, "box": spec.box_weight, "centre": spec.centre_weight}
        self.coder = BoxLinearCoder(normalize_by_size=True)

    def assign(self, known: AnnotatedBoxes, outputs: PyramidOutputs) -> Int[Tensor, "b p"]:
        """Give each position to the smallest box that it is in the middle of and in range of."""
        at_once = images_at_once(known.present.shape[1] * len(outputs.anchors_xyxy))
        parts = zip(torch.split(known.slots_xyxy, at_once), torch.split(known.present, at_once), strict=True)
        return torch.cat([self._smallest_around(boxes, present, outputs.anchors_xyxy) for boxes, present in parts])

    def _smallest_around(
        self, boxes_xyxy: Float[Tensor, "b m 4"], present: Bool[Tensor, "b m"], anchors_xyxy: Float[Tensor, "p 4"]
    ) -> Int[Tensor, "b p"]:
        points = (anchors_xyxy[:, None, :2] + anchors_xyxy[:, None, 2:]) / 2
        strides = anchors_xyxy[:, 2:3] - anchors_xyxy[:, :1]
        low, high = boxes_xyxy[:, None, :, :2], boxes_xyxy[:, None, :, 2:]
        middle = (points - (low + high) / 2).abs().amax(dim=3) < self.spec.centre_radius * strides
        sides = torch.cat([points - low, high - points], dim=3)
        farthest, limit = sides.amax(dim=3), self.spec.range_strides * strides
        finest, coarsest = strides == strides[0], strides == strides[-1]
        in_range = ((farthest > limit / 2) | finest) & ((farthest < limit) | coarsest)
        may_have = middle & (sides.amin(dim=3) > 0) & in_range & present[:, None]
        smallest, slot = torch.where(may_have, box_area(boxes_xyxy)[:, None], torch.inf).min(dim=2)
        return slot.masked_fill(smallest == torch.inf, BACKGROUND)

    def own_levels(
        self,
        boxes_xyxy: Float[Tensor, "n 4"],
        outputs: PyramidOutputs,  # noqa: ARG002  (the strides are known)
    ) -> Int[Tensor, " n"]:
        """The level whose range holds the distance of a box's centre to its farthest side."""
        farthest_of_centre = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).amax(dim=1) / 2
        ends = [stride * self.spec.range_strides for stride in self.spec.strides_px()[:-1]]
        return torch.stack([farthest_of_centre >= end for end in ends]).sum(dim=0)

    def losses(self, outputs: PyramidOutputs, encoded: PyramidTargets, mined: Sequence[Mined]) -> dict[str, LossTerm]:
        """Focal loss of all positions; of the objects the overlap and how central the position is.

        Source: Tian et al., FCOS, ICCV 2019, Eq. 2 and 3; Rezatofighi et al., GIoU, CVPR 2019.
        """
        objects, boxes = encoded.objects, encoded.boxes_xyxy
        anchors = outputs.anchors_xyxy[objects % len(outputs.anchors_xyxy)]
        found = self.boxes(outputs.deltas.flatten(0, 1)[objects], anchors)
        overlap = generalized_iou_loss(found, boxes).sum()
        assert outputs.centre_logits is not None  # noqa: S101  (the head of this family has it)
        centre = functional.binary_cross_entropy_with_logits(
            outputs.centre_logits.flatten()[objects], centerness(self.coder.encode(anchors, boxes)), reduction="sum"
        )
        count = overlap.new_full((), len(objects))
        return {
            "class": self.class_term(outputs, encoded, mined),
            "box": LossTerm(overlap, count),
            "centre": LossTerm(centre, count),
        }

    def soft_labels(self, mined: Float[Tensor, "b c h w"]) -> Float[Tensor, "b _ c"]:
        """An anchor is a position."""
        return mined.permute(0, 2, 3, 1).flatten(1, 2)

    def boxes(self, deltas: Float[Tensor, "*k 4"], anchors_xyxy: Float[Tensor, "*k 4"]) -> Float[Tensor, "*k 4"]:
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
