"""What settings ask of anchors: that they leave no gaps, and that no two at a position are the same box."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAST_ANCHOR_STRIDES = 2
"""How many strides wide anchors must be, centred at multiples of the stride, to reach the lower right edges."""


def coinciding_sizes(sizes_px: Sequence[int], ratios: Sequence[float]) -> tuple[int, int] | None:
    """Find two anchors of a position that are the same box once rounded.

    Args:
        sizes_px: Square roots of the anchors' areas in pixels, 1 or more.
        ratios: Height over width, each with every size.

    Returns:
        The sizes of the first two that coincide, or None.

    Source: torchvision's ``AnchorGenerator``, which rounds half widths and half heights to whole pixels.

    Example:
        >>> coinciding_sizes((8, 9), (1.0,)), coinciding_sizes((8, 10), (0.5, 1.0, 2.0))
        ((8, 9), None)
    """
    seen: dict[tuple[int, int], int] = {}
    for ratio in ratios:
        for size in sizes_px:
            half_sides = round(size / math.sqrt(ratio) / 2), round(size * math.sqrt(ratio) / 2)
            if half_sides in seen:
                return seen[half_sides], size
            seen[half_sides] = size
    return None
