"""Which box an anchor belongs to, for all images of a batch at once.

B images, M slots for boxes of an image, not all of them taken, P anchors of an image.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor
from torchvision.ops import box_iou

BACKGROUND, IGNORED = -1, -2
"""What an anchor is matched with if not with a box."""
# Pairs of boxes and anchors at a time: 8 MiB for each number kept of a pair.
PAIRS_AT_ONCE = 1 << 21


def images_at_once(pairs: int) -> int:
    """How many images to work on at a time if each has so many pairs of boxes and anchors."""
    return max(1, PAIRS_AT_ONCE // max(pairs, 1))


def match_by_overlap(
    boxes_xyxy: Float[Tensor, "b m 4"],
    present: Bool[Tensor, "b m"],
    anchors_xyxy: Float[Tensor, "#b p 4"],
    *,
    object_iou: float,
    background_iou: float,
    best_of_each: bool = False,
) -> Int[Tensor, "b p"]:
    """Give each anchor to the box it overlaps most.

    Args:
        boxes_xyxy: Corners; M is at least 1.
        present: Which slots hold a box.
        anchors_xyxy: Of each image, or the same for all.
        object_iou: From this overlap on an anchor is its box's.
        background_iou: Below this one it is background; between the two it is ignored.
        best_of_each: Also the anchors that no other anchor overlaps their own best box more than are objects. A box
            that overlaps no anchor has none; torchvision gives it all of them.

    Returns:
        The slot of the box, or BACKGROUND or IGNORED.

    Source: Ren et al., Faster R-CNN, NeurIPS 2015, section 3.1.2, as torchvision does it, to the bit
        where boxes overlap anchors.

    Example:
        >>> boxes = torch.tensor([[[0.0, 0.0, 4.0, 4.0], [4.0, 0.0, 8.0, 4.0]]])
        >>> anchors = torch.tensor([[[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 6.0, 4.0], [9.0, 9.0, 12.0, 12.0]]])
        >>> match_by_overlap(boxes, torch.tensor([[True, True]]), anchors, object_iou=0.7, background_iou=0.3)
        tensor([[ 0, -2, -1]])
    """
    images, slots = present.shape
    at_once = images_at_once(slots * anchors_xyxy.shape[1])
    of_each = anchors_xyxy.expand(images, -1, -1)
    parts = zip(*(torch.split(each, at_once) for each in (boxes_xyxy, present, of_each)), strict=True)
    return torch.cat(
        [
            _match(box_iou(boxes, anchors), taken, object_iou, background_iou, best_of_each=best_of_each)
            for boxes, taken, anchors in parts
        ]
    )


def _match(
    overlaps: Float[Tensor, "b m p"],
    present: Bool[Tensor, "b m"],
    object_iou: float,
    background_iou: float,
    *,
    best_of_each: bool,
) -> Int[Tensor, "b p"]:
    taken = present[:, :, None]
    # Less than any box overlaps, so that an empty slot has no anchor, and an image without boxes is background.
    overlaps.masked_fill_(~taken, -1)
    overlap, nearest = overlaps.max(dim=1)
    match = nearest.masked_fill(overlap < object_iou, IGNORED).masked_fill(overlap < background_iou, BACKGROUND)
    if best_of_each:
        # All that overlap the box equally: ties are anchors of one shape on either side of it.
        best = (overlaps == overlaps.amax(dim=2, keepdim=True)) & (overlaps > 0)
        match = torch.where(best.any(dim=1), nearest, match)
    return match
