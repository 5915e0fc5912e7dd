"""How good a miner is: what it found against the instances that were hidden from it.

B images, C classes, H x W positions (P of them), N instances of the whole batch, M of them hidden.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple, Self

import torch
from jaxtyping import Bool, Float, Int, Num  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor

from siod.ops.ragged import index_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from siod.types import Grid, Target


@dataclass(frozen=True)
class MiningCounts:
    """Sums over images, so that they add up over batches and workers.

    Attributes:
        images: Images looked at.
        entries: Entries (position and class) found.
        on_hidden: Those of them that look at a point in a hidden instance of their class.
        on_annotated: Those of them that look at a point in an annotated instance of their class instead.
        hidden: Hidden instances.
        recalled: Those of them with at least one found entry of their class inside.
    """

    images: Int[Tensor, ""]
    entries: Int[Tensor, ""]
    on_hidden: Int[Tensor, ""]
    on_annotated: Int[Tensor, ""]
    hidden: Int[Tensor, ""]
    recalled: Int[Tensor, ""]

    def __add__(self, other: MiningCounts) -> MiningCounts:
        """Join the counts of two disjoint sets of images."""
        return MiningCounts.from_tensor(self.as_tensor() + other.as_tensor())

    def as_tensor(self) -> Int[Tensor, " 6"]:
        """All counts in the order of the attributes, to be summed over workers."""
        # Not dataclasses.astuple, which makes a deep copy of each.
        return torch.stack([getattr(self, one.name) for one in fields(self)])

    @classmethod
    def from_tensor(cls, counts: Int[Tensor, " 6"]) -> Self:
        """The inverse of ``as_tensor``."""
        return cls(*counts.unbind())

    def metrics(self, miner: str) -> dict[str, float]:
        """Name the quality figures of a miner.

        Args:
            miner: ``splg``, ``pgcl`` or ``reject``.

        Returns:
            ``mining/<miner>_per_image`` (entries), ``_precision`` (share of the entries that lie on a hidden
            instance), ``_on_annotated`` (share on the annotated one), ``_recall`` (share of the hidden
            instances found). A share of nothing is absent; so is precision where no instance is known to be hidden.
        """
        images, entries, on_hidden, on_annotated, hidden, recalled = self.as_tensor().tolist()
        shares = {
            "per_image": (entries, images),
            "precision": (on_hidden, entries if hidden else 0),
            "on_annotated": (on_annotated, entries),
            "recall": (recalled, hidden),
        }
        return {f"mining/{miner}_{name}": part / whole for name, (part, whole) in shares.items() if whole}


@torch.no_grad()
def mining_counts(
    found: Mapping[str, Sequence[Num[Tensor, "b c h w"]]], targets: Sequence[Target], grids: Sequence[Grid]
) -> dict[str, MiningCounts]:
    """Count what was found, and what of it is true.

    The work grows with the boxes of the batch, and nothing is read back from the device.

    Args:
        found: For each miner and each level of one detector a map that is not 0 where an entry was found.
        targets: One per image.
        grids: Where the positions of each level look at the input.

    Returns:
        Counts over the batch for each miner. A hidden instance found in several levels counts once.
    """
    if not found:
        return {}
    boxes = _boxes(targets)
    shapes = [one.shape for one in next(iter(found.values()))]
    levels = [_lie(boxes, shape, grid) for shape, grid in zip(shapes, grids, strict=True)]
    return {miner: _judged(maps, levels, boxes, images=len(targets)) for miner, maps in found.items()}


class _Boxes(NamedTuple):
    """The instances of the whole batch, first the ``hidden`` ones (their number), then the annotated ones."""

    xyxy: Float[Tensor, "n 4"]
    labels: Int[Tensor, " n"]
    images: Int[Tensor, " n"]
    hidden: int


class _Level(NamedTuple):
    """How the instances lie on the grid of one level.

    Instances of one image and class share a map. ``maps`` numbers the maps of the whole batch, ``hidden_inside`` has
    the positions inside each hidden instance. ``on_hidden`` and ``on_annotated`` have, in the row of the first
    instance of each map and nowhere else, the positions inside a hidden one, and inside annotated ones alone. The
    first one is a hidden one if the map has any.
    """

    maps: Int[Tensor, " n"]
    hidden_inside: Bool[Tensor, "m p"]
    on_hidden: Bool[Tensor, "m p"]
    on_annotated: Bool[Tensor, "n p"]


def _boxes(targets: Sequence[Target]) -> _Boxes:
    parts = [(target.hidden_boxes_xyxy, target.hidden_labels) for target in targets]
    hidden = sum(len(labels) for _, labels in parts)
    parts += [(target.boxes_xyxy, target.labels) for target in targets]
    boxes, labels = (torch.cat(column) for column in zip(*parts, strict=True))
    # Twice over the images: their hidden instances, then their annotated ones.
    place = index_of([len(one) for _, one in parts], labels.device)
    return _Boxes(boxes, labels, place % len(targets), hidden)


def _lie(boxes: _Boxes, shape: Sequence[int], grid: Grid) -> _Level:
    batch, classes, height, width = shape
    maps = boxes.images * classes + boxes.labels
    inside = (
        _between(boxes.xyxy[:, 1::2], height, grid)[:, :, None] & _between(boxes.xyxy[:, 0::2], width, grid)[:, None, :]
    ).flatten(1)
    numbers = torch.arange(len(maps), device=maps.device)
    first = numbers.new_zeros(batch * classes).scatter_reduce_(0, maps, numbers, "amin", include_self=False)[maps]
    # How many instances hold a position: whole numbers add up to the same in any order.
    hidden, annotated = inside[: boxes.hidden].to(torch.int16), inside[boxes.hidden :].to(torch.int16)
    on_hidden = torch.zeros_like(hidden).index_add_(0, first[: boxes.hidden], hidden) > 0
    on_annotated = hidden.new_zeros(inside.shape).index_add_(0, first[boxes.hidden :], annotated) > 0
    on_annotated[: boxes.hidden] &= ~on_hidden
    return _Level(maps, inside[: boxes.hidden], on_hidden, on_annotated)


def _between(edges: Float[Tensor, "n 2"], length: int, grid: Grid) -> Bool[Tensor, "n l"]:
    """Which positions of a line look at a point between two edges, or on one."""
    centres = grid.first_px + torch.arange(length, device=edges.device) * grid.stride_px
    return (centres >= edges[:, :1]) & (centres <= edges[:, 1:])


def _judged(maps: Sequence[Tensor], levels: Sequence[_Level], boxes: _Boxes, *, images: int) -> MiningCounts:
    entries, on_hidden, on_annotated, recalled = [], [], [], []
    for found, level in zip(maps, levels, strict=True):
        rows = found.flatten(2).flatten(0, 1).index_select(0, level.maps).bool()
        # Many times faster on a CPU than the sum of a mask.
        entries.append(found.count_nonzero())
        on_hidden.append((rows[: boxes.hidden] & level.on_hidden).count_nonzero())
        on_annotated.append((rows & level.on_annotated).count_nonzero())
        recalled.append((rows[: boxes.hidden] & level.hidden_inside).any(dim=1))
    return MiningCounts(
        images=torch.full_like(entries[0], images),
        entries=torch.stack(entries).sum(),
        on_hidden=torch.stack(on_hidden).sum(),
        on_annotated=torch.stack(on_annotated).sum(),
        hidden=torch.full_like(entries[0], boxes.hidden),
        recalled=torch.stack(recalled).any(dim=0).count_nonzero(),
    )
