"""Noisy copies of annotated boxes: their groups, their noise, and what they see."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from query_detectors import TARGETS

from siod.detectors.networks.annotated import annotated_boxes
from siod.detectors.networks.denoising import Noise, NoisyQueries, noisy_queries
from siod.testing.scenes import target

NOISE = Noise(copies=8, boxes=1.0, labels=0.5)


def copies_of(targets: list[Any], noise: Noise = NOISE, seeds: tuple[int, ...] = (1, 2)) -> NoisyQueries:
    lengths = [len(each.labels) for each in targets]
    side = torch.full((4,), 96.0)
    found = noisy_queries(annotated_boxes(targets), lengths, seeds, noise, num_classes=3, side=side)
    assert found is not None
    return found


def test_each_group_has_every_box_near_and_far() -> None:
    """Of 8 copies wanted 4 groups of 2 boxes, each copied twice, and 8 groups of one box."""
    copies = copies_of([TARGETS[0], target([[5, 8, 44, 70]], [2])])
    assert copies.group[0].tolist() == [group for group in range(4) for _ in range(4)]
    assert copies.partner[0].tolist() == [0, 1, 0, 1] * 4
    assert copies.positive[0].tolist() == [True, True, False, False] * 4
    assert copies.positive[1].tolist() == [True, False] * 8
    assert copies.objects().tolist() == [group * 4 + box for group in range(4) for box in range(2)] + [
        *range(16, 32, 2)
    ]
    torch.testing.assert_close(copies.share, torch.tensor([1 / 4, 1 / 8]))


def test_near_copies_are_off_by_less_than_half_a_side_and_far_ones_by_more() -> None:
    box = torch.tensor([40.0, 40.0, 60.0, 56.0])
    copies = copies_of([target([box.tolist()], [0])], Noise(400, 0.5, 0.0), seeds=(5,))
    centres, sizes = copies.boxes[0].sigmoid().chunk(2, dim=1)
    corners = torch.cat([centres - sizes / 2, centres + sizes / 2], dim=1) * 96
    off = (corners - box).abs() / torch.tensor([20.0, 16.0, 20.0, 16.0])
    positive = copies.positive[0]
    assert off[positive].min() >= 0
    assert off[positive].max() <= 0.25 + 1e-4
    assert off[~positive].min() >= 0.25 - 1e-4
    assert off[~positive].max() <= 0.5 + 1e-4
    assert (corners[positive] < box).float().mean(dim=0).sub(0.5).abs().max() < 0.1


def test_half_as_many_labels_are_drawn_anew_as_the_noise_says() -> None:
    """A third of them come out as they were."""
    copies = copies_of([target([[40, 40, 60, 60]], [1])], Noise(3000, 1.0, 0.6), seeds=(5,))
    assert float((copies.labels == 1).float().mean()) == pytest.approx(1 - 0.3 * 2 / 3, abs=0.02)
    assert copies.labels.unique().tolist() == [0, 1, 2]


def test_copies_of_an_image_do_not_depend_on_the_others() -> None:
    alone = copies_of([TARGETS[0]], seeds=(1,))
    crowd = target([[10 + x, 10, 30 + x, 30] for x in range(5)], [0] * 5)
    together = copies_of([TARGETS[0], crowd, target([], [])], seeds=(1, 2, 3))
    places = alone.labels.shape[1]
    for name in ("labels", "boxes", "partner", "group", "positive"):
        assert torch.equal(getattr(together, name)[0, :places], getattr(alone, name)[0]), name
    assert not together.present[0, places:].any()
    assert not together.present[2].any()
    assert together.labels[2].unique().tolist() == [3]


def test_copies_see_their_group_and_are_seen_by_no_other() -> None:
    seen = copies_of([target([[5, 8, 44, 70]], [2])], NOISE._replace(copies=2), seeds=(1,)).may_see(1)[0, 0]
    assert seen.int().tolist() == [[1, 1, 0, 0, 1], [1, 1, 0, 0, 1], [0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 0, 0, 1]]


def test_without_boxes_or_copies_there_are_none() -> None:
    bare, side = annotated_boxes([target([], [])]), torch.ones(4)
    assert noisy_queries(bare, [0], [1], NOISE, num_classes=3, side=side) is None
    known = annotated_boxes(TARGETS)
    assert noisy_queries(known, [2, 2], [1, 1], NOISE._replace(copies=0), num_classes=3, side=side) is None
