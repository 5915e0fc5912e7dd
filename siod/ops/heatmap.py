"""Centre heatmaps: how annotated boxes are drawn into them, and how peaks are read from them.

B images, C classes, H x W positions of the output grid, N boxes of the whole batch, K peaks.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor
from torch.nn import functional

from siod.ops.boxes import centres_and_sizes


def gaussian_radius(
    height: Float[Tensor, "*n"], width: Float[Tensor, "*n"], min_overlap: float = 0.7
) -> Float[Tensor, "*n"]:
    """How far the corners of a box may move before its overlap with the original falls below a minimum.

    The three cases are both corners moved inwards, both outwards, and one each; the smallest wins. The
    roots are halved instead of divided by twice the leading coefficient, CornerNet's slip, because the
    published models were trained on such targets.

    Args:
        height: Heights on the output grid, positive.
        width: Widths on the output grid, positive.
        min_overlap: Intersection over union to keep, in (0, 1).

    Returns:
        Radii on the output grid, not negative.

    Raises:
        ValueError: ``min_overlap`` is outside (0, 1).

    Source: Law and Deng, CornerNet, ECCV 2018, section 3.2, as in its released code.

    Example:
        >>> gaussian_radius(torch.tensor([10.0]), torch.tensor([10.0]))
        tensor([2.7332])
    """
    if not 0 < min_overlap < 1:
        raise ValueError(f"min_overlap must lie between 0 and 1, got {min_overlap}")
    around, area = height + width, height * width
    shifted = (around + (around.square() - 4 * area * (1 - min_overlap) / (1 + min_overlap)).sqrt()) / 2
    inwards = (2 * around + (4 * around.square() - 16 * area * (1 - min_overlap)).sqrt()) / 2
    linear = 2 * min_overlap * around
    outwards = (-linear + (linear.square() + 16 * min_overlap * (1 - min_overlap) * area).sqrt()) / 2
    return torch.minimum(torch.minimum(shifted, inwards), outwards)


def draw_heatmap(
    boxes_xyxy: Float[Tensor, "n 4"],
    labels: Int[Tensor, " n"],
    image_index: Int[Tensor, " n"],
    *,
    shape: tuple[int, int, int, int],
    drawn: Bool[Tensor, " n"] | None = None,
) -> Float[Tensor, "b c h w"]:
    """Draw a Gaussian around the centre of every box, one map per image and class.

    A Gaussian ends at its integer radius, its standard deviation is a sixth of its diameter, and where
    several meet the greatest value stays.

    Args:
        boxes_xyxy: Boxes of the whole batch on the output grid, width and height positive.
        labels: Their classes, 0 to C - 1.
        image_index: Their images, 0 to B - 1.
        shape: (B, C, H, W).
        drawn: Which boxes to draw; None draws all.

    Returns:
        Values in [0, 1], exactly 1 at the integer part of each centre.

    Source: Zhou et al., Objects as Points, 2019, section 3, as in its released code.
    """
    batch, classes, height, width = shape
    centres, sizes = centres_and_sizes(boxes_xyxy)
    grid_x, grid_y = grid_positions(centres, height, width).unbind(1)
    box_width, box_height = sizes.ceil().unbind(1)
    radius = gaussian_radius(box_height, box_width).floor()
    # The Gaussian of a sum is the product of two: draw rows and columns apart, 1 x 1 at the centre.
    row = _gaussian_line(grid_x, radius, width)
    column = _gaussian_line(grid_y, radius, height)
    blobs = (column[:, :, None] * row[:, None, :]).flatten(1)
    if drawn is not None:
        blobs = blobs.masked_fill(~drawn[:, None], 0)
    maps = blobs.new_zeros(batch * classes, height * width)
    target_row = (image_index * classes + labels)[:, None].expand_as(blobs)
    return maps.scatter_reduce_(0, target_row, blobs, reduce="amax").view(shape)


def grid_positions(centres: Float[Tensor, "n 2"], height: int, width: int) -> Int[Tensor, "n 2"]:
    """The integer positions (x, y) that hold the centres; a centre on or beyond the edge goes to the last one."""
    across, down = centres.long().unbind(dim=1)
    return torch.stack([across.clamp(0, width - 1), down.clamp(0, height - 1)], dim=1)


def _gaussian_line(centre: Int[Tensor, " n"], radius: Float[Tensor, " n"], length: int) -> Float[Tensor, "n l"]:
    distance = (torch.arange(length, device=centre.device) - centre[:, None]).to(radius.dtype)
    sigma = (2 * radius[:, None] + 1) / 6
    values = (-distance.square() / (2 * sigma.square())).exp()
    return torch.where(distance.abs() <= radius[:, None], values, 0.0)


def peaks(scores: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Keep scores that are the greatest of their 3 x 3 neighbourhood; the others become 0.

    Args:
        scores: In [0, 1].

    Returns:
        Equal neighbours both stay.

    Source: Zhou et al., Objects as Points, 2019, section 3 (inference).
    """
    greatest = functional.max_pool2d(scores, kernel_size=3, stride=1, padding=1)
    return torch.where(scores == greatest, scores, 0.0)


class TopPositions(NamedTuple):
    """The best entries of each image's heatmap, best first; ``positions`` are ``y * W + x``."""

    scores: Float[Tensor, "b k"]
    labels: Int[Tensor, "b k"]
    positions: Int[Tensor, "b k"]


def top_positions(scores: Float[Tensor, "b c h w"], count: int) -> TopPositions:
    """Find the greatest entries over all classes and positions of each image.

    Args:
        scores: One map per class.
        count: How many; all entries where there are fewer.

    Returns:
        Scores, classes and positions, best first.

    Raises:
        ValueError: ``count`` is below 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    per_class = scores.shape[2] * scores.shape[3]
    flat = scores.flatten(1)
    best, index = flat.topk(min(count, flat.shape[1]), dim=1)
    return TopPositions(best, index // per_class, index % per_class)
