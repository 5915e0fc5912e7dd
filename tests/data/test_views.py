"""Weak and strong views: repeatable, of the same image, with boxes that follow their pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from siod.data.loading.views import between, draw_views, move_boxes
from siod.data.transforms import CENTERNET_AUGMENTATION, Augmentation, warp_boxes

WEAK = Augmentation(input_size=(64, 96), flip=0.5)
STRONG = CENTERNET_AUGMENTATION.with_changes({"input_size": (96, 64), "shift_border_px": 8})


def image_of(seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, 40, 56), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_equal_keys_give_equal_views_and_others_differ() -> None:
    first, again, other = (draw_views(image_of(0), WEAK, STRONG, (0, 1, place)) for place in (2, 2, 3))
    assert torch.equal(first.strong.image, again.strong.image)
    assert first.weak.geometry == again.weak.geometry
    assert not torch.equal(first.strong.image, other.strong.image)


def test_the_strong_view_does_not_depend_on_the_weak_ones_settings() -> None:
    one = draw_views(image_of(0), WEAK, STRONG, (0, 1, 2))
    two = draw_views(image_of(0), WEAK.with_changes({"flip": 0.0, "brightness": 0.3}), STRONG, (0, 1, 2))
    assert torch.equal(one.strong.image, two.strong.image)


def test_in_the_same_place_only_colours_differ() -> None:
    pair = draw_views(image_of(0), WEAK, STRONG, (5, 1, 0), same_geometry=True)
    assert pair.weak.geometry == pair.strong.geometry
    assert not torch.equal(pair.weak.image, pair.strong.image)


@given(st.integers(0, 2**31), st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_a_box_moved_between_views_is_the_box_moved_from_the_image(seed: int, epoch: int) -> None:
    pair = draw_views(image_of(1), WEAK, STRONG, (seed, epoch, 0))
    in_image = np.array([[3.0, 5.0, 30.0, 36.0]])
    # The weak view shows the whole image, so nothing is cut on the way.
    in_weak, seen = warp_boxes(in_image, pair.weak.geometry)
    assert seen.all()
    moved, left = move_boxes(in_weak, pair.weak.geometry, pair.strong.geometry)
    expected, visible = warp_boxes(in_image, pair.strong.geometry)
    assert moved == pytest.approx(expected, abs=1e-9)
    assert (left == visible).all()


def test_the_way_there_and_back_is_the_identity() -> None:
    pair = draw_views(image_of(1), WEAK, STRONG, (9, 1, 0))
    there = between(pair.weak.geometry, pair.strong.geometry)
    back = between(pair.strong.geometry, pair.weak.geometry)
    square = [np.vstack([matrix, [0, 0, 1]]) for matrix in (there, back)]
    assert square[0] @ square[1] == pytest.approx(np.eye(3), abs=1e-9)
