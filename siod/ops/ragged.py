"""Lists of different lengths without asking the device for a length: the host waits until it has answered.

N entries in all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Int  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence


def index_of(lengths: Sequence[int], device: torch.device) -> Int[Tensor, " n"]:
    """The number of the list that each entry belongs to.

    Args:
        lengths: Of all lists; the entries follow each other, list after list.
        device: Where the index is wanted.

    Example:
        >>> index_of([2, 0, 1], torch.device("cpu"))
        tensor([0, 0, 2])
    """
    every = torch.arange(len(lengths), device=device)
    return torch.cat([every[:0], *(every[number].expand(length) for number, length in enumerate(lengths))])
