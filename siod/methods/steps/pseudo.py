"""Pseudo boxes: which detections become labels, how they join the annotated boxes, and how many are true.

All images of a batch at once: tables with masks, one suppression.

B images, K detections of an image, N boxes of an image.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Bool, Float, Int  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor
from torchvision.ops import box_iou, clip_boxes_to_image, nms

from siod.ops.padding import pad, unpad
from siod.types import LossTerm, PaddedDetections, pseudo_flags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.methods.pseudo import PseudoBoxes
    from siod.types import Target

# A box cut down to less by the image's edge has lost its object.
SMALLEST_PX = 2.0
TRUE_IOU = 0.5
"""A pseudo box is true if it overlaps a hidden instance of its class so much."""


def choose_boxes(pseudo: PseudoBoxes, found: PaddedDetections, image_size: tuple[int, int]) -> PaddedDetections:
    """The detections worth learning from, cut at the edges of their images.

    Args:
        pseudo: Which ones those are.
        found: In pixels of the input.
        image_size: Height and width of the input.

    Returns:
        The best of each image first, with as many places as the image with most candidates has.
    """
    boxes = clip_boxes_to_image(found.boxes_xyxy.float(), image_size)
    large = (boxes[..., 2:] - boxes[..., :2]).amin(dim=-1) >= SMALLEST_PX
    wanted = found.valid & (found.scores > pseudo.min_score) & large
    ranked = _ranked(PaddedDetections(boxes, found.scores.float(), found.labels, wanted))
    return replace(ranked, valid=ranked.valid & _survivors(ranked, pseudo.suppression_iou, max(image_size)))


def merge_boxes(pseudo: PseudoBoxes, targets: Sequence[Target], chosen: PaddedDetections) -> tuple[Target, ...]:
    """Add chosen detections to the annotated instances of their images.

    Args:
        pseudo: How much a box may overlap an annotated one.
        targets: Annotated and hidden instances, one per image; the hidden ones are not read.
        chosen: Of :func:`choose_boxes`, in the frame of the targets.

    Returns:
        The targets with the boxes that are not annotated already.

    Source: Wang et al., Co-mining, AAAI 2021, section 3.2.
    """
    annotated = _annotated(targets)
    boxes = _like(annotated, chosen)
    boxes = boxes._replace(valid=boxes.valid & ~boxes.on(annotated, pseudo.merge_iou))
    known = pseudo_flags(targets)
    flags = torch.zeros_like(annotated.valid) if known is None else pad(known)[1]
    flags = torch.cat([flags, torch.ones_like(boxes.valid)], dim=1)
    joined = unpad(*(torch.cat(pair, dim=1) for pair in zip(annotated, boxes, strict=True)), flags)
    return tuple(
        replace(
            target,
            boxes_xyxy=joint,
            labels=labels,
            pseudo=target.pseudo if len(labels) == len(target.labels) else pseudo,
        )
        for target, (joint, labels, pseudo) in zip(targets, joined, strict=True)
    )


def on_annotated(pseudo: PseudoBoxes, targets: Sequence[Target], found: PaddedDetections) -> Bool[Tensor, "b k"]:
    """Tell which detections lie on an annotated box of their class.

    Args:
        pseudo: From which overlap on they do.
        targets: One per image.
        found: In the frame of the targets.

    Returns:
        False for places that are not taken.
    """
    annotated = _annotated(targets)
    return _like(annotated, found).on(annotated, pseudo.merge_iou)


def _annotated(targets: Sequence[Target]) -> _Table:
    return _Table(*pad([each.boxes_xyxy for each in targets], [each.labels for each in targets]))


def _like(table: _Table, found: PaddedDetections) -> _Table:
    """Detections as a table whose numbers are of the types of another one's."""
    return _Table(found.valid, found.boxes_xyxy.to(table.boxes_xyxy), found.labels.to(table.labels))


def _ranked(found: PaddedDetections) -> PaddedDetections:
    """The valid ones of each image moved to the front, best first; one wait tells how many places are needed."""
    # Scores are at least 0.
    order = found.scores.masked_fill(~found.valid, -1).argsort(dim=1, descending=True, stable=True)
    order = order[:, : int(found.valid.sum(dim=1).amax())]
    return PaddedDetections(
        found.boxes_xyxy.take_along_dim(order[..., None], dim=1),
        found.scores.gather(1, order),
        found.labels.gather(1, order),
        found.valid.gather(1, order),
    )


def _survivors(ranked: PaddedDetections, iou: float, side_px: int) -> Bool[Tensor, "b k"]:
    """Which detections stay when doubles in the same class of the same image are suppressed; one wait.

    Each class of each image is shifted to a place of its own. The shift is a whole number and float64 holds it beside
    the box, so that what is suppressed depends neither on the number of the class nor on the place in the batch.
    """
    images, places = ranked.labels.shape
    group = ranked.labels * images + torch.arange(images, device=ranked.labels.device)[:, None]
    apart = ranked.boxes_xyxy.double() + (group * (side_px + 1))[..., None]
    # Those that are not valid come last, where they can suppress none that is.
    scores = ranked.scores.double().masked_fill(~ranked.valid, -1)
    kept = nms(apart.flatten(0, 1), scores.flatten(), iou)
    survivors = torch.zeros(images * places, dtype=torch.bool, device=kept.device)
    return survivors.index_fill_(0, kept, value=True).view(images, places)


def quality(before: Sequence[Target], after: Sequence[Target], *, device: torch.device) -> dict[str, LossTerm]:
    """Judge the pseudo boxes of some images by their hidden instances.

    Args:
        before: With the annotated instances.
        after: The same with pseudo boxes.
        device: Where the counts are wanted, also of no images.

    Returns:
        ``pseudo_per_image``; ``pseudo_precision``, the share of pseudo boxes that overlap a hidden instance of their
        class by half; ``pseudo_recall``, the share of hidden instances that such a box overlaps.
    """
    lengths = [len(old.labels) for old in before]
    boxes = [new.boxes_xyxy[length:] for new, length in zip(after, lengths, strict=True)]
    labels = [new.labels[length:] for new, length in zip(after, lengths, strict=True)]
    hidden_boxes, hidden_labels = [old.hidden_boxes_xyxy for old in before], [old.hidden_labels for old in before]
    right = found = torch.zeros((), device=device)
    if before:
        right, found = _hits(_Table(*pad(boxes, labels)), _Table(*pad(hidden_boxes, hidden_labels)))
    images, pseudo, hidden = (
        torch.full((), float(count), device=device)
        for count in (len(before), sum(map(len, labels)), sum(map(len, hidden_labels)))
    )
    return {
        "pseudo_per_image": LossTerm(pseudo, images),
        "pseudo_precision": LossTerm(right, pseudo),
        "pseudo_recall": LossTerm(found, hidden),
    }


class _Table(NamedTuple):
    """Boxes with their classes, and which of them there are."""

    valid: Bool[Tensor, "b n"]
    boxes_xyxy: Float[Tensor, "b n 4"]
    labels: Int[Tensor, "b n"]

    def alike(self, other: _Table) -> Float[Tensor, "b n m"]:
        """Intersection over union of boxes of the same class and image, 0 for all others."""
        same = (self.labels[:, :, None] == other.labels[:, None]) & self.valid[:, :, None] & other.valid[:, None]
        overlaps: Tensor = box_iou(self.boxes_xyxy.float(), other.boxes_xyxy.float())
        return overlaps.masked_fill(~same, 0)

    def on(self, other: _Table, iou: float) -> Bool[Tensor, "b n"]:
        """Which boxes overlap one of the same class and image by more than ``iou``."""
        return (self.alike(other) > iou).any(dim=2)


def _hits(pseudo: _Table, hidden: _Table) -> tuple[Tensor, Tensor]:
    """How many pseudo boxes overlap a hidden instance, and how many hidden instances are overlapped."""
    hits = pseudo.alike(hidden) >= TRUE_IOU
    return hits.any(dim=2).sum().float(), hits.any(dim=1).sum().float()
