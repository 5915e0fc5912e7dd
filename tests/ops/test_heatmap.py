"""Drawing centres and reading peaks."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from siod.ops.heatmap import draw_heatmap, gaussian_radius, grid_positions, peaks, top_positions


def draw(boxes: list[list[float]], labels: list[int], shape: tuple[int, int, int, int]) -> torch.Tensor:
    images = torch.zeros(len(boxes), dtype=torch.long)
    return draw_heatmap(torch.tensor(boxes).reshape(-1, 4), torch.tensor(labels, dtype=torch.long), images, shape=shape)


def test_a_gaussian_is_one_at_the_centre_and_ends_at_its_radius() -> None:
    # 10 x 10 has radius 2.73, hence 2: a window of 5 with a standard deviation of 5/6.
    heatmap = draw([[1.0, 1.0, 11.0, 11.0]], [0], (1, 1, 16, 16))[0, 0]
    at_distance_one = math.exp(-1 / (2 * (5 / 6) ** 2))
    assert heatmap[6, 6] == 1
    assert heatmap[6, 7].item() == pytest.approx(at_distance_one, rel=1e-6)
    assert heatmap[5, 7].item() == pytest.approx(at_distance_one**2, rel=1e-6)
    assert heatmap[6, 8] > 0
    assert heatmap[6, 9] == 0
    assert (heatmap > 0).sum() == 25


def test_a_small_box_marks_its_centre_alone() -> None:
    heatmap = draw([[2.9, 3.9, 3.9, 4.9]], [1], (1, 2, 8, 8))
    assert heatmap.nonzero().tolist() == [[0, 1, 4, 3]]


def test_where_gaussians_meet_the_greater_value_stays() -> None:
    left, right = [0.0, 2.0, 10.0, 12.0], [3.0, 2.0, 13.0, 12.0]
    shape = (1, 1, 16, 16)
    both = draw([left, right], [0, 0], shape)
    assert torch.equal(both, torch.maximum(draw([left], [0], shape), draw([right], [0], shape)))
    assert (both == 1).sum() == 2


def test_boxes_reach_only_their_own_image_and_class() -> None:
    boxes = torch.tensor([[1.0, 1.0, 3.0, 3.0], [5.0, 5.0, 7.0, 7.0]])
    heatmap = draw_heatmap(boxes, torch.tensor([2, 0]), torch.tensor([1, 0]), shape=(2, 3, 8, 8))
    assert heatmap.nonzero().tolist() == [[0, 0, 6, 6], [1, 2, 2, 2]]


def test_a_box_that_is_not_to_be_drawn_leaves_no_trace() -> None:
    boxes, labels, images = torch.tensor([[1.0, 1.0, 9.0, 9.0]] * 2), torch.tensor([0, 1]), torch.tensor([0, 0])
    drawn = draw_heatmap(boxes, labels, images, shape=(1, 2, 16, 16), drawn=torch.tensor([False, True]))
    assert drawn[0, 0].eq(0).all()
    assert torch.equal(drawn[0, 1], draw_heatmap(boxes, labels, images, shape=(1, 2, 16, 16))[0, 1])


def test_no_boxes_give_an_empty_heatmap() -> None:
    assert draw([], [], (1, 2, 4, 4)).abs().sum() == 0


def test_a_centre_beyond_the_edge_is_kept_at_the_edge() -> None:
    cells = grid_positions(torch.tensor([[8.0, -0.5], [7.9, 3.0]]), height=4, width=8)
    assert cells.tolist() == [[7, 0], [7, 3]]


@given(st.integers(1, 60), st.integers(1, 60))
def test_the_radius_does_not_depend_on_which_side_is_the_longer(height: int, width: int) -> None:
    sides = torch.tensor([float(height), float(width)])
    radii = gaussian_radius(sides, sides.flip(0))
    assert radii[0] == radii[1]
    assert radii[0] >= 0


@pytest.mark.parametrize("overlap", [0.0, 1.0, -0.1])
def test_an_overlap_out_of_range_is_refused(overlap: float) -> None:
    with pytest.raises(ValueError, match=f"min_overlap must lie between 0 and 1, got {overlap}"):
        gaussian_radius(torch.ones(1), torch.ones(1), overlap)


def test_a_peak_is_no_smaller_than_its_eight_neighbours() -> None:
    scores = torch.tensor([[0.1, 0.2, 0.3], [0.2, 0.5, 0.3], [0.5, 0.3, 0.2]]).view(1, 1, 3, 3)
    # The two 0.5 touch at a corner and are equal: both stay.
    assert peaks(scores)[0, 0].tolist() == [[0, 0, 0], [0, 0.5, 0], [0.5, 0, 0]]


def test_the_best_entries_come_first_with_their_class_and_position() -> None:
    scores = torch.zeros(1, 2, 2, 3)
    scores[0, 1, 0, 2], scores[0, 0, 1, 1] = 0.9, 0.8
    top = top_positions(scores, 2)
    assert top.scores.tolist() == [[scores[0, 1, 0, 2], scores[0, 0, 1, 1]]]
    assert top.labels.tolist() == [[1, 0]]
    assert top.positions.tolist() == [[2, 4]]


def test_asking_for_more_entries_than_there_are_gives_all() -> None:
    assert top_positions(torch.rand(2, 1, 2, 2), 100).scores.shape == (2, 4)


def test_asking_for_no_entries_is_refused() -> None:
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        top_positions(torch.rand(1, 1, 2, 2), 0)
