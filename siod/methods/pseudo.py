"""Pseudo boxes: which detections become labels, how they join the annotated boxes, and how many are true.

N boxes of an image.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torchvision.ops import batched_nms, box_iou, clip_boxes_to_image

from siod.types import Detections, LossTerm, Target
from siod.value import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

# A box cut down to less by the image's edge has lost its object.
SMALLEST_PX = 2.0
TRUE_IOU = 0.5
"""A pseudo box is true if it overlaps a hidden instance of its class so much."""

Score = Annotated[float, Field(ge=0, le=1)]
Overlap = Annotated[float, Field(gt=0, le=1)]


class PseudoBoxes(Value):
    """Which detections become labels.

    Those with a score above ``min_score`` that survive suppression at ``suppression_iou`` and overlap no annotated
    box of their class by more than ``merge_iou``. A CenterNet's scores are lower than those of other detectors.
    """

    min_score: Score = 0.6
    suppression_iou: Overlap = 0.5
    merge_iou: Overlap = 0.4

    def choose(self, found: Detections, image_size: tuple[int, int]) -> Detections:
        """The detections of an image worth learning from, cut at its edges.

        Args:
            found: In pixels of the input.
            image_size: Height and width of the input.

        Returns:
            The best first.
        """
        sure = found.scores > self.min_score
        scores, labels = found.scores[sure].float(), found.labels[sure]
        boxes = clip_boxes_to_image(found.boxes_xyxy[sure].float(), image_size)
        large = (boxes[:, 2:] - boxes[:, :2]).amin(dim=1) >= SMALLEST_PX
        boxes, scores, labels = boxes[large], scores[large], labels[large]
        kept = batched_nms(boxes, scores, labels, self.suppression_iou)
        return Detections(boxes[kept], scores[kept], labels[kept])

    def merge(self, target: Target, chosen: Detections) -> Target:
        """Add chosen detections to the annotated instances of an image.

        Args:
            target: Annotated and hidden instances; the hidden ones are not read.
            chosen: Of :meth:`choose`, in the frame of the target.

        Returns:
            The target with the boxes that are not annotated already.

        Source: Wang et al., Co-mining, AAAI 2021, section 3.2.
        """
        known = _overlaps(chosen, target.boxes_xyxy, target.labels) > self.merge_iou
        fresh = ~known.any(dim=1)
        return replace(
            target,
            boxes_xyxy=torch.cat([target.boxes_xyxy, chosen.boxes_xyxy[fresh].to(target.boxes_xyxy)]),
            labels=torch.cat([target.labels, chosen.labels[fresh].to(target.labels)]),
        )


def added(before: Target, after: Target) -> Detections:
    """What merging added to a target."""
    boxes, labels = after.boxes_xyxy[len(before.labels) :], after.labels[len(before.labels) :]
    return Detections(boxes, boxes.new_ones(len(boxes)), labels)


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
    boxes = right = hidden = found = torch.zeros((), device=device)
    for old, new in zip(before, after, strict=True):
        pseudo = added(old, new)
        hits = _overlaps(pseudo, old.hidden_boxes_xyxy, old.hidden_labels) >= TRUE_IOU
        boxes, hidden = boxes + len(pseudo.labels), hidden + len(old.hidden_labels)
        right, found = right + hits.any(dim=1).sum(), found + hits.any(dim=0).sum()
    count = torch.tensor(float(len(before)), device=device)
    return {
        "pseudo_per_image": LossTerm(boxes, count),
        "pseudo_precision": LossTerm(right, boxes),
        "pseudo_recall": LossTerm(found, hidden),
    }


def _overlaps(found: Detections, boxes_xyxy: Tensor, labels: Tensor) -> Tensor:
    """Intersection over union of detections and boxes of the same class, 0 for those of another."""
    same = found.labels[:, None] == labels
    overlaps: Tensor = box_iou(found.boxes_xyxy.float(), boxes_xyxy.float()) * same
    return overlaps
