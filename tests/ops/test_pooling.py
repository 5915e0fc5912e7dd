"""Soft labels of anchors are means of the pseudo labels around them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from siod.ops.pooling import pool_pseudo_labels


def five_by_five() -> torch.Tensor:
    """0.9 in the middle and 0.6 in the upper left corner of a map of 5 x 5."""
    pseudo = torch.zeros(1, 1, 5, 5)
    pseudo[0, 0, 2, 2], pseudo[0, 0, 0, 0] = 0.9, 0.6
    return pseudo


def test_kernels_of_one_three_and_five_on_a_map_worked_by_hand() -> None:
    """Rows of the upper left 3 x 3 corner; the rest follows from the neighbourhoods cut off by the edges.

    Kernel 3: (0, 0) sees 2 x 2 positions with 0.6 in one: 0.6 / 4. (0, 1) sees 2 x 3: 0.6 / 6. (1, 1) sees all
    nine with both values: 1.5 / 9. (1, 2) sees nine with the middle: 0.9 / 9. (0, 2) sees 2 x 3, rows 0 and 1,
    columns 1 to 3: nothing.
    Kernel 5: (0, 0) sees 3 x 3: 1.5 / 9. (0, 1) sees 3 x 4: 1.5 / 12. (0, 2) sees 3 x 5: 1.5 / 15. (1, 1) sees
    4 x 4: 1.5 / 16. (1, 2) sees 4 x 5: 1.5 / 20. (2, 2) sees 5 x 5: 1.5 / 25.
    """
    pooled = pool_pseudo_labels(five_by_five(), [1, 3, 5])
    assert pooled.shape == (1, 1, 3, 5, 5)
    assert torch.equal(pooled[:, :, 0], five_by_five())
    three = [[0.15, 0.1, 0.0], [0.1, 1.5 / 9, 0.1], [0.0, 0.1, 0.1]]
    five = [[1.5 / 9, 0.125, 0.1], [0.125, 0.09375, 0.075], [0.1, 0.075, 0.06]]
    torch.testing.assert_close(pooled[0, 0, 1, :3, :3], torch.tensor(three))
    torch.testing.assert_close(pooled[0, 0, 2, :3, :3], torch.tensor(five))
    # (4, 4) sees rows and columns 2 to 4 with kernel 5, the middle among them; with kernel 3 it sees nothing.
    torch.testing.assert_close(pooled[0, 0, 1:, 4, 4], torch.tensor([0.0, 0.1]))


@given(st.integers(1, 7), st.integers(1, 7), st.floats(0, 1, width=32))
def test_a_map_of_one_value_keeps_it_up_to_the_edge(height: int, width: int, value: float) -> None:
    pooled = pool_pseudo_labels(torch.full((2, 3, height, width), value), [1, 3, 5, 7, 9])
    torch.testing.assert_close(pooled, torch.full((2, 3, 5, height, width), value))


def test_classes_and_images_are_pooled_apart() -> None:
    pseudo = torch.zeros(2, 2, 3, 3)
    pseudo[1, 0, 1, 1] = 0.9
    pooled = pool_pseudo_labels(pseudo, [3])
    assert pooled[0].abs().sum() == pooled[1, 1].abs().sum() == 0
    torch.testing.assert_close(pooled[1, 0, 0, 1, 1], torch.tensor(0.1))


def test_no_gradient_flows_into_pseudo_labels() -> None:
    assert not pool_pseudo_labels(torch.rand(1, 1, 3, 3, requires_grad=True), [3]).requires_grad


@pytest.mark.parametrize("kernels", [[], [2], [3, 0], [-1]])
def test_kernels_without_a_middle_are_refused(kernels: list[int]) -> None:
    with pytest.raises(ValueError, match="kernels must be odd widths of at least 1, got"):
        pool_pseudo_labels(torch.zeros(1, 1, 3, 3), kernels)
