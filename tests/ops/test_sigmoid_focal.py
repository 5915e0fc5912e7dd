"""The focal loss of anchors: torchvision's without pseudo labels, Eq. 5's weights with them."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from siod.ops.focal import sigmoid_focal_terms


def a_batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 30, 4, generator=generator)
    return logits, (torch.rand(2, 30, 4, generator=generator) > 0.9).float()


def test_without_pseudo_labels_it_is_torchvision_s_to_the_bit() -> None:
    logits, target = a_batch()
    expected = sigmoid_focal_loss(logits, target, reduction="sum")
    for found in (sigmoid_focal_terms(logits, target), sigmoid_focal_terms(logits, target, pseudo=logits * 0)):
        assert torch.equal(found.total, expected)
        assert found.count == target.sum() > 0


def test_a_negative_keeps_the_fourth_power_of_its_doubt_and_a_positive_all() -> None:
    logits, target = a_batch()
    loss = sigmoid_focal_loss(logits, target)
    found = sigmoid_focal_terms(logits, target, pseudo=torch.full_like(target, 0.5))
    assert found.total.item() == pytest.approx((loss * torch.where(target == 1, 1, 1 / 16)).sum().item(), rel=1e-5)
    half = sigmoid_focal_terms(logits, target, kept=torch.full((2, 30, 1), 0.5))
    assert half.total.item() == pytest.approx((loss * torch.where(target == 1, 1, 0.5)).sum().item(), rel=1e-5)
    assert found.count == half.count == target.sum()


def test_a_pseudo_label_of_exactly_one_is_a_positive() -> None:
    """As in the loss of heatmaps: 0.25 (1 - s)^2 (-log s) with s = 1/2."""
    found = sigmoid_focal_terms(torch.zeros(1, 1), torch.zeros(1, 1), pseudo=torch.ones(1, 1))
    assert found.total.item() == pytest.approx(0.25 * 0.25 * 0.693147, rel=1e-5)
    assert found.count == 1


def test_no_gradient_reaches_the_pseudo_labels_from_what_is_left_of_a_negative() -> None:
    logits, target = a_batch()
    pseudo = torch.rand_like(target)
    leaf = logits.clone().requires_grad_()
    sigmoid_focal_terms(leaf, target, pseudo=pseudo).total.backward()
    expected = logits.clone().requires_grad_()
    weight = torch.where((target + pseudo).clamp(0, 1) == 1, 1.0, (1 - pseudo) ** 4)
    (sigmoid_focal_loss(expected, target) * weight).sum().backward()
    torch.testing.assert_close(leaf.grad, expected.grad)
