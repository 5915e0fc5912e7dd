"""Corners, centres and sizes."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from siod.ops.boxes import centres_and_sizes, from_centres_and_sizes

QUARTERS = st.integers(-4000, 4000).map(lambda n: n / 4)  # sums and halves of these are exact in float32


def test_a_box_is_its_centre_and_its_size() -> None:
    centres, sizes = centres_and_sizes(torch.tensor([[1.0, 2.0, 5.0, 10.0]]))
    assert centres.tolist() == [[3.0, 6.0]]
    assert sizes.tolist() == [[4.0, 8.0]]


@given(st.lists(st.tuples(QUARTERS, QUARTERS, QUARTERS, QUARTERS), min_size=1, max_size=5))
def test_splitting_and_joining_gives_the_box_back(corners: list[tuple[float, ...]]) -> None:
    boxes = torch.tensor(corners)
    assert torch.equal(from_centres_and_sizes(*centres_and_sizes(boxes)), boxes)
