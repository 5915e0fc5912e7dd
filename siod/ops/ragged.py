"""Lists of different lengths without asking the device for a length: the host waits until it has answered.

``x[mask]`` and ``mask.nonzero()`` ask, because the shape of what they return is a number only the device knows. What
is here takes lengths that the host knows. B lists, N entries of all of them, M slots for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor

from siod.ops.padding import send

if TYPE_CHECKING:
    from collections.abc import Sequence


def places_of(mask: Bool[Tensor, " n"], ranks: Int[Tensor, " k"]) -> Int[Tensor, " k"]:
    """Find where a mask is true for the first, second, ... time.

    Args:
        mask: True at least once more than the greatest rank.
        ranks: From 0, in any order.

    Returns:
        One index into the mask for each rank.

    Example:
        >>> places_of(torch.tensor([False, True, True, False, True]), torch.tensor([0, 2]))
        tensor([1, 4])
    """
    return torch.searchsorted(mask.cumsum(0), ranks + 1)


def first_places_of(mask: Bool[Tensor, "b k"], most: int) -> tuple[Int[Tensor, "b m"], Bool[Tensor, "b m"]]:
    """Find the first places of each row where a mask is true.

    Args:
        mask: Of at least one place.
        most: So many of a row, or K if that is less.

    Returns:
        The places in ascending order, and which of them there are; the others are some place.

    Example:
        >>> first_places_of(torch.tensor([[False, True, True, True], [False, False, False, True]]), 2)
        (tensor([[1, 2],
                [3, 3]]), tensor([[ True,  True],
                [ True, False]]))
    """
    ranks, last = mask.cumsum(dim=1), mask.shape[1] - 1
    wanted = torch.arange(1, min(most, last + 1) + 1, device=mask.device).expand(len(mask), -1)
    places = torch.searchsorted(ranks, wanted.contiguous())
    return places.clamp(max=last), places <= last


def index_of(lengths: Sequence[int], device: torch.device) -> Int[Tensor, " n"]:
    """The number of the list that each entry belongs to.

    Args:
        lengths: Of all lists; the entries follow each other, list after list.
        device: Where the index is wanted.

    Example:
        >>> index_of([2, 0, 1], torch.device("cpu"))
        tensor([0, 0, 2])
    """
    return send(np.repeat(np.arange(len(lengths)), lengths), device)


class Slots(NamedTuple):
    """As many slots for every list as the longest needs, and at least one.

    ``places`` has the slot of each entry, counted through all lists; the entries follow each other, list after list.
    """

    lists: int
    each: int
    places: Int[Tensor, " n"]


def slots_for(lengths: Sequence[int], device: torch.device) -> Slots:
    """Give every list its slots.

    Args:
        lengths: Of all lists.
        device: Where the entries are.

    Example:
        >>> slots_for([2, 0, 1], torch.device("cpu"))
        Slots(lists=3, each=2, places=tensor([0, 1, 4]))
    """
    each = max(*lengths, 1)
    taken = np.arange(each) < np.asarray(lengths)[:, None]
    return Slots(len(lengths), each, send(np.flatnonzero(taken), device))


def in_slots(values: Shaped[Tensor, "n ..."], slots: Slots, *, fill: float = 0.0) -> Shaped[Tensor, "b m ..."]:
    """Put each entry into its slot.

    Args:
        values: The entries of all lists.
        slots: Of :func:`slots_for`.
        fill: What the slots that are left over hold.

    Example:
        >>> in_slots(torch.tensor([5, 6, 7]), slots_for([2, 0, 1], torch.device("cpu")), fill=-1.0)
        tensor([[ 5,  6],
                [-1, -1],
                [ 7, -1]])
    """
    empty = values.new_full((slots.lists * slots.each, *values.shape[1:]), fill)
    return torch.unflatten(empty.index_copy_(0, slots.places, values), 0, (slots.lists, slots.each))
