"""Matching of boxes with anchors: torchvision's, for all images at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from siod.ops import matching
from siod.ops.matching import BACKGROUND, IGNORED, match_by_overlap


def random_boxes(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    # Whole pixels, so that overlaps are often equal.
    low = torch.randint(0, 24, (*shape, 2), generator=generator)
    return torch.cat([low, low + torch.randint(1, 16, (*shape, 2), generator=generator)], dim=-1).float()


@pytest.mark.parametrize("best_of_each", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("pairs_at_once", [1, 1 << 21])
def test_each_image_is_matched_as_torchvision_matches_it(
    monkeypatch: pytest.MonkeyPatch, *, best_of_each: bool, shared: bool, pairs_at_once: int
) -> None:
    monkeypatch.setattr(matching, "PAIRS_AT_ONCE", pairs_at_once)
    counts = [0, 3, 9, 1, 0, 5]
    boxes = random_boxes(len(counts), max(counts), seed=1)
    boxes[3, 0] = torch.tensor([-90.0, -90.0, -80.0, -80.0])  # the only box of its image, and it meets no anchor
    present = torch.arange(max(counts)) < torch.tensor(counts)[:, None]
    anchors = random_boxes(1 if shared else len(counts), 200, seed=2)
    found = match_by_overlap(boxes, present, anchors, object_iou=0.5, background_iou=0.3, best_of_each=best_of_each)
    matcher = Matcher(0.5, 0.3, allow_low_quality_matches=best_of_each)
    for index, count in enumerate(counts):
        overlaps = box_iou(boxes[index, :count], anchors[0 if shared else index])
        expected = matcher(overlaps) if overlaps.any() else torch.full((200,), BACKGROUND)
        assert torch.equal(found[index], expected)
    assert {BACKGROUND, IGNORED, 1} <= set(found.flatten().tolist())


def test_a_box_that_meets_no_anchor_has_none_where_torchvision_gives_it_all() -> None:
    """The first box is the first anchor; the second meets neither and leaves both as they are without it."""
    boxes = torch.tensor([[[0.0, 0.0, 4.0, 4.0], [50.0, 50.0, 52.0, 52.0]]])
    anchors = torch.tensor([[[0.0, 0.0, 4.0, 4.0], [10.0, 10.0, 14.0, 14.0]]])
    rule = {"object_iou": 0.7, "background_iou": 0.3}
    found = match_by_overlap(boxes, torch.tensor([[True, True]]), anchors, **rule, best_of_each=True)
    assert found.tolist() == [[0, BACKGROUND]]
    found = match_by_overlap(boxes[:, 1:], torch.tensor([[True]]), anchors, **rule, best_of_each=True)
    assert found.tolist() == [[BACKGROUND, BACKGROUND]]
    everything = Matcher(0.7, 0.3, allow_low_quality_matches=True)(box_iou(boxes[0, 1:], anchors[0]))
    assert everything.tolist() == [0, 0]


def test_no_image_is_too_large_to_be_matched_by_itself() -> None:
    assert matching.images_at_once(1 << 40) == 1
    assert matching.images_at_once(0) == matching.PAIRS_AT_ONCE
    assert matching.images_at_once(matching.PAIRS_AT_ONCE // 3) == 3


def test_the_best_anchor_of_a_box_is_its_own_only_when_asked_for() -> None:
    # The anchors overlap the box by 1/2 and 1/4: neither reaches 0.7, only the second is below 0.3.
    boxes, present = torch.tensor([[[0.0, 0.0, 4.0, 4.0]]]), torch.tensor([[True]])
    anchors = torch.tensor([[[0.0, 0.0, 4.0, 2.0], [0.0, 0.0, 4.0, 1.0]]])
    found = match_by_overlap(boxes, present, anchors, object_iou=0.7, background_iou=0.3)
    assert found.tolist() == [[IGNORED, BACKGROUND]]
    found = match_by_overlap(boxes, present, anchors, object_iou=0.7, background_iou=0.3, best_of_each=True)
    assert found.tolist() == [[0, BACKGROUND]]


def test_so_many_images_are_matched_at_once_as_pairs_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []

    def overlaps(boxes: Tensor, anchors: Tensor) -> Tensor:
        shapes.append((len(boxes), boxes.shape[1], anchors.shape[1]))
        return box_iou(boxes, anchors)

    monkeypatch.setattr(matching, "box_iou", overlaps)
    monkeypatch.setattr(matching, "PAIRS_AT_ONCE", 30)  # an image has 2 x 7 pairs: two images at a time
    present = torch.ones(3, 2, dtype=torch.bool)
    anchors = random_boxes(1, 7, seed=2)
    match_by_overlap(random_boxes(3, 2, seed=1), present, anchors, object_iou=0.5, background_iou=0.3)
    assert shapes == [(2, 2, 7), (1, 2, 7)]
