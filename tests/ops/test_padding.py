"""Rows of different lengths and tables are the same, told in two ways."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from siod.ops.padding import images_of, listed, pad, padded, send, take, unpad
from siod.types import Detections

CPU = torch.device("cpu")


def detections(*counts: int) -> list[Detections]:
    """So many in each image; all numbers differ."""
    found, first = [], 0
    for count in counts:
        numbers = torch.arange(first, first + count)
        found.append(Detections(numbers[:, None] * 4.0 + torch.arange(4), numbers / 100, numbers))
        first += count
    return found


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_a_table_taken_apart_is_what_it_was_made_of(counts: list[int]) -> None:
    found = detections(*counts)
    table = padded(found)
    assert table.valid.shape == (len(counts), max(counts))
    assert table.valid.sum(dim=1).tolist() == counts
    for before, after in zip(found, listed(table), strict=True):
        assert torch.equal(before.boxes_xyxy, after.boxes_xyxy)
        assert torch.equal(before.scores, after.scores)
        assert torch.equal(before.labels, after.labels)


def test_places_may_be_taken_anywhere_and_keep_their_order() -> None:
    valid = torch.tensor([[False, True, True], [False, False, False], [True, False, True]])
    rows = unpad(valid, torch.tensor([[0, 1, 2], [3, 4, 5], [6, 7, 8]]))
    assert [row.tolist() for (row,) in rows] == [[1, 2], [], [6, 8]]


def test_boxes_stay_whole_in_a_table() -> None:
    valid, boxes = pad([torch.zeros(0, 4), torch.tensor([[1.0, 2.0, 3.0, 4.0]])])
    assert valid.tolist() == [[False], [True]]
    assert boxes[1].tolist() == [[1.0, 2.0, 3.0, 4.0]]


def test_images_are_chosen_by_their_rows() -> None:
    found = detections(2, 0, 3)
    some = listed(images_of(padded(found), [2, 0]))
    assert [each.labels.tolist() for each in some] == [[2, 3, 4], [0, 1]]
    everything = padded(found)
    assert images_of(everything, [0, 1, 2]) is everything
    assert take(torch.tensor([5, 6, 7]), [2, 0]).tolist() == [7, 5]


def test_values_are_sent_as_they_are() -> None:
    sent = send(np.array([[1.5, 2.5]], dtype=np.float32), CPU)
    assert (sent.dtype, sent.tolist()) == (torch.float32, [[1.5, 2.5]])
