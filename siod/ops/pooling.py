"""Pseudo labels of positions as soft labels of the anchors that lie there.

B images, C classes, K kernels (one for each anchor size), H x W positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence


def pool_pseudo_labels(pseudo: Float[Tensor, "b c h w"], kernels: Sequence[int]) -> Float[Tensor, "b c k h w"]:
    """Average the pseudo labels around each position, over a wider neighbourhood for a larger anchor.

    A position beyond the edge of the map is no evidence of background, so it does not count: at the edge the
    mean is over the positions that exist, and a map of one value keeps that value everywhere.

    Args:
        pseudo: Values in [0, 1], as mined; no gradient flows back into them.
        kernels: Widths of the square neighbourhoods in positions, odd and at least 1; 1 copies the map.

    Returns:
        Values in [0, 1], one map for each kernel, in the order of ``kernels``.

    Raises:
        ValueError: There is no kernel, or one is even or below 1.

    Source: Li et al., SIOD, CVPR 2022, section 3.4 (kernels 1, 3, 5, 7, 9 for anchors of 32 to 512 px).

    Example:
        >>> pseudo = torch.tensor([0.0, 0.9, 0.0]).view(1, 1, 1, 3)
        >>> pool_pseudo_labels(pseudo, [1, 3]).flatten(3)
        tensor([[[[0.0000, 0.9000, 0.0000],
                  [0.4500, 0.3000, 0.4500]]]])
    """
    if not kernels or any(kernel < 1 or kernel % 2 == 0 for kernel in kernels):
        raise ValueError(f"kernels must be odd widths of at least 1, got {tuple(kernels)}")
    fixed = pseudo.detach()
    return torch.stack([_mean_around(fixed, kernel) for kernel in kernels], dim=2)


def _mean_around(maps: Float[Tensor, "b c h w"], kernel: int) -> Float[Tensor, "b c h w"]:
    return functional.avg_pool2d(maps, kernel, stride=1, padding=kernel // 2, count_include_pad=False)
