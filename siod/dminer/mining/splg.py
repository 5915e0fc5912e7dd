"""SPLG: pseudo labels where unlabelled features resemble those of an annotated instance.

B images, C classes, D feature channels, H x W positions (P of them), N slots of annotated classes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor

from siod.dminer.mining.prototypes import MIN_NORM, Annotated, annotated_classes, full_precision, unit_length


def mine_pseudo_heatmap(
    features: Float[Tensor, "b d h w"],
    heatmap: Float[Tensor, "b c h w"],
    *,
    min_similarity: float = 0.6,
    scale: float = 1.0,
    annotated: Annotated | None = None,
) -> Float[Tensor, "b c h w"]:
    """Give unlabelled positions the class of the most similar annotated one, where similar enough.

    Args:
        features: Dense features of any length; no gradient flows back.
        heatmap: Target of the annotated instances, in [0, 1], above 0 around them. A class with several
            instances in an image has one prototype.
        min_similarity: Least cosine similarity, in [-1, 1]; a similarity equal to it suffices.
        scale: Multiplies the similarity, above 0.
        annotated: Of ``annotated_classes``, when the caller has it already.

    Returns:
        Values in [0, 1] at unlabelled positions, at most one class at each, to be added to ``heatmap``; 0
        elsewhere.

    Raises:
        ValueError: Batch or grid of the two maps differ, or ``scale`` or ``min_similarity`` is out of range.

    Source: Li et al., SIOD, CVPR 2022, Eq. 3 and 4; comparison and clamping as in the authors' code.

    Example:
        >>> features = torch.tensor([[1.0, 0.8, 0.0], [0.0, 0.6, 1.0]]).view(1, 2, 1, 3)
        >>> heatmap = torch.tensor([1.0, 0.0, 0.0]).view(1, 1, 1, 3)
        >>> mine_pseudo_heatmap(features, heatmap).flatten()
        tensor([0.0000, 0.8000, 0.0000])
    """
    refuse_unlike_grids(features, heatmap)
    if not -1 <= min_similarity <= 1:
        raise ValueError(f"min_similarity must be in [-1, 1], got {min_similarity}")
    if not scale > 0:
        raise ValueError(f"scale must be above 0, got {scale}")
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        annotated = annotated_classes([heatmap])[0] if annotated is None else annotated
        similarity = _similarity(full_precision(features).flatten(2), annotated)
        # Eq. 4: c, v = argmax over annotated classes; pseudo = v * scale where v >= min_similarity
        best, slot = similarity.masked_fill(~annotated.present[:, :, None], -torch.inf).max(dim=1)
        found = annotated.unlabelled & (best >= min_similarity)
        values = torch.where(found, (best * scale).clamp(0, 1), 0.0)
        pseudo = torch.zeros_like(heatmap).flatten(2)
        pseudo.scatter_(1, annotated.classes.gather(1, slot)[:, None], values[:, None].to(pseudo.dtype))
    return pseudo.view_as(heatmap)


def _similarity(features: Float[Tensor, "b d p"], annotated: Annotated) -> Float[Tensor, "b n p"]:
    """Cosine similarity of every position to every prototype.

    Lengths are divided out of the small products, not out of the features: no copy of them is made.
    """
    inverse_norm = 1 / torch.linalg.vector_norm(features, dim=1, keepdim=True).clamp(min=MIN_NORM)
    # Eq. 3: G_c = unit length of sum over positions of Y_c F, with F of unit length
    heat = annotated.heat.to(features.dtype) * inverse_norm
    prototypes = unit_length(torch.bmm(heat, features.transpose(1, 2)))
    return torch.bmm(prototypes, features).mul_(inverse_norm)


def refuse_unlike_grids(features: Tensor, heatmap: Tensor) -> None:
    """Raise a ValueError unless both are B x ? x H x W with the same B, H and W."""
    expected, received = (features.shape[0], *features.shape[2:]), (heatmap.shape[0], *heatmap.shape[2:])
    if features.dim() != 4 or expected != received:  # noqa: PLR2004  (B, C, H, W)
        raise ValueError(
            f"heatmap must have the batch, height and width of features {tuple(features.shape)}, "
            f"got {tuple(heatmap.shape)}"
        )
