"""The annotated classes of each image, and their prototypes in feature space: what both miners start from.

B images, C classes, D feature channels, H x W positions (P of them). An image has 1 to 3 annotated classes
of C, so each is given a slot, N slots in all: no tensor here has both D and C, or N and D, beside P.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

# Vectors shorter than this have no direction.
MIN_NORM = 1e-12


@dataclass(frozen=True)
class Annotated:
    """The annotated classes of a batch.

    N is the greatest number of annotated classes in one image, at least 1. Slots an image does not need
    are not ``present`` and their ``heat`` is 0. A position is ``unlabelled`` where the heat of every class
    is 0. ``labelled`` counts the entries of ``heat`` that are not 0.
    """

    classes: Int[Tensor, "b n"]
    present: Bool[Tensor, "b n"]
    heat: Float[Tensor, "b n p"]
    unlabelled: Bool[Tensor, "b p"]
    labelled: int


@torch.no_grad()
def annotated_classes(heatmaps: Sequence[Float[Tensor, "b c h w"]]) -> list[Annotated]:
    """Find the classes whose map is not zero everywhere, in each level of a detector.

    Their numbers have to be read from the device: once, for all levels.

    Args:
        heatmaps: Targets of the annotated instances, in [0, 1].

    Returns:
        For each level the maps of those classes only, in ascending order of class.
    """
    levels = [heatmap.flatten(2) for heatmap in heatmaps]
    present = [maps.amax(dim=2) > 0 for maps in levels]
    sizes = [one.count_nonzero(dim=1).amax() for one in present] + [maps.count_nonzero() for maps in levels]
    numbers = torch.stack(sizes).tolist()
    slots, labelled = numbers[: len(levels)], numbers[len(levels) :]
    return [_annotated(*level) for level in zip(levels, present, slots, labelled, strict=True)]


def _annotated(maps: Tensor, present: Tensor, slots: int, labelled: int) -> Annotated:
    classes = present.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, : max(slots, 1)]
    heat = rows_of(maps, classes)
    return Annotated(classes, present.gather(1, classes), heat, heat.amax(dim=1) == 0, labelled)


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
