"""PGCL: pull the best-scored unlabelled features towards the annotated instances of their class.

B images, C classes, D feature channels, H x W positions (P of them), N slots of annotated classes, M
selected positions of an image, K gathered feature vectors.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor

from siod.dminer.mining.prototypes import Annotated, annotated_classes, full_precision, rows_of, unit_length
from siod.dminer.mining.splg import refuse_unlike_grids
from siod.dminer.pgcl import Reduction  # noqa: TC001  (beartype resolves the annotations at run time)
from siod.types import LossTerm


class Selected(NamedTuple):
    """The best-scored unlabelled positions of each image; entries that are not ``valid`` fill up.

    ``slots`` are the slots of their self-predicted classes, among the annotated classes of the image.
    """

    positions: Int[Tensor, "b m"]
    slots: Int[Tensor, "b m"]
    valid: Bool[Tensor, "b m"]

    def mask(self, annotated: Annotated, shape: tuple[int, int, int, int]) -> Bool[Tensor, "b c h w"]:
        """The selected entries of a heatmap of the given shape: position and self-predicted class."""
        batch, classes, height, width = shape
        entries = annotated.classes.gather(1, self.slots) * (height * width) + self.positions
        mask = torch.zeros(batch, classes * height * width, dtype=torch.bool, device=entries.device)
        return mask.scatter_(1, entries, self.valid).view(shape)


def group_contrastive_loss(
    features: Float[Tensor, "b d h w"],
    scores: Float[Tensor, "b c h w"],
    heatmap: Float[Tensor, "b c h w"],
    *,
    top_m: int = 128,
    temperature: float = 0.07,
    reduction: Reduction = "authors",
) -> Float[Tensor, ""]:
    """The group contrastive loss of a batch.

    Args:
        features: Dense features of any length; the gradient flows into them alone.
        scores: After the sigmoid.
        heatmap: Target of the annotated instances, in [0, 1], 1 at their centres.
        top_m: Positions selected in each image; fewer where there are not as many unlabelled ones.
        temperature: Divides similarities, above 0.
        reduction: See :func:`group_contrastive_terms`.

    Returns:
        A scalar; 0 for a batch without annotations.

    Raises:
        ValueError: Shapes differ, or ``top_m`` or ``temperature`` is out of range.

    Source: Li et al., SIOD, CVPR 2022, Eq. 6.

    Example:
        >>> features = torch.eye(2).view(1, 2, 1, 2)  # a centre, and an unlabelled position at a right angle
        >>> heatmap = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
        >>> group_contrastive_loss(features, heatmap, heatmap, temperature=1.0)  # log(e + 1) - 1/2
        tensor(0.8133)
    """
    term, _ = group_contrastive_terms(
        features, scores, heatmap, top_m=top_m, temperature=temperature, reduction=reduction
    )
    return term.mean()


def group_contrastive_terms(
    features: Float[Tensor, "b d h w"],
    scores: Float[Tensor, "b c h w"],
    heatmap: Float[Tensor, "b c h w"],
    *,
    top_m: int = 128,
    temperature: float = 0.07,
    reduction: Reduction = "authors",
    annotated: Annotated | None = None,
) -> tuple[LossTerm, Selected]:
    """Sum the group contrastive loss over a batch.

    Each annotated class of an image asks with the features at its centres (their mean direction, if it has
    several) and has its prototype and the selected positions of its class as positive keys, among all
    selected positions and all prototypes of the image. Computed in float32 or better, autocast included.

    Args:
        features: Dense features of any length; the gradient flows into them alone.
        scores: After the sigmoid.
        heatmap: Target of the annotated instances, in [0, 1], 1 at their centres.
        top_m: Positions selected in each image, at least 1.
        temperature: Divides similarities, above 0.
        reduction: ``authors``: mean over the positive keys of a class, then over the annotated classes of the
            batch. ``paper``: selected keys weighed by one over their number in the image, prototypes by one
            over the image's classes, then the mean over annotated images.
        annotated: Of ``annotated_classes``, when the caller has it already.

    Returns:
        The sum with its count (annotated classes, or annotated images), and what was selected.

    Raises:
        ValueError: Shapes differ, or ``top_m`` or ``temperature`` is out of range.

    Source: Li et al., SIOD, CVPR 2022, section 3.3 and Eq. 6.
    """
    refuse_unlike_grids(features, heatmap)
    if scores.shape != heatmap.shape:
        raise ValueError(f"scores must have the shape of heatmap {tuple(heatmap.shape)}, got {tuple(scores.shape)}")
    if top_m < 1:
        raise ValueError(f"top_m must be at least 1, got {top_m}")
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    with torch.autocast(features.device.type, enabled=False):
        annotated = annotated_classes([heatmap])[0] if annotated is None else annotated
        selected = select_positions(scores, annotated, top_m)
        queries, prototypes, keys = _vectors(features.flatten(2), annotated, selected)
        similarity = torch.bmm(queries, torch.cat([keys, prototypes], dim=1).transpose(1, 2)) / temperature
        return _reduce(similarity, annotated, selected, reduction), selected


@torch.no_grad()
def select_positions(scores: Float[Tensor, "b c h w"], annotated: Annotated, top_m: int) -> Selected:
    """Select the unlabelled positions with the best scores for a class annotated in their image.

    Args:
        scores: After the sigmoid; only those of annotated classes count, the best of them at each position.
        annotated: The annotated classes.
        top_m: At most so many an image.

    Returns:
        Best first.
    """
    rows = full_precision(rows_of(scores.flatten(2), annotated.classes))
    best, slots = rows.masked_fill(~annotated.present[:, :, None], -torch.inf).max(dim=1)
    best = best.masked_fill(~annotated.unlabelled, -torch.inf)
    values, positions = best.topk(min(top_m, best.shape[1]), dim=1)
    return Selected(positions, slots.gather(1, positions), values > -torch.inf)


class _Vectors(NamedTuple):
    queries: Float[Tensor, "b n d"]
    prototypes: Float[Tensor, "b n d"]
    keys: Float[Tensor, "b m d"]


def _vectors(features: Float[Tensor, "b d p"], annotated: Annotated, selected: Selected) -> _Vectors:
    """Gather what the loss needs, once: labelled and selected positions are few among all."""
    batch, slots, _ = annotated.heat.shape
    # Their number is known, so that nothing waits for it.
    image, slot, position = annotated.heat.nonzero_static(size=annotated.labelled).unbind(1)
    key_image = torch.arange(batch, device=features.device)[:, None].expand_as(selected.positions)
    # Positions before channels: with channels last in memory, rows and their gradient stay contiguous.
    gathered = features.transpose(1, 2)[
        torch.cat([image, key_image.flatten()]), torch.cat([position, selected.positions.flatten()])
    ]
    vectors: Float[Tensor, "k d"] = unit_length(full_precision(gathered))
    labelled, keys = vectors[: len(image)], vectors[len(image) :]
    heat = annotated.heat[image, slot, position, None].to(vectors.dtype)
    is_centre = (annotated.heat == annotated.heat.amax(dim=2, keepdim=True))[image, slot, position, None]
    sums = vectors.new_zeros(batch * slots, vectors.shape[1])
    # Eq. 3: the prototype is the unit length of sum over positions of Y_c F
    prototypes = sums.index_add(0, image * slots + slot, labelled * heat)
    queries = sums.index_add(0, image * slots + slot, labelled * is_centre)
    return _Vectors(
        unit_length(queries).view(batch, slots, -1),
        unit_length(prototypes).view(batch, slots, -1),
        keys.view(batch, selected.positions.shape[1], -1),
    )


def _reduce(
    similarity: Float[Tensor, "b n mn"], annotated: Annotated, selected: Selected, reduction: Reduction
) -> LossTerm:
    """Contrast each query's positive keys with all keys of its image."""
    present, slots = annotated.present, annotated.present.shape[1]
    own_slot = torch.arange(slots, device=present.device)
    exists = torch.cat([selected.valid, present], dim=1)[:, None, :]
    is_group = (selected.slots[:, None, :] == own_slot[:, None]) & selected.valid[:, None, :] & present[:, :, None]
    is_own = torch.eye(slots, dtype=torch.bool, device=present.device) & present[:, :, None]
    # The least finite number instead of minus infinity: an image without annotations must not make NaN.
    similarity = similarity.masked_fill(~exists, torch.finfo(similarity.dtype).min)
    # Eq. 6: log exp(q k / t) / Z = q k / t - log Z
    log_share = similarity - similarity.logsumexp(dim=2, keepdim=True)
    if reduction == "authors":
        positive = torch.cat([is_group, is_own], dim=2)
        per_class = (log_share * positive).sum(dim=2) / positive.sum(dim=2).clamp(min=1)
        return LossTerm(-per_class.sum(), present.sum().to(similarity.dtype))
    group, own = log_share[:, :, :-slots], log_share[:, :, -slots:]
    per_image = (group * is_group).sum(dim=(1, 2)) / selected.valid.sum(dim=1).clamp(min=1)
    per_image = per_image + (own * is_own).sum(dim=(1, 2)) / present.sum(dim=1).clamp(min=1)
    return LossTerm(-per_image.sum(), present.any(dim=1).sum().to(similarity.dtype))
