"""The annotated classes of each image, and their prototypes in feature space: what both miners start from.

B images, C classes, D feature channels, H x W positions (P of them). An image has 1 to 3 annotated classes
of C, so each is given a slot, N slots in all: no tensor here has both D and C, or N and D, beside P.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor

# Vectors shorter than this have no direction.
MIN_NORM = 1e-12


@dataclass(frozen=True)
class Annotated:
    """The annotated classes of a batch.

    N is the greatest number of annotated classes in one image, at least 1. Slots an image does not need
    are not ``present`` and their ``heat`` is 0. A position is ``unlabelled`` where the heat of every class
    is 0.
    """

    classes: Int[Tensor, "b n"]
    present: Bool[Tensor, "b n"]
    heat: Float[Tensor, "b n p"]
    unlabelled: Bool[Tensor, "b p"]


@torch.no_grad()
def annotated_classes(heatmap: Float[Tensor, "b c h w"]) -> Annotated:
    """Find the classes whose map is not zero everywhere.

    Args:
        heatmap: Target of the annotated instances, in [0, 1].

    Returns:
        The maps of those classes only, in ascending order of class.
    """
    maps = heatmap.flatten(2)
    present = maps.amax(dim=2) > 0
    slots = max(int(present.sum(dim=1).amax()), 1)
    classes = present.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :slots]
    heat = rows_of(maps, classes)
    return Annotated(classes, present.gather(1, classes), heat, heat.amax(dim=1) == 0)


def rows_of(maps: Float[Tensor, "b c p"], classes: Int[Tensor, "b n"]) -> Float[Tensor, "b n p"]:
    """The maps of some classes of each image."""
    return maps.gather(1, classes[:, :, None].expand(-1, -1, maps.shape[2]))


def unit_length(vectors: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
    """Scale vectors to length 1; those of no length stay 0 and pass a finite gradient.

    Example:
        >>> unit_length(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    norm = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / torch.where(norm > MIN_NORM, norm, 1.0)


def full_precision(tensor: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Half precision as float32; anything else as it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
