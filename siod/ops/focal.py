"""Focal losses that pseudo labels can enter: of centre heatmaps, and of anchors with hard labels.

B images, C classes, H x W positions.
"""

from __future__ import annotations

import math
from itertools import starmap
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Bool, Float  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from siod.types import LossTerm

if TYPE_CHECKING:
    from collections.abc import Iterator

# Scores are kept this far from 0 and 1, so that their logarithm stays finite.
SCORE_MARGIN = 1e-4
# Entries worked on at a time: temporaries that fit a CPU's cache, few enough kernels on an accelerator.
CPU_CHUNK, DEVICE_CHUNK = 1 << 17, 1 << 24


def penalty_reduced_focal_terms(
    scores: Float[Tensor, "b c h w"],
    target: Float[Tensor, "b c h w"],
    *,
    pseudo: Float[Tensor, "b c h w"] | None = None,
    ignored: Bool[Tensor, "b c h w"] | None = None,
    unlabelled: Bool[Tensor, "b c"] | None = None,
) -> LossTerm:
    """Sum the penalty-reduced focal loss over a batch and count its positives.

    A target of exactly 1 is a positive. Every other entry is a negative whose weight falls as the target
    rises. Computed in float32 or better whatever the input, autocast included.

    Args:
        scores: After the sigmoid, in [0, 1]; the gradient flows into them alone.
        target: In [0, 1].
        pseudo: In [0, 1], added to ``target``, the sum being clamped to 1.
        ignored: Negatives to leave out; positives stay.
        unlabelled: Classes of each image that nobody looked for; all their negatives are left out.

    Returns:
        The sum, and the number of positives.

    Raises:
        ValueError: The shapes differ.

    Source: Zhou et al., Objects as Points, 2019, Eq. 1; Li et al., SIOD, CVPR 2022, Eq. 5.
    """
    for name, other in (("target", target), ("pseudo", pseudo), ("ignored", ignored)):
        if other is not None and other.shape != scores.shape:
            raise ValueError(f"{name} must have the shape of scores {tuple(scores.shape)}, got {tuple(other.shape)}")
    if unlabelled is not None:
        of_class = unlabelled[:, :, None, None].expand_as(scores)
        ignored = of_class if ignored is None else ignored | of_class
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return LossTerm(*_FocalSum.apply(scores, target, pseudo, ignored))


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


def sigmoid_focal_terms(
    logits: Float[Tensor, "*n c"],
    target: Float[Tensor, "*n c"],
    *,
    pseudo: Float[Tensor, "*n c"] | None = None,
    kept: Float[Tensor, "*n #c"] | None = None,
) -> LossTerm:
    """Sum the focal loss of anchors over a batch and count its positives.

    Pseudo labels enter as in Eq. 5: a negative of soft label p weighs (1 - p)^4 of what it would, and a soft
    label of exactly 1 is a positive. Without ``pseudo`` and ``kept`` this is torchvision's loss.

    Args:
        logits: Before the sigmoid.
        target: 1 for the class of an object, 0 otherwise.
        pseudo: In [0, 1], added to ``target``, the sum being clamped to 1.
        kept: The share of its loss a negative keeps, in [0, 1].

    Returns:
        The sum, and the number of positives.

    Source: Lin et al., Focal Loss, ICCV 2017, Eq. 5 (alpha 0.25, gamma 2); Li et al., SIOD, CVPR 2022, Eq. 5.

    Example:
        >>> logits, target = torch.zeros(2, 1), torch.tensor([[1.0], [0.0]])
        >>> sigmoid_focal_terms(logits, target).mean()  # (1/4 + 3/4) 0.25 log 2
        tensor(0.1733)
        >>> pseudo = torch.tensor([[0.0], [0.5]])
        >>> sigmoid_focal_terms(logits, target, pseudo=pseudo).mean()  # (1/4 + 3/4 / 16) 0.25 log 2
        tensor(0.0514)
    """
    if pseudo is None and kept is None:
        return LossTerm(sigmoid_focal_loss(logits, target, reduction="sum"), target.sum())
    wanted = target if pseudo is None else (target + pseudo).clamp(max=1)
    positive = (wanted == 1).to(logits.dtype)
    weight = (1 - wanted).square_().square_()
    if kept is not None:
        weight.mul_(kept)
    # The weight of a positive is 0 so far.
    loss = sigmoid_focal_loss(logits, positive) * weight.add_(positive)
    return LossTerm(loss.sum(), positive.sum())


def varifocal_loss(
    logits: Float[Tensor, "*n c"],
    quality: Float[Tensor, "*n c"],
    positive: Bool[Tensor, "*n c"],
    *,
    alpha: float,
    gamma: float,
    kept: Float[Tensor, "*n #c"] | None = None,
) -> Float[Tensor, "*n c"]:
    """The loss of predictions whose score is to be the overlap with their object.

    Args:
        logits: Before the sigmoid.
        quality: Of positives the overlap, in [0, 1]; 0 of negatives.
        positive: The entries of objects.
        alpha: Factor of the negatives.
        gamma: Power of a negative's score that weighs it.
        kept: The share of its loss a negative keeps, in [0, 1].

    Returns:
        Of each entry, not negative.

    Source: Zhang et al., VarifocalNet, CVPR 2021, Eq. 2, in the form of RT-DETR's code.

    Example:
        >>> logits, quality = torch.zeros(2, 1), torch.tensor([[0.5], [0.0]])
        >>> varifocal_loss(logits, quality, quality > 0, alpha=0.75, gamma=2.0).T  # 0.5 log 2 and 0.75 / 4 log 2
        tensor([[0.3466, 0.1300]])
    """
    negative = alpha * logits.detach().sigmoid().pow(gamma)
    weight = torch.where(positive, quality, negative if kept is None else negative * kept)
    return functional.binary_cross_entropy_with_logits(logits, quality, weight, reduction="none")


class _FocalSum(torch.autograd.Function):
    """The sum with its gradient worked out by hand.

    Left to autograd, a dozen temporaries as large as the heatmap live until the backward pass; here one
    does, the gradient, and the rest is as large as a chunk.
    """

    @staticmethod
    def forward(
        ctx: Any, scores: Tensor, target: Tensor, pseudo: Tensor | None, ignored: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        slopes = torch.empty_like(scores, memory_format=torch.contiguous_format)
        is_positive = torch.empty_like(slopes, dtype=torch.bool)
        chunks = _chunks(scores, target, pseudo, ignored, slopes, is_positive)
        total = torch.stack([_negatives(chunk) for chunk in chunks]).sum()
        index = is_positive.view(-1).nonzero().squeeze(1)
        total += _positives(scores.reshape(-1)[index], index, slopes.view(-1))
        count = torch.full_like(total, len(index))
        ctx.save_for_backward(slopes)
        ctx.mark_non_differentiable(count)
        return total, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor, None, None, None]:
        (slopes,) = ctx.saved_tensors
        return slopes * upstream, None, None, None


class _Chunk(NamedTuple):
    """A piece of each tensor, flat; ``slope`` and ``is_positive`` are written to."""

    score: Tensor
    target: Tensor
    pseudo: Tensor | None
    ignored: Tensor | None
    slope: Tensor
    is_positive: Tensor


def _chunks(scores: Tensor, *others: Tensor | None) -> Iterator[_Chunk]:
    """Cut tensors of one shape into the same pieces; an absent tensor has absent pieces."""
    size = CPU_CHUNK if scores.device.type == "cpu" else DEVICE_CHUNK
    absent = (None,) * math.ceil(scores.numel() / size)
    pieces = (
        absent if tensor is None else torch.split(tensor.contiguous().view(-1), size) for tensor in (scores, *others)
    )
    return starmap(_Chunk, zip(*pieces, strict=True))


def _negatives(chunk: _Chunk) -> Tensor:
    """Sum over a chunk as if all were negative; a positive weighs nothing."""
    score, target, pseudo, ignored, slope, is_positive = chunk
    wanted = target if pseudo is None else (target + pseudo).clamp_(max=1)
    torch.eq(wanted, 1, out=is_positive)
    weight = (1 - wanted.to(score.dtype)).square_().square_()
    if ignored is not None:
        weight.masked_fill_(ignored, 0)
    probability = score.clamp(SCORE_MARGIN, 1 - SCORE_MARGIN)
    rest = 1 - probability
    log_rest = rest.log()
    # Eq. 5, gamma = 2, alpha = 4: - (1 - t)^4 p^2 log(1 - p),
    # whose derivative is (1 - t)^4 p (p / (1 - p) - 2 log(1 - p))
    weight.mul_(probability)
    torch.div(probability, rest, out=slope).sub_(log_rest, alpha=2).mul_(weight)
    slope.masked_fill_(probability != score, 0)
    return -weight.mul_(probability).mul_(log_rest).sum()


def _positives(score: Tensor, index: Tensor, slope: Tensor) -> Tensor:
    """Sum over the positives, and write the gradient to their places in ``slope``."""
    probability = score.clamp(SCORE_MARGIN, 1 - SCORE_MARGIN)
    rest, log_probability = 1 - probability, probability.log()
    # Eq. 5: - (1 - p)^2 log p, whose derivative is (1 - p) (2 log p - (1 - p) / p)
    gradient = rest * (2 * log_probability - rest / probability)
    slope[index] = gradient.masked_fill(probability != score, 0)
    return -(rest.square() * log_probability).sum()
