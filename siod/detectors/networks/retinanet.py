"""RetinaNet: nine anchors at every position, each a class or background.

B images, C classes, N boxes of the batch, P anchors of all levels, K of them objects.
"""

from __future__ import annotations

from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import RetinaNet_ResNet50_FPN_Weights
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import box_iou

from siod.detectors.networks.float32 import in_float32
from siod.detectors.networks.fpn import PyramidDetector, PyramidOutputs, PyramidTargets, anchor_counts
from siod.detectors.networks.published import Published
from siod.detectors.retinanet import OCTAVE_SCALES, RATIOS
from siod.ops.boxes import decode_deltas, encode_deltas
from siod.ops.matching import images_at_once, match_by_overlap
from siod.ops.pooling import pool_pseudo_labels
from siod.types import LossTerm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.detectors.networks.annotated import AnnotatedBoxes
    from siod.detectors.retinanet import RetinaNet
    from siod.types import Mined


class RetinaNetDetector(PyramidDetector):
    """RetinaNet with a ResNet and a feature pyramid.

    Args:
        spec: Architecture and losses.
        num_classes: Without background.

    Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017.
    """

    may_ignore = True
    # Trained before torchvision's frozen normalisation had the term.
    published = Published(RetinaNet_ResNet50_FPN_Weights.COCO_V1, norm_eps=0.0)

    def __init__(self, spec: RetinaNet, num_classes: int) -> None:
        sizes_px = spec.anchor_sizes_px()
        anchors = AnchorGenerator(sizes_px, (RATIOS,) * len(sizes_px))
        super().__init__(spec, num_classes, _head(spec, num_classes), anchors)
        self.spec = spec
        self.loss_weights = {"class": 1.0, "box": spec.box_weight}

    def assign(self, known: AnnotatedBoxes, outputs: PyramidOutputs) -> Int[Tensor, "b p"]:
        """Give each anchor to the box it overlaps most."""
        return match_by_overlap(
            known.slots_xyxy,
            known.present,
            outputs.anchors_xyxy[None],
            object_iou=self.spec.object_iou,
            background_iou=self.spec.background_iou,
            best_of_each=True,
        )

    def own_levels(self, boxes_xyxy: Float[Tensor, "n 4"], outputs: PyramidOutputs) -> Int[Tensor, " n"]:
        """The level of the anchor that overlaps a box most."""
        some = torch.split(boxes_xyxy, images_at_once(len(outputs.anchors_xyxy)))
        nearest = torch.cat([box_iou(boxes, outputs.anchors_xyxy).argmax(dim=1) for boxes in some])
        ends = accumulate(anchor_counts(outputs)[:-1])
        return torch.stack([nearest >= end for end in ends]).sum(dim=0)

    def losses(self, outputs: PyramidOutputs, encoded: PyramidTargets, mined: Sequence[Mined]) -> dict[str, LossTerm]:
        """Focal loss of all anchors but the doubtful ones, and (smooth) L1 of the objects' deltas.

        Both are counted by the objects of the whole batch.

        Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, section 4.
        """
        objects = encoded.objects
        anchors = outputs.anchors_xyxy[objects % len(outputs.anchors_xyxy)]
        wanted = encode_deltas(encoded.boxes_xyxy, anchors)
        found = outputs.deltas.flatten(0, 1)[objects]
        placed = functional.smooth_l1_loss(found, wanted, beta=self.spec.box_beta, reduction="sum")
        return {
            "class": self.class_term(outputs, encoded, mined),
            "box": LossTerm(placed, placed.new_full((), len(objects))),
        }

    def soft_labels(self, mined: Float[Tensor, "b c h w"]) -> Float[Tensor, "b _ c"]:
        """The mean around the position, over more positions for a larger anchor.

        Source: Li et al., SIOD, CVPR 2022, section 3.4.
        """
        by_size = pool_pseudo_labels(mined, self.spec.pooling_kernels).permute(0, 3, 4, 2, 1)
        # Anchors of one ratio follow each other, from the smallest to the largest.
        return by_size.repeat(1, 1, 1, len(RATIOS), 1).flatten(1, 3)

    def boxes(self, deltas: Float[Tensor, "*k 4"], anchors_xyxy: Float[Tensor, "*k 4"]) -> Float[Tensor, "*k 4"]:
        """The deltas are shifts in widths and heights of the anchor, and logarithms of ratios to them."""
        return decode_deltas(deltas, anchors_xyxy)


def _head(spec: RetinaNet, num_classes: int) -> Any:
    norm = None if spec.tower_groups is None else partial(nn.GroupNorm, spec.tower_groups)
    head = RetinaNetHead(spec.pyramid_channels, len(OCTAVE_SCALES) * len(RATIOS), num_classes, norm_layer=norm)
    for part in (head.classification_head, head.regression_head):
        part.conv = part.conv[: spec.tower_convolutions]
    in_float32(head.regression_head.bbox_reg)
    return head
