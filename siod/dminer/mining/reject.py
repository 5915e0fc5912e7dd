"""Reject: the unlabelled entries that look most like objects are no negatives.

B images, C classes, H x W positions (P of them), N slots of the classes that may have instances without a box.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor

from siod.dminer.mining.prototypes import Annotated, annotated_classes, full_precision, rows_of


@torch.no_grad()
def hardest_negatives(
    scores: Float[Tensor, "b c h w"],
    target: Float[Tensor, "b c h w"],
    hiding: Bool[Tensor, "b c"],
    *,
    share: float,
    slots: Annotated | None = None,
) -> Bool[Tensor, "b c h w"]:
    """Find the unlabelled entries with the greatest loss as negatives, a share of them in each image.

    An entry is a position and a class. The loss of a negative rises with its score, so the greatest losses are those of
    the best scores. Kim et al. reject labels of whole images, a share of all in a batch; here labels are those of
    positions, and each image gives its share, so that several workers find what one does.

    Args:
        scores: After the sigmoid.
        target: Annotated and pseudo labels, in [0, 1]; an entry is unlabelled where it is 0.
        hiding: The classes of each image that may have instances without a box; the entries of others are left alone.
        share: Of the unlabelled entries of those classes, in [0, 1], rounded to whole entries.
        slots: The same classes in slots, when the caller has it already.

    Returns:
        The entries to leave out of the negative loss.

    Raises:
        ValueError: The shapes of scores and target differ, or ``share`` is out of range.

    Source: Kim et al., Large Loss Matters in Weakly Supervised Multi-Label Classification (LL-R), CVPR 2022.

    Example:
        >>> scores = torch.tensor([0.9, 0.2, 0.7, 0.4]).view(1, 1, 1, 4)
        >>> target = torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 1, 1, 4)
        >>> hardest_negatives(scores, target, torch.tensor([[True]]), share=0.3).flatten()  # 1 of 3, the best scored
        tensor([False, False,  True, False])
    """
    if scores.shape != target.shape:
        raise ValueError(f"scores must have the shape of target {tuple(target.shape)}, got {tuple(scores.shape)}")
    if not 0 <= share <= 1:
        raise ValueError(f"share must be in [0, 1], got {share}")
    slots = annotated_classes([as_map(hiding)])[0] if slots is None else slots
    unlabelled = (rows_of(target.flatten(2), slots.classes) == 0) & slots.present[:, :, None]
    hardness = full_precision(rows_of(scores.flatten(2), slots.classes)).masked_fill(~unlabelled, -torch.inf)
    # LL-R: of the unlabelled entries the share of them with the greatest loss is left out
    number = (share * unlabelled.sum(dim=(1, 2))).round()
    best = hardness.flatten(1).topk(math.ceil(share * hardness[0].numel()), dim=1).indices
    positions = hardness.shape[2]
    entries = slots.classes.gather(1, best // positions) * positions + best % positions
    rejected = torch.arange(best.shape[1], device=best.device) < number[:, None]
    mask = torch.zeros_like(target, dtype=torch.bool).flatten(1)
    return mask.scatter_(1, entries, rejected).view_as(target)


def as_map(hiding: Bool[Tensor, "b c"]) -> Float[Tensor, "b c 1 1"]:
    """Classes as a heatmap of one position, for ``annotated_classes`` to read beside others."""
    return hiding[:, :, None, None].float()
