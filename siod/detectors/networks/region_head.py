"""The region head of a two-stage detector: what a proposal shows, and where its object really is.

Built on torchvision's RoIHeads; here are sampling by image, and its losses as sums with counts. All images of a batch
go through each step at once. B images, T places for proposals of an image, R regions of the batch, N of them objects,
C classes. Within torchvision's parts label 0 is background.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import clip_boxes_to_image

from siod.detectors.networks.float32 import in_float32
from siod.detectors.networks.region_proposals import draw
from siod.ops.boxes import decode_deltas, encode_deltas
from siod.ops.matching import BACKGROUND, match_by_overlap
from siod.ops.ragged import in_slots, slots_for
from siod.ops.suppression import best_detections
from siod.types import LossTerm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.detectors.networks.annotated import AnnotatedBoxes
    from siod.detectors.region_head import RegionHead
    from siod.types import PaddedDetections

# Of the deltas: makes their spread about 1.
SHIFT_WEIGHT, RATIO_WEIGHT = 10.0, 5.0
LEAST_SIDE_PX = 1e-2


class RegionTargets(NamedTuple):
    """What sampled regions should say; labels are 0 for background and 1 to C, deltas as ``encode_deltas`` has them.

    ``objects`` are the regions that are no background.
    """

    labels: Int[Tensor, " r"]
    deltas: Float[Tensor, "r 4"]
    objects: Int[Tensor, " n"]


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
        bbox_reg_weights=(SHIFT_WEIGHT, SHIFT_WEIGHT, RATIO_WEIGHT, RATIO_WEIGHT),
        score_thresh=spec.score_threshold,
        nms_thresh=spec.suppression_iou,
        detections_per_img=spec.max_detections,
    )


def sample_regions(
    heads: Any,
    proposals_xyxy: Float[Tensor, "b t 4"],
    present: Bool[Tensor, "b t"],
    known: AnnotatedBoxes,
    seeds: Sequence[int],
) -> tuple[tuple[Float[Tensor, "_ 4"], ...], RegionTargets]:
    """Choose the regions to learn from among proposals and annotated boxes.

    Args:
        heads: Of :func:`build_region_head`; knows threshold and numbers.
        proposals_xyxy: Boxes in pixels of the input.
        present: Which of them are there.
        known: The annotated boxes.
        seeds: One per image, of :func:`siod.detectors.networks.region_proposals.image_seeds`.

    Returns:
        The chosen boxes of each image, and what they should say, in the same order.
    """
    matcher, sampler = heads.proposal_matcher, heads.fg_bg_sampler
    boxes = torch.cat([proposals_xyxy, known.slots_xyxy], dim=1)
    there = torch.cat([present, known.present], dim=1)
    match = match_by_overlap(
        known.slots_xyxy,
        known.present,
        boxes,
        object_iou=matcher.high_threshold,
        background_iou=matcher.low_threshold,
    )
    drawn = draw(
        (match >= 0) & there,
        (match == BACKGROUND) & there,
        seeds,
        number=sampler.batch_size_per_image,
        share=sampler.positive_fraction,
    )
    places = torch.cat([drawn.objects, drawn.background]).sort().values
    slots, chosen = known.slots_of(match, places), boxes.flatten(0, 1)[places]
    labels = torch.where(match.flatten()[places] >= 0, known.slot_labels.flatten()[slots] + 1, 0)
    deltas = encode_deltas(
        known.slots_xyxy.flatten(0, 1)[slots], chosen, shift_weight=SHIFT_WEIGHT, ratio_weight=RATIO_WEIGHT
    )
    targets = RegionTargets(labels, deltas, torch.searchsorted(places, drawn.objects))
    return torch.split(chosen, list(drawn.counts)), targets


def region_terms(
    class_logits: Float[Tensor, "r c1"],
    box_deltas: Float[Tensor, "r c4"],
    targets: RegionTargets,
    *,
    box_beta: float = 0.0,
    left_out: Bool[Tensor, " r"] | None = None,
    unlabelled: Bool[Tensor, "r c"] | None = None,
) -> dict[str, LossTerm]:
    """Sum the losses of the sampled regions; both are counted by the number of regions.

    Args:
        class_logits: One for background, then one for each class.
        box_deltas: Four for each of those.
        targets: Of :func:`sample_regions`.
        box_beta: Below this difference the box loss is quadratic; 0 is the L1 loss.
        left_out: Regions that neither enter the class loss nor count in it.
        unlabelled: The classes that nobody looked for in the image of each region. A region that is not of such a
            class learns nothing of it: its logit is no part of the softmax.

    Returns:
        ``roi_class`` (cross entropy) and ``roi_box`` (smooth L1 of the deltas of an object's own class).

    Source: Girshick, Fast R-CNN, ICCV 2015, Eq. 1 to 3; normalised as detectron2 and torchvision do.
    """
    objects = targets.objects
    own = box_deltas.float().view(-1, class_logits.shape[1], 4)[objects, targets.labels[objects]]
    placed = functional.smooth_l1_loss(own, targets.deltas[objects], beta=box_beta, reduction="sum")
    named = _class_term(class_logits.float(), targets.labels, left_out, unlabelled)
    return {"roi_class": named, "roi_box": LossTerm(placed, placed.new_full((), len(targets.labels)))}


def _class_term(
    logits: Float[Tensor, "r c1"],
    labels: Int[Tensor, " r"],
    left_out: Bool[Tensor, " r"] | None,
    unlabelled: Bool[Tensor, "r c"] | None,
) -> LossTerm:
    if unlabelled is not None:
        other = functional.pad(unlabelled, (1, 0), value=False).scatter(1, labels[:, None], value=False)
        logits = logits.masked_fill(other, -torch.inf)
    if left_out is None:
        named = functional.cross_entropy(logits, labels, reduction="sum")
        return LossTerm(named, named.new_full((), len(labels)))
    each = functional.cross_entropy(logits, labels, reduction="none").masked_fill(left_out, 0)
    return LossTerm(each.sum(), (~left_out).sum().to(each.dtype))


def region_detections(
    heads: Any,
    class_logits: Float[Tensor, "r c1"],
    box_deltas: Float[Tensor, "r c4"],
    proposals: Sequence[Float[Tensor, "_ 4"]],
    image_size: tuple[int, int],
) -> PaddedDetections:
    """Turn what the head says of each proposal into detections.

    Args:
        heads: Of :func:`build_region_head`.
        class_logits: Of all proposals of the batch.
        box_deltas: Likewise.
        proposals: One tensor per image, boxes in pixels of the input.
        image_size: Height and width of the input; boxes are cut off there.

    Returns:
        Best first, after suppression within each class.
    """
    scores = functional.softmax(class_logits.float(), dim=1)[:, 1:]
    deltas = torch.unflatten(box_deltas.float(), 1, (-1, 4))[:, 1:]
    boxes = decode_deltas(
        deltas, torch.cat(list(proposals))[:, None], shift_weight=SHIFT_WEIGHT, ratio_weight=RATIO_WEIGHT
    )
    boxes = clip_boxes_to_image(boxes, image_size)
    large = (boxes[..., 2:] - boxes[..., :2]).amin(dim=2) >= LEAST_SIDE_PX
    scores = torch.where((scores > heads.score_thresh) & large, scores, -1.0)
    slots = slots_for([len(of_image) for of_image in proposals], scores.device)
    found = in_slots(scores, slots, fill=-1.0).flatten(1)
    labels = torch.arange(found.shape[1], device=found.device) % scores.shape[1]
    return best_detections(
        in_slots(boxes, slots).flatten(1, 2),
        found,
        labels.expand_as(found),
        iou=heads.nms_thresh,
        most=heads.detections_per_img,
    )
