"""How good a miner is: what it found against the instances that were hidden from it.

B images, C classes, H x W positions, K found entries, M hidden instances of the whole batch.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Self

import torch
from jaxtyping import Bool, Float, Int  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor

from siod.ops.boxes import contains

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.types import Target


@dataclass(frozen=True)
class MiningCounts:
    """Sums over images, so that they add up over batches and workers.

    Attributes:
        images: Images looked at.
        entries: Entries (position and class) found.
        on_hidden: Those of them whose centre lies in a hidden instance of their class.
        on_annotated: Those of them whose centre lies in an annotated instance of their class instead.
        hidden: Hidden instances.
        recalled: Those of them with at least one found entry of their class inside.
    """

    images: Int[Tensor, ""]
    entries: Int[Tensor, ""]
    on_hidden: Int[Tensor, ""]
    on_annotated: Int[Tensor, ""]
    hidden: Int[Tensor, ""]
    recalled: Int[Tensor, ""]

    def __add__(self, other: MiningCounts) -> MiningCounts:
        """Join the counts of two disjoint sets of images."""
        return MiningCounts.from_tensor(self.as_tensor() + other.as_tensor())

    def as_tensor(self) -> Int[Tensor, " 6"]:
        """All counts in the order of the attributes, to be summed over workers."""
        return torch.stack(astuple(self))

    @classmethod
    def from_tensor(cls, counts: Int[Tensor, " 6"]) -> Self:
        """The inverse of ``as_tensor``."""
        return cls(*counts.unbind())

    def metrics(self, miner: str) -> dict[str, float]:
        """Name the quality figures of a miner.

        Args:
            miner: ``splg`` or ``pgcl``.

        Returns:
            ``mining/<miner>_per_image`` (entries), ``_precision`` (share of the entries that lie on a hidden
            instance), ``_on_annotated`` (share on the annotated one), ``_recall`` (share of the hidden
            instances found). A share of nothing is 0.
        """
        images, entries, on_hidden, on_annotated, hidden, recalled = self.as_tensor().tolist()
        return {
            f"mining/{miner}_per_image": entries / max(images, 1),
            f"mining/{miner}_precision": on_hidden / max(entries, 1),
            f"mining/{miner}_on_annotated": on_annotated / max(entries, 1),
            f"mining/{miner}_recall": recalled / max(hidden, 1),
        }


@torch.no_grad()
def mining_counts(
    masks: Sequence[Bool[Tensor, "b c h w"]], targets: Sequence[Target], strides_px: Sequence[int]
) -> MiningCounts:
    """Count what was found, and what of it is true.

    Args:
        masks: For each level of one detector, the entries found.
        targets: One per image.
        strides_px: Pixels between neighbouring positions of each level; position (x, y) has its centre at
            ((x + 1/2) stride, (y + 1/2) stride).

    Returns:
        Counts over the batch. A hidden instance found in several levels counts once.
    """
    images, labels, points = _found(masks, strides_px)
    hidden = _inside(
        [target.hidden_boxes_xyxy for target in targets],
        [target.hidden_labels for target in targets],
        images,
        labels,
        points,
    )
    annotated = _inside(
        [target.boxes_xyxy for target in targets], [target.labels for target in targets], images, labels, points
    )
    on_hidden = hidden.any(dim=0)
    figures = (
        torch.tensor(len(targets), device=points.device),
        torch.tensor(len(points), device=points.device),
        on_hidden.sum(),
        (annotated.any(dim=0) & ~on_hidden).sum(),
        torch.tensor(len(hidden), device=points.device),
        hidden.any(dim=1).sum(),
    )
    return MiningCounts(*figures)


def _found(masks: Sequence[Tensor], strides_px: Sequence[int]) -> tuple[Tensor, Tensor, Float[Tensor, "k 2"]]:
    """Image, class and centre (x, y in pixels) of every found entry."""
    images, labels, points = [], [], []
    for mask, stride_px in zip(masks, strides_px, strict=True):
        image, label, y, x = mask.nonzero(as_tuple=True)
        images.append(image)
        labels.append(label)
        points.append((torch.stack([x, y], dim=1) + 0.5) * stride_px)
    return torch.cat(images), torch.cat(labels), torch.cat(points)


def _inside(
    boxes_of: Sequence[Tensor], labels_of: Sequence[Tensor], images: Tensor, labels: Tensor, points: Tensor
) -> Bool[Tensor, "m k"]:
    """Whether a box of the batch has the image and class of an entry, and contains its centre."""
    image_of = torch.cat([torch.full_like(one, index) for index, one in enumerate(labels_of)])
    same = (image_of[:, None] == images) & (torch.cat(list(labels_of))[:, None] == labels)
    return same & contains(torch.cat(list(boxes_of)), points)
