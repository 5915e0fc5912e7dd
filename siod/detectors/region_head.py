"""The region head of a two-stage detector: what a proposal shows, and where its object really is.

Built on torchvision's RoIHeads; here are its settings, sampling by image, and its losses as sums with counts.
B images, R regions of the batch, C classes. Within torchvision's parts label 0 is background.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import torch
from jaxtyping import Float, Int  # noqa: TC002  (beartype resolves the annotations at run time)
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads

from siod.detectors.float32 import in_float32
from siod.detectors.region_proposals import Overlap, seeded
from siod.types import Detections, LossTerm
from siod.value import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.types import Target

# Of the deltas x, y, width, height: makes their spread about 1.
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


class RegionHead(Value):
    """How proposals are sampled, looked at and turned into detections.

    ``sampled`` regions an image are learnt from, a share of ``objects`` of them at most with ``object_iou`` or
    more with an annotated box. A region is seen as ``positions`` x ``positions`` features.
    """

    positions: PositiveInt = 14
    sampled: PositiveInt = 512
    objects: Overlap = 0.25
    object_iou: Overlap = 0.5
    score_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.05
    suppression_iou: Overlap = 0.5
    max_detections: PositiveInt = 100


class RegionTargets(NamedTuple):
    """What sampled regions should say; labels are 0 for background and 1 to C, deltas as the box coder has them."""

    labels: Int[Tensor, " r"]
    deltas: Float[Tensor, "r 4"]


def build_region_head(spec: RegionHead, channels: int, num_classes: int) -> Any:
    """Build torchvision's heads around a class and box predictor; features are the detector's business.

    Args:
        spec: The settings.
        channels: Of a region's features.
        num_classes: Without background.

    Returns:
        The module; its parameters are named as in torchvision's Faster R-CNN.

    Source: Girshick, Fast R-CNN, ICCV 2015, section 2; initial values as in detectron2.
    """
    predictor = FastRCNNPredictor(channels, num_classes + 1)
    for layer, deviation in ((predictor.cls_score, 0.01), (predictor.bbox_pred, 0.001)):
        nn.init.normal_(layer.weight, std=deviation)
        nn.init.zeros_(layer.bias)
    in_float32(predictor.cls_score, predictor.bbox_pred)
    return RoIHeads(
        box_roi_pool=None,
        box_head=None,
        box_predictor=predictor,
        fg_iou_thresh=spec.object_iou,
        bg_iou_thresh=spec.object_iou,
        batch_size_per_image=spec.sampled,
        positive_fraction=spec.objects,
        bbox_reg_weights=BOX_WEIGHTS,
        score_thresh=spec.score_threshold,
        nms_thresh=spec.suppression_iou,
        detections_per_img=spec.max_detections,
    )


def sample_regions(
    heads: Any, proposals: Sequence[Float[Tensor, "_ 4"]], targets: Sequence[Target], seeds: Sequence[int]
) -> tuple[tuple[Float[Tensor, "_ 4"], ...], RegionTargets]:
    """Choose the regions to learn from among proposals and annotated boxes.

    Args:
        heads: Of :func:`build_region_head`; knows threshold and numbers.
        proposals: One tensor per image.
        targets: One per image; hidden instances are not read.
        seeds: One per image, of :func:`siod.detectors.region_proposals.image_seeds`.

    Returns:
        The chosen boxes of each image, and what they should say, in the same order.
    """
    boxes, labels, deltas = [], [], []
    for of_image, target, seed in zip(proposals, targets, seeds, strict=True):
        known = {"boxes": target.boxes_xyxy, "labels": target.labels + 1}
        with seeded(seed, of_image.device):
            (chosen,), _, (label,), (delta,) = heads.select_training_samples([of_image], [known])
        boxes.append(chosen)
        labels.append(label)
        deltas.append(delta)
    return tuple(boxes), RegionTargets(torch.cat(labels), torch.cat(deltas))


def region_terms(
    class_logits: Float[Tensor, "r c1"],
    box_deltas: Float[Tensor, "r c4"],
    targets: RegionTargets,
    *,
    box_beta: float = 0.0,
) -> dict[str, LossTerm]:
    """Sum the losses of the sampled regions; both are counted by the number of regions.

    Args:
        class_logits: One for background, then one for each class.
        box_deltas: Four for each of those.
        targets: Of :func:`sample_regions`.
        box_beta: Below this difference the box loss is quadratic; 0 is the L1 loss.

    Returns:
        ``roi_class`` (cross entropy) and ``roi_box`` (smooth L1 of the deltas of an object's own class).

    Source: Girshick, Fast R-CNN, ICCV 2015, Eq. 1 to 3; normalised as detectron2 and torchvision do.
    """
    objects = (targets.labels > 0).nonzero().squeeze(1)
    own = box_deltas.float().view(-1, class_logits.shape[1], 4)[objects, targets.labels[objects]]
    named = functional.cross_entropy(class_logits.float(), targets.labels, reduction="sum")
    placed = functional.smooth_l1_loss(own, targets.deltas[objects], beta=box_beta, reduction="sum")
    count = named.new_tensor(len(targets.labels))
    return {"roi_class": LossTerm(named, count), "roi_box": LossTerm(placed, count)}


def region_detections(
    heads: Any,
    class_logits: Float[Tensor, "r c1"],
    box_deltas: Float[Tensor, "r c4"],
    proposals: Sequence[Float[Tensor, "_ 4"]],
    image_size: tuple[int, int],
) -> list[Detections]:
    """Turn what the head says of each proposal into detections.

    Args:
        heads: Of :func:`build_region_head`.
        class_logits: Of all proposals of the batch.
        box_deltas: Likewise.
        proposals: One tensor per image, boxes in pixels of the input.
        image_size: Height and width of the input; boxes are cut off there.

    Returns:
        One per image, best first, after suppression within each class.
    """
    found = heads.postprocess_detections(
        class_logits.float(), box_deltas.float(), list(proposals), [image_size] * len(proposals)
    )
    return [Detections(boxes, scores, labels - 1) for boxes, scores, labels in zip(*found, strict=True)]
