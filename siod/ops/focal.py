"""The penalty-reduced focal loss of centre heatmaps.

B images, C classes, H x W positions.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor

from siod.types import LossTerm

# Scores are kept this far from 0 and 1, so that their logarithm stays finite.
SCORE_MARGIN = 1e-4


def penalty_reduced_focal_terms(
    scores: Float[Tensor, "b c h w"],
    target: Float[Tensor, "b c h w"],
    *,
    ignored: Bool[Tensor, "b c h w"] | None = None,
) -> LossTerm:
    """Sum the penalty-reduced focal loss over a batch and count its positives.

    A target of exactly 1 is a positive. Every other entry is a negative whose weight falls as the target
    rises. Computed in float32 whatever the input, autocast included.

    Args:
        scores: After the sigmoid, in [0, 1].
        target: In [0, 1].
        ignored: Negatives to leave out; positives stay.

    Returns:
        The sum, and the number of positives.

    Raises:
        ValueError: The shapes differ.

    Source: Zhou et al., Objects as Points, 2019, Eq. 1; Li et al., SIOD, CVPR 2022, Eq. 5.
    """
    if scores.shape != target.shape:
        raise ValueError(f"target must have the shape of scores {tuple(scores.shape)}, got {tuple(target.shape)}")
    with torch.autocast(scores.device.type, enabled=False):
        probability = scores.float().clamp(SCORE_MARGIN, 1 - SCORE_MARGIN)
        target = target.float()
        positive = target == 1
        # Eq. 5, gamma = 2, alpha = 4: (1 - p)^2 log p where the target is 1, (1 - t)^4 p^2 log(1 - p) elsewhere
        weight = (1 - target).square().square()
        if ignored is not None:
            weight = weight.masked_fill(ignored, 0.0)
        right = torch.where(positive, probability, 1 - probability)
        wrong = torch.where(positive, 1 - probability, probability)
        total = -(weight.masked_fill(positive, 1.0) * wrong.square() * right.log()).sum()
    return LossTerm(total, positive.sum().to(total.dtype))


def penalty_reduced_focal_loss(
    scores: Float[Tensor, "b c h w"],
    target: Float[Tensor, "b c h w"],
    ignored: Bool[Tensor, "b c h w"] | None = None,
) -> Float[Tensor, ""]:
    """The penalty-reduced focal loss of a batch, divided by its number of positives (1 if there are none).

    Args:
        scores: After the sigmoid, in [0, 1].
        target: In [0, 1]; exactly 1 marks a positive.
        ignored: Negatives to leave out.

    Returns:
        A scalar, not negative.

    Source: Zhou et al., Objects as Points, 2019, Eq. 1.

    Example:
        >>> scores = torch.tensor([0.5, 0.5]).view(1, 1, 1, 2)
        >>> target = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
        >>> penalty_reduced_focal_loss(scores, target)  # 2 x 0.25 log 2
        tensor(0.3466)
    """
    return penalty_reduced_focal_terms(scores, target, ignored=ignored).mean()
