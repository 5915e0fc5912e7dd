"""Suppression in all images at once: to the bit what torchvision leaves of each image by itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.ops import batched_nms, nms

from siod.ops import suppression
from siod.ops.padding import listed
from siod.ops.suppression import best_detections, surviving

BATCHES = [(1, 1), (2, 60), (16, 120), (29, 40), (40, 30)]
every_batch = pytest.mark.parametrize(("batch", "count"), BATCHES)
every_overlap = pytest.mark.parametrize("iou", [0.001, 0.05, 0.3, 0.5, 0.7, 1.0])


@pytest.fixture(autouse=True)
def lists_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suppression, "CPU_BOXES", suppression.DEVICE_BOXES)


def crowds(batch: int, count: int, side_px: float) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes cut off at the edges, half of them near another, in the same places in several images; scores repeat."""
    generator = torch.Generator().manual_seed(batch)
    low = torch.rand(batch, count, 2, generator=generator) * side_px
    sides = torch.rand(batch, count, 2, generator=generator) * side_px / 2 + 0.002
    boxes = torch.cat([low, low + sides], dim=2)
    half = count // 2
    boxes[:, :half] = boxes[:, half : 2 * half] + torch.randn(batch, half, 4, generator=generator) * side_px * 0.01
    boxes[batch // 2], boxes[-1] = boxes[0], boxes[0]
    scores = torch.randint(0, 30, (batch, count), generator=generator) / 30
    return boxes.clamp(0, side_px), scores, torch.randint(0, 9, (batch, count), generator=generator)


@every_batch
@every_overlap
@pytest.mark.parametrize("side_px", [64.0, 1333.0])
def test_what_survives_of_an_image_does_not_depend_on_its_batch(
    batch: int, count: int, iou: float, side_px: float
) -> None:
    boxes, scores, labels = crowds(batch, count, side_px)
    boxes[..., 2:] = torch.maximum(boxes[..., 2:], boxes[..., :2] + 0.002)  # see the test of thin boxes
    of_all, of_classes = surviving(boxes, scores, iou=iou), surviving(boxes, scores, labels, iou=iou)
    for index in range(batch):
        expected = torch.zeros(2, count, dtype=torch.bool)
        expected[0, nms(boxes[index], scores[index], iou)] = True
        expected[1, batched_nms(boxes[index], scores[index], labels[index], iou)] = True
        assert torch.equal(of_all[index], expected[0])
        assert torch.equal(of_classes[index], expected[1])


def test_images_with_the_same_boxes_leave_each_other_alone_even_if_no_overlap_is_allowed() -> None:
    boxes, scores = torch.tensor([[[0.0, 0.0, 9.0, 9.0]]]).expand(60, -1, -1), torch.rand(60, 1)
    for iou in (0.0, 1e-6, 0.5):
        assert surviving(boxes, scores, iou=iou).all()


def test_any_two_images_of_a_list_are_scaled_too_differently_for_any_sides_to_agree() -> None:
    for index, (across, down) in enumerate(suppression.POWERS):
        for other in suppression.POWERS[:index]:
            assert max(abs(across - other[0]), abs(down - other[1])) >= 32
    assert len(suppression.POWERS) == 29
    # The thinnest side of one image at the scale of the widest of another: 2^-10 x 2^32 is still 512 times 2^13.
    assert suppression.MEETING == 1 / 512


def test_thin_boxes_count_as_none() -> None:
    """Two boxes a 2,000th of a pixel wide at one place both stay; two of a 500th are doubles."""
    for width, left in ((0.0005, [True, True]), (0.002, [True, False])):
        boxes = torch.tensor([[0.0, 0.0, width, 5.0]]).repeat(2, 1)[None]
        assert surviving(boxes, torch.tensor([[0.9, 0.8]]), iou=0.5).tolist() == [left]


def test_a_long_list_is_cut_into_shorter_ones_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, scores, labels = crowds(16, 120, 96.0)
    at_once = surviving(boxes, scores, labels, iou=0.5)
    for most in (1, 500, 120 * 7):
        monkeypatch.setattr(suppression, "CPU_BOXES", most)
        assert torch.equal(surviving(boxes, scores, labels, iou=0.5), at_once)


def test_the_best_of_each_image_are_listed_best_first() -> None:
    """Image 0: the second is a double of the first, the fourth is of another class. Image 1 has no candidate."""
    box = [10.0, 10.0, 30.0, 30.0]
    boxes = torch.tensor([[box, [11.0, 10.0, 31.0, 30.0], [50.0, 50.0, 60.0, 60.0], box], [box] * 4])
    scores = torch.tensor([[0.9, 0.8, 0.95, 0.7], [-1.0] * 4])
    labels = torch.tensor([[1, 1, 1, 0]] * 2)
    first, second = listed(best_detections(boxes, scores, labels, iou=0.5, most=10))
    torch.testing.assert_close(first.scores, torch.tensor([0.95, 0.9, 0.7]))
    assert first.labels.tolist() == [1, 1, 0]
    assert torch.equal(first.boxes_xyxy, boxes[0, [2, 0, 3]])
    assert len(second.scores) == 0
    first, _ = listed(best_detections(boxes, scores, labels, iou=0.5, most=2))
    assert first.labels.tolist() == [1, 1]
