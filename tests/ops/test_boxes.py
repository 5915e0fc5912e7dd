"""Corners, centres and sizes; boxes told by anchors, and how far they are from their targets."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import generalized_box_iou_loss

from siod.ops.boxes import (
    centres_and_sizes,
    decode_deltas,
    encode_deltas,
    from_centres_and_sizes,
    generalized_iou_loss,
)

QUARTERS = st.integers(-4000, 4000).map(lambda n: n / 4)  # sums and halves of these are exact in float32


def test_a_box_is_its_centre_and_its_size() -> None:
    centres, sizes = centres_and_sizes(torch.tensor([[1.0, 2.0, 5.0, 10.0]]))
    assert centres.tolist() == [[3.0, 6.0]]
    assert sizes.tolist() == [[4.0, 8.0]]


@given(st.lists(st.tuples(QUARTERS, QUARTERS, QUARTERS, QUARTERS), min_size=1, max_size=5))
def test_splitting_and_joining_gives_the_box_back(corners: list[tuple[float, ...]]) -> None:
    boxes = torch.tensor(corners)
    assert torch.equal(from_centres_and_sizes(*centres_and_sizes(boxes)), boxes)


def random_boxes(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator) * 50
    return torch.cat([low, low + torch.rand(count, 2, generator=generator) * 40 + 0.1], dim=1)


@pytest.mark.parametrize(("shift", "ratio"), [(1.0, 1.0), (10.0, 5.0)])
def test_deltas_are_torchvision_s_to_the_bit(shift: float, ratio: float) -> None:
    coder = BoxCoder((shift, shift, ratio, ratio))
    boxes, anchors = random_boxes(500, 0), random_boxes(500, 1)
    boxes[0, 2:] = boxes[0, :2]
    found = encode_deltas(boxes, anchors, shift_weight=shift, ratio_weight=ratio)
    assert torch.equal(found, coder.encode_single(boxes, anchors))
    assert found[0, 2:].tolist() == [-torch.inf, -torch.inf]
    deltas = torch.randn(500, 4, generator=torch.Generator().manual_seed(2)) * 5
    decoded = decode_deltas(deltas, anchors, shift_weight=shift, ratio_weight=ratio)
    assert torch.equal(decoded, coder.decode_single(deltas, anchors))


def test_decoding_gives_back_the_boxes_that_were_encoded() -> None:
    boxes, anchors = random_boxes(100, 0), random_boxes(100, 1)
    anchors[:, 2:] += 5  # so that no side grows too much
    torch.testing.assert_close(decode_deltas(encode_deltas(boxes, anchors), anchors), boxes, rtol=1e-4, atol=1e-4)


def test_no_side_grows_to_more_than_62_5_times_the_anchor_s() -> None:
    found = decode_deltas(torch.tensor([[0.0, 0.0, 50.0, 50.0]]), torch.tensor([[0.0, 0.0, 2.0, 4.0]]))
    torch.testing.assert_close(found[:, 2:] - found[:, :2], torch.tensor([[125.0, 250.0]]))


@pytest.mark.parametrize("count", [0, 200])
def test_the_generalised_overlap_and_its_gradient_are_torchvision_s_to_the_bit(count: int) -> None:
    wanted, start = random_boxes(count, 0), random_boxes(count, 1)
    start[::4, 2:] -= 20  # turned inside out
    start[1::4, :2], start[2::4, 2:] = wanted[1::4, :2], wanted[2::4, 2:]
    start[3::8] = wanted[3::8]
    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    mine, expected = generalized_iou_loss(ours, wanted), generalized_box_iou_loss(theirs, wanted)
    assert torch.equal(mine, expected)
    mine.sum().backward()
    expected.sum().backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.equal(ours.grad, theirs.grad)
