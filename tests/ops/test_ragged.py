"""Lists of different lengths in one tensor, and places that need no answer from the device."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from siod.ops.ragged import first_places_of, in_slots, index_of, places_of, slots_for

CPU = torch.device("cpu")
MASKS = st.lists(st.booleans(), min_size=1, max_size=40)


@given(MASKS)
def test_places_of_all_ranks_are_those_that_nonzero_finds(mask: list[bool]) -> None:
    given_mask = torch.tensor(mask)
    places = places_of(given_mask, torch.arange(sum(mask)))
    assert torch.equal(places, given_mask.nonzero().squeeze(1))


@given(st.lists(MASKS, min_size=1, max_size=4), st.integers(1, 50))
def test_first_places_are_the_first_of_each_row(rows: list[list[bool]], most: int) -> None:
    width = min(map(len, rows))
    mask = torch.tensor([row[:width] for row in rows])
    places, there = first_places_of(mask, most)
    assert places.shape == there.shape == (len(rows), min(most, width))
    found = [row[taken].tolist() for row, taken in zip(places, there, strict=True)]
    assert found == [row.nonzero().flatten()[:most].tolist() for row in mask]
    assert places.max() < width


@pytest.mark.parametrize("lengths", [[2, 0, 3], [0], [0, 0], [1, 1]])
def test_every_list_has_its_entries_first_and_then_the_fill(lengths: list[int]) -> None:
    values = torch.arange(1.0, sum(lengths) + 1)[:, None].expand(-1, 4)
    slots = slots_for(lengths, CPU)
    assert (slots.lists, slots.each) == (len(lengths), max(*lengths, 1))
    table = in_slots(values, slots, fill=-1.0)
    assert table.shape == (len(lengths), slots.each, 4)
    for of_list, length, wanted in zip(table, lengths, values.split(lengths), strict=True):
        assert torch.equal(of_list[:length], wanted)
        assert of_list[length:].eq(-1).all()
    assert torch.equal(table.flatten(0, 1)[slots.places], values)


def test_entries_know_their_list() -> None:
    assert index_of([2, 0, 3], CPU).tolist() == [0, 0, 2, 2, 2]
    assert index_of([0], CPU).tolist() == []
