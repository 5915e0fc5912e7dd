"""Boxes as corners and as centres.

N boxes. Corners are ``x1, y1, x2, y2``; centres are ``x, y``.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor

# A predicted side is less than this many times the anchor's.
GREATEST_GROWTH = 1000 / 16
# Keeps a quotient of areas finite.
MARGIN = 1e-7


def centres_and_sizes(boxes_xyxy: Float[Tensor, "*n 4"]) -> tuple[Float[Tensor, "*n 2"], Float[Tensor, "*n 2"]]:
    """Split corners into centre and (width, height).

    Args:
        boxes_xyxy: Corners, in any unit.

    Returns:
        Centres (x, y) and sizes (width, height), in the same unit.

    Example:
        >>> centres_and_sizes(torch.tensor([[0.0, 0.0, 4.0, 2.0]]))
        (tensor([[2., 1.]]), tensor([[4., 2.]]))
    """
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return (low + high) / 2, high - low


def from_centres_and_sizes(centres: Float[Tensor, "*n 2"], sizes: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n 4"]:
    """Join centres (x, y) and sizes (width, height) into corners.

    Args:
        centres: In any unit.
        sizes: In the same unit, not negative.

    Returns:
        ``x1, y1, x2, y2``.

    Example:
        >>> from_centres_and_sizes(torch.tensor([[2.0, 1.0]]), torch.tensor([[4.0, 2.0]]))
        tensor([[0., 0., 4., 2.]])
    """
    half = sizes / 2
    return torch.cat([centres - half, centres + half], dim=-1)


def encode_deltas(
    boxes_xyxy: Float[Tensor, "*n 4"],
    anchors_xyxy: Float[Tensor, "*n 4"],
    *,
    shift_weight: float = 1.0,
    ratio_weight: float = 1.0,
) -> Float[Tensor, "*n 4"]:
    """Tell boxes by anchors near them: shifts of the centre in sides of the anchor, logarithms of ratios of sides.

    Args:
        boxes_xyxy: Corners; a box without area has deltas of minus infinity.
        anchors_xyxy: Corners, with an area.
        shift_weight: Factor of the shifts.
        ratio_weight: Factor of the logarithms.

    Returns:
        Of x, y, width and height.

    Source: Girshick et al., R-CNN, CVPR 2014, appendix C, as torchvision computes it, to the bit.

    Example:
        >>> encode_deltas(torch.tensor([[1.0, 0.0, 5.0, 8.0]]), torch.tensor([[0.0, 0.0, 4.0, 4.0]]))
        tensor([[0.2500, 0.5000, 0.0000, 0.6931]])
    """
    (centres, sides), (wanted_centres, wanted_sides) = _middles(anchors_xyxy), _middles(boxes_xyxy)
    shifts = shift_weight * (wanted_centres - centres) / sides
    return torch.cat([shifts, ratio_weight * torch.log(wanted_sides / sides)], dim=-1)


def decode_deltas(
    deltas: Float[Tensor, "*n 4"],
    anchors_xyxy: Float[Tensor, "*#n 4"],
    *,
    shift_weight: float = 1.0,
    ratio_weight: float = 1.0,
) -> Float[Tensor, "*n 4"]:
    """Decode deltas from anchors to boxes, the inverse of :func:`encode_deltas`.

    Args:
        deltas: Of x, y, width and height.
        anchors_xyxy: Corners; may be broadcast.
        shift_weight: Factor of the shifts.
        ratio_weight: Factor of the logarithms.

    Returns:
        Corners; sides are at most ``GREATEST_GROWTH`` times the anchor's.

    Source: Girshick et al., R-CNN, CVPR 2014, appendix C, as torchvision computes it, to the bit.

    Example:
        >>> decode_deltas(torch.tensor([[0.25, 0.5, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 4.0, 4.0]]))
        tensor([[1., 2., 5., 6.]])
    """
    centres, sides = _middles(anchors_xyxy)
    ratios = (deltas[..., 2:] / ratio_weight).clamp(max=math.log(GREATEST_GROWTH))
    return from_centres_and_sizes(deltas[..., :2] / shift_weight * sides + centres, ratios.exp() * sides)


def _middles(boxes_xyxy: Float[Tensor, "*n 4"]) -> tuple[Float[Tensor, "*n 2"], Float[Tensor, "*n 2"]]:
    """Centres and sizes, rounded as torchvision's box coder rounds them."""
    low, sides = boxes_xyxy[..., :2], boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]
    return low + 0.5 * sides, sides


def generalized_iou_loss(found_xyxy: Float[Tensor, "n 4"], wanted_xyxy: Float[Tensor, "n 4"]) -> Float[Tensor, " n"]:
    """1 minus the generalised overlap of each box with its own target.

    Like torchvision's, to the bit, but the host never waits for the device: no box is picked out by a mask.

    Args:
        found_xyxy: Corners.
        wanted_xyxy: Corners, with an area.

    Returns:
        In [0, 2].

    Source: Rezatofighi et al., GIoU, CVPR 2019.

    Example:
        >>> found, wanted = torch.tensor([[0.0, 0.0, 2.0, 1.0]]), torch.tensor([[1.0, 0.0, 4.0, 1.0]])
        >>> generalized_iou_loss(found, wanted)  # 1 of 4 overlap, and the box around both is full
        tensor([0.7500])
    """
    overlap, union = _overlap_and_union(found_xyxy, wanted_xyxy)
    x1, y1, x2, y2 = found_xyxy.unbind(-1)
    left, top, right, bottom = wanted_xyxy.unbind(-1)
    around = (torch.max(x2, right) - torch.min(x1, left)) * (torch.max(y2, bottom) - torch.min(y1, top))
    return 1 - (overlap / (union + MARGIN) - (around - union) / (around + MARGIN))


def paired_overlaps(found_xyxy: Float[Tensor, "n 4"], wanted_xyxy: Float[Tensor, "n 4"]) -> Float[Tensor, " n"]:
    """The intersection over union of each box with its own target.

    Args:
        found_xyxy: Corners.
        wanted_xyxy: Corners, with an area.

    Returns:
        In [0, 1].

    Example:
        >>> found, wanted = torch.tensor([[0.0, 0.0, 2.0, 1.0]]), torch.tensor([[1.0, 0.0, 4.0, 1.0]])
        >>> paired_overlaps(found, wanted)  # 1 of 4
        tensor([0.2500])
    """
    overlap, union = _overlap_and_union(found_xyxy, wanted_xyxy)
    return overlap / (union + MARGIN)


def _overlap_and_union(
    found_xyxy: Float[Tensor, "n 4"], wanted_xyxy: Float[Tensor, "n 4"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    # Corners are taken apart here once more, so that gradients add up in torchvision's order.
    x1, y1, x2, y2 = found_xyxy.unbind(-1)
    left, top, right, bottom = wanted_xyxy.unbind(-1)
    low_x, low_y = torch.max(x1, left), torch.max(y1, top)
    high_x, high_y = torch.min(x2, right), torch.min(y2, bottom)
    meet = (high_y > low_y) & (high_x > low_x)
    overlap = torch.where(meet, (high_x - low_x) * (high_y - low_y), 0.0)
    return overlap, (x2 - x1) * (y2 - y1) + (right - left) * (bottom - top) - overlap
