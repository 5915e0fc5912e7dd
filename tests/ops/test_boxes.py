"""Corners, centres and sizes."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from siod.ops.boxes import centres_and_sizes, contains, from_centres_and_sizes

QUARTERS = st.integers(-4000, 4000).map(lambda n: n / 4)  # sums and halves of these are exact in float32


def test_a_box_is_its_centre_and_its_size() -> None:
    centres, sizes = centres_and_sizes(torch.tensor([[1.0, 2.0, 5.0, 10.0]]))
    assert centres.tolist() == [[3.0, 6.0]]
    assert sizes.tolist() == [[4.0, 8.0]]


@given(st.lists(st.tuples(QUARTERS, QUARTERS, QUARTERS, QUARTERS), min_size=1, max_size=5))
def test_splitting_and_joining_gives_the_box_back(corners: list[tuple[float, ...]]) -> None:
    boxes = torch.tensor(corners)
    assert torch.equal(from_centres_and_sizes(*centres_and_sizes(boxes)), boxes)


def test_a_point_on_the_edge_is_inside_and_one_beyond_is_not() -> None:
    boxes = torch.tensor([[0.0, 0.0, 4.0, 2.0], [1.0, 1.0, 2.0, 2.0]])
    points = torch.tensor([[0.0, 2.0], [1.5, 1.5], [4.1, 1.0]])
    assert contains(boxes, points).tolist() == [[True, True, False], [False, True, False]]
