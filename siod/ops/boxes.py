"""Boxes as corners and as centres.

N boxes. Corners are ``x1, y1, x2, y2``; centres are ``x, y``.
"""

from __future__ import annotations

import torch
from jaxtyping import Float  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor


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
