"""Suppression of doubles in all images of a batch at once.

torchvision suppresses in one list of boxes, and the host waits for the length of what is left. A list for each image
makes it wait once for each; here images share a list on a device, in which their boxes cannot meet. B images, K boxes
of each.
"""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Bool, Float, Int  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor
from torchvision.ops import nms

from siod.ops.ragged import first_places_of
from siod.types import PaddedDetections

# Two to these powers is what widths and heights of the images of one list are multiplied by. Any two images differ by
# 2^32 or more in one of them, and the powers of areas are small enough for float32.
STEP, STEPS, AREA_STEPS = 32, range(-3, 4), 2
POWERS = tuple((STEP * across, STEP * down) for across in STEPS for down in STEPS if abs(across + down) <= AREA_STEPS)
# Sides lie between these; smaller ones count as none.
LEAST_SIDE_PX, GREATEST_SIDE_PX = 2.0**-10, 2.0**13
# More than this much boxes of two images cannot overlap.
MEETING = GREATEST_SIDE_PX / LEAST_SIDE_PX / 2**STEP
# Boxes in one list. The work grows with its square; it is well spent where the host would wait, which a CPU never does.
CPU_BOXES, DEVICE_BOXES = 1, 1 << 15


def surviving(
    boxes_xyxy: Float[Tensor, "b k 4"],
    scores: Float[Tensor, "b k"],
    labels: Int[Tensor, "b k"] | None = None,
    *,
    iou: float,
) -> Bool[Tensor, "b k"]:
    """Tell which boxes no better box of the same image and class overlaps more than it may.

    What is left of an image is what torchvision's ``nms`` leaves of it, and with labels its ``batched_nms``, which
    shifts the classes apart. An overlap is a quotient of areas: it does not change, not even in its rounding, when all
    widths are multiplied by a power of two, nor when all heights are. So each image has powers of its own, so far apart
    that in one list the boxes of two images are too different in shape to overlap.

    Args:
        boxes_xyxy: Corners in pixels, sides below 8,192. Boxes with no area, as of slots to be left out, neither
            suppress nor are suppressed; sides below a thousandth of a pixel count as none.
        scores: Of two equal ones the first is better.
        labels: Boxes of different classes leave each other alone; None is one class.
        iou: Overlaps above are suppressed.

    Returns:
        True for those that stay.
    """
    batch, count = scores.shape
    most = CPU_BOXES if boxes_xyxy.device.type == "cpu" else DEVICE_BOXES
    at_once = min(len(POWERS), max(1, most // max(count, 1))) if iou > MEETING else 1
    apart = boxes_xyxy.float() if labels is None else _apart(boxes_xyxy.float(), labels)
    low, high = apart[..., :2], apart[..., 2:]
    apart = torch.cat([low, torch.where(high - low >= LEAST_SIDE_PX, high, low)], dim=2)
    scales = _scales(boxes_xyxy.device)[: min(at_once, batch)]
    left = []
    for some, of_some in zip(torch.split(apart, at_once), torch.split(scores.float(), at_once), strict=True):
        kept = nms((some * scales[: len(some), None]).flatten(0, 1), of_some.flatten(), iou)
        left.append(torch.zeros_like(of_some, dtype=torch.bool).flatten().index_fill_(0, kept, True).view_as(of_some))
    return torch.cat(left)


def _apart(boxes_xyxy: Float[Tensor, "b k 4"], labels: Int[Tensor, "b k"]) -> Float[Tensor, "b k 4"]:
    """Shift boxes so that those of two classes of an image do not meet, as torchvision does.

    In float32, as there: at 1,333 px coordinates of the 1,200th class are rounded to an eighth of a pixel.
    """
    furthest = boxes_xyxy.flatten(1).amax(dim=1, keepdim=True)
    return boxes_xyxy + (labels * (furthest + 1))[:, :, None]


@cache
def _scales(device: torch.device) -> Float[Tensor, "s 4"]:
    # Kept per device: a fresh copy in every step would make the host wait for the device.
    with torch.inference_mode(mode=False):
        powers = [(2.0**across, 2.0**down) * 2 for across, down in POWERS]
        return torch.tensor(powers, device=device)


def best_detections(
    boxes_xyxy: Float[Tensor, "b k 4"],
    scores: Float[Tensor, "b k"],
    labels: Int[Tensor, "b k"],
    *,
    iou: float,
    most: int,
) -> PaddedDetections:
    """Suppress doubles within each class of each image.

    Args:
        boxes_xyxy: Corners in pixels, not negative.
        scores: Those below 0 are no candidates.
        labels: Classes.
        iou: Overlaps above are suppressed.
        most: At most so many an image.

    Returns:
        Best first. The host waits twice for the batch, and once more for each further list.
    """
    candidates = max(int((scores >= 0).sum(dim=1).amax()), 1)
    best, order = scores.sort(dim=1, descending=True, stable=True)
    best, order = best[:, :candidates], order[:, :candidates]
    valid = best >= 0
    boxes = boxes_xyxy.take_along_dim(order[:, :, None], dim=1).masked_fill(~valid[:, :, None], 0)
    labels = labels.gather(1, order)
    places, there = first_places_of(surviving(boxes, best, labels, iou=iou) & valid, most)
    return PaddedDetections(
        boxes.take_along_dim(places[:, :, None], dim=1), best.gather(1, places), labels.gather(1, places), there
    )
