"""The penalty-reduced focal loss: values and gradients worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from siod.ops import focal
from siod.ops.focal import SCORE_MARGIN, penalty_reduced_focal_loss, penalty_reduced_focal_terms

LOG2 = math.log(2)


def row(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(1, 1, 1, -1)


def by_autograd(scores: torch.Tensor, target: torch.Tensor, ignored: torch.Tensor | None = None) -> torch.Tensor:
    """The loss as it is written down, left to autograd."""
    probability = scores.clamp(SCORE_MARGIN, 1 - SCORE_MARGIN)
    positive = -((1 - probability) ** 2) * probability.log()
    negative = -((1 - target) ** 4) * probability**2 * (1 - probability).log()
    if ignored is not None:
        negative = torch.where(ignored, 0.0, negative)
    return torch.where(target == 1, positive, negative).sum() / (target == 1).sum().clamp(min=1)


def random_case(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(2, 3, 5, 7, generator=generator, dtype=torch.float64)
    target = torch.rand(2, 3, 5, 7, generator=generator, dtype=torch.float64)
    target = torch.where(target > 0.9, 1.0, target)
    return scores, target, torch.rand(2, 3, 5, 7, generator=generator) > 0.8


def test_a_positive_a_near_one_and_a_negative() -> None:
    # All scores 1/2: each entry has 1/4 log 2, weighed 1, (1 - 1/2)^4 and 1; one positive.
    scores = row(0.5, 0.5, 0.5).requires_grad_()
    loss = penalty_reduced_focal_loss(scores, row(1.0, 0.5, 0.0))
    assert loss.item() == pytest.approx(0.25 * LOG2 * (1 + 1 / 16 + 1), rel=1e-6)
    loss.backward()
    # Positive: (1 - p) (2 log p - (1 - p) / p). Negative: p (p / (1 - p) - 2 log(1 - p)), times its weight.
    rising = 0.5 * (1 + 2 * LOG2)
    assert scores.grad is not None
    assert scores.grad.flatten().tolist() == pytest.approx([-rising, rising / 16, rising], rel=1e-6)


def test_without_positives_the_sum_is_divided_by_one() -> None:
    terms = penalty_reduced_focal_terms(row(0.5, 0.5), row(0.0, 0.0))
    assert terms.count == 0
    assert terms.mean().item() == pytest.approx(0.5 * LOG2, rel=1e-6)


def test_ignoring_leaves_out_negatives_but_not_positives() -> None:
    everything = torch.ones(1, 1, 1, 2, dtype=torch.bool)
    loss = penalty_reduced_focal_loss(row(0.5, 0.5), row(1.0, 0.0), everything)
    assert loss.item() == pytest.approx(0.25 * LOG2, rel=1e-6)


def test_pseudo_labels_are_added_and_the_sum_is_clamped() -> None:
    scores, target, pseudo = row(0.3, 0.6, 0.9), row(0.0, 0.25, 0.5), row(0.0, 0.5, 0.75)
    added = penalty_reduced_focal_terms(scores, target, pseudo=pseudo)
    expected = penalty_reduced_focal_terms(scores, row(0.0, 0.75, 1.0))
    assert added.total == expected.total
    assert added.count == expected.count == 1


def test_scores_of_zero_and_one_give_a_finite_loss_and_no_gradient() -> None:
    scores = row(0.0, 1.0, 0.0, 1.0).requires_grad_()
    loss = penalty_reduced_focal_loss(scores, row(1.0, 1.0, 0.0, 0.0))
    loss.backward()
    assert math.isfinite(loss.item())
    assert scores.grad is not None
    assert scores.grad.abs().sum() == 0


@pytest.mark.parametrize(
    ("score", "target", "expected"),
    [
        (0.0, 0.0, -(SCORE_MARGIN**2) * math.log1p(-SCORE_MARGIN)),
        (1.0, 1.0, -(SCORE_MARGIN**2) * math.log1p(-SCORE_MARGIN)),
        (0.0, 1.0, -((1 - SCORE_MARGIN) ** 2) * math.log(SCORE_MARGIN)),
        (1.0, 0.0, -((1 - SCORE_MARGIN) ** 2) * math.log(SCORE_MARGIN)),
    ],
)
def test_a_score_of_zero_or_one_counts_as_the_margin(score: float, target: float, expected: float) -> None:
    loss = penalty_reduced_focal_loss(row(score).double(), row(target).double())
    assert loss.item() == pytest.approx(expected, rel=1e-9, abs=0)


def test_the_loss_has_the_precision_of_the_scores() -> None:
    term = penalty_reduced_focal_terms(row(0.5, 0.5), row(1.0, 0.0).double())
    assert term.total.dtype == term.count.dtype == torch.float32
    assert term.total.item() == pytest.approx(0.5 * LOG2, rel=1e-6)


@given(st.integers(0, 2**31), st.booleans())
def test_loss_and_gradient_agree_with_autograd(seed: int, mask: bool) -> None:  # noqa: FBT001
    scores, target, ignored = random_case(seed)
    ours, theirs = scores.clone().requires_grad_(), scores.clone().requires_grad_()
    loss = penalty_reduced_focal_loss(ours, target, ignored if mask else None)
    expected = by_autograd(theirs, target, ignored if mask else None)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 13, 210, 1 << 20])
def test_the_size_of_the_chunks_does_not_matter(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, target, ignored = random_case(0)
    expected = by_autograd(scores, target, ignored)
    monkeypatch.setattr(focal, "CPU_CHUNK", chunk)
    assert penalty_reduced_focal_loss(scores, target, ignored).item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize(("device", "sizes"), [("cpu", [100, 100, 10]), ("meta", [150, 60])])
def test_chunks_are_as_large_as_the_device_likes_them(
    device: str, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(focal, "CPU_CHUNK", 100)
    monkeypatch.setattr(focal, "DEVICE_CHUNK", 150)
    scores = torch.zeros(2, 3, 5, 7, device=device)
    chunks = list(focal._chunks(scores, scores, None, None, scores, scores == 1))
    assert [chunk.score.numel() for chunk in chunks] == sizes


def test_a_mask_expanded_over_the_classes_and_channels_last_scores_are_understood() -> None:
    scores, target, ignored = random_case(1)
    everywhere = ignored[:, :1].expand_as(ignored)
    ours = scores.contiguous(memory_format=torch.channels_last).requires_grad_()
    theirs = scores.clone().requires_grad_()
    penalty_reduced_focal_loss(ours, target, everywhere).backward()
    by_autograd(theirs, target, everywhere).backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-12)


@given(st.integers(0, 2**31))
def test_the_terms_of_a_batch_are_those_of_its_images_added_up(seed: int) -> None:
    scores, target, _ = random_case(seed)
    whole = penalty_reduced_focal_terms(scores, target)
    parts = [penalty_reduced_focal_terms(scores[i : i + 1], target[i : i + 1]) for i in range(2)]
    assert whole.total.item() == pytest.approx(sum(part.total.item() for part in parts), rel=1e-12)
    assert whole.count == parts[0].count + parts[1].count


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_scores_under_autocast_are_summed_in_float32(dtype: torch.dtype) -> None:
    scores = torch.rand(1, 2, 8, 8).to(dtype).requires_grad_()
    target = torch.zeros(1, 2, 8, 8)
    target[0, 0, 3, 3] = 1
    with torch.autocast("cpu", dtype=dtype):
        loss = penalty_reduced_focal_loss(scores, target)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(by_autograd(scores.detach().float(), target).item(), rel=1e-5)
    assert scores.grad is not None
    assert scores.grad.dtype == dtype
    assert scores.grad.isfinite().all()


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("name", ["target", "pseudo", "ignored"])
def test_a_map_of_another_shape_is_refused(name: str) -> None:
    maps = {"target": row(0.0, 0.0), name: row(0.0, 0.0, 0.0)}
    message = rf"{name} must have the shape of scores \(1, 1, 1, 2\), got \(1, 1, 1, 3\)"
    with pytest.raises(ValueError, match=message):
        penalty_reduced_focal_terms(row(0.5, 0.5), **maps)
