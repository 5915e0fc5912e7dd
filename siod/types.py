"""The records that pass between the parts: tensors with their frames and units.

B images, N boxes of one image, C classes, D feature channels, H x W positions of a dense map.
Boxes are ``xyxy`` in pixels; labels are contiguous from 0 to C - 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Self

import torch
from jaxtyping import Bool, Float, Int, Int8, UInt8  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor

from siod.state import State

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Target:
    """What is known of one image.

    ``boxes_xyxy`` and ``labels`` are the annotated instances a method may learn from. The hidden
    ones exist but were removed from the annotation set: only measures of mining quality may read
    them. Boxes are in the frame of the image they come with (after augmentation). ``states`` has for each class its
    :class:`State` in the whole image, as the annotation file has it: a crop that loses a box does not change it. None
    where all classes are complete or absent. ``some_unlabelled`` says whether one of them is UNLABELLED, which spares
    the host a wait for the device; None where that is to be read from ``states``. ``pseudo`` are the boxes that a
    method found, not an annotator; None where there are none.
    """

    boxes_xyxy: Float[Tensor, "N 4"]
    labels: Int[Tensor, " N"]
    hidden_boxes_xyxy: Float[Tensor, "M 4"]
    hidden_labels: Int[Tensor, " M"]
    states: Int8[Tensor, " C"] | None = None
    some_unlabelled: bool | None = None
    pseudo: Bool[Tensor, " N"] | None = None


@dataclass(frozen=True)
class Batch:
    """Images of one size with their targets.

    ``to_original`` maps input coordinates to those of the image file: ``original = A @ (x, y, 1)``. ``annotated``
    tells images with all their instances annotated from images with none, in sets that have both kinds; in others it
    is None, and any image may have instances that were left out.
    """

    images: UInt8[Tensor, "B 3 H W"]
    targets: tuple[Target, ...]
    image_ids: tuple[int, ...]
    to_original: Float[Tensor, "B 2 3"]
    annotated: tuple[bool, ...] | None = None

    def to(self, device: torch.device | str) -> Self:
        """Copy to a device."""
        return replace(
            self,
            images=_copied(self.images, device),
            targets=_targets_on(device, self.targets),
            to_original=_copied(self.to_original, device),
        )

    def pin_memory(self) -> Self:
        """Copy to page-locked memory (called by the torch data loader)."""
        return replace(self, images=self.images.pin_memory())


@dataclass(frozen=True)
class Detections:
    """What a detector found in one image, best score first; boxes in the frame of its input."""

    boxes_xyxy: Float[Tensor, "N 4"]
    scores: Float[Tensor, " N"]
    labels: Int[Tensor, " N"]


@dataclass(frozen=True)
class PaddedDetections:
    """What a detector found in each of some images, as one table with K places an image; ``valid`` ones are taken."""

    boxes_xyxy: Float[Tensor, "B K 4"]
    scores: Float[Tensor, "B K"]
    labels: Int[Tensor, "B K"]
    valid: Bool[Tensor, "B K"]


class Grid(NamedTuple):
    """Where the positions of a dense map look at the input: the one in column x at ``first_px + x * stride_px``.

    Half a stride where a position stands for its cell, as CenterNet's do; 0 where anchors are centred at multiples of
    the stride, as torchvision's are.
    """

    stride_px: int
    first_px: float

    def place(self, boxes_xyxy: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
        """Boxes of the input in units of the grid, such that the integer part of a point is the position nearest to it.

        Example:
            >>> Grid(stride_px=4, first_px=0).place(torch.tensor([[12.5, 12.5, 17.5, 17.5]]))  # its centre: 15 px
            tensor([[3.6250, 3.6250, 4.8750, 4.8750]])
        """
        return (boxes_xyxy - self.first_px) / self.stride_px + 0.5


@dataclass(frozen=True)
class DenseLevel:
    """One map a miner can work on: features, class scores and the target heatmap of the annotated instances.

    ``scores`` are after the sigmoid. ``heatmap`` is in [0, 1], exactly 1 at centres, one map per class.
    """

    features: Float[Tensor, "B D H W"]
    scores: Float[Tensor, "B C H W"]
    heatmap: Float[Tensor, "B C H W"]
    grid: Grid


@dataclass(frozen=True)
class Mined:
    """What mining adds to one level's target: values to add, entries to leave out of the negative loss.

    ``rejected`` are those of the ``ignored`` entries that look like instances without a box; a second stage does not
    learn background there either.
    """

    pseudo: Float[Tensor, "B C H W"] | None = None
    ignored: Bool[Tensor, "B C H W"] | None = None
    rejected: Bool[Tensor, "B C H W"] | None = None


@dataclass(frozen=True)
class LossTerm:
    """A loss before normalisation: the sum over a worker's batch and what it is to be divided by.

    The loop adds the counts of all workers before it divides, so that the loss belongs to the global
    batch. A count below 1 divides by 1.
    """

    total: Float[Tensor, ""]
    count: Float[Tensor, ""]

    def mean(self) -> Float[Tensor, ""]:
        """The loss on one worker: ``total / max(count, 1)``."""
        return self.total / self.count.clamp(min=1)


def _targets_on(device: torch.device | str, targets: tuple[Target, ...]) -> tuple[Target, ...]:
    """Copy all boxes at once and all labels at once, and cut them apart there: each copy keeps the host busy."""
    if all(target.labels.device == torch.device(device) for target in targets):
        return targets
    counts = [len(labels) for target in targets for labels in (target.labels, target.hidden_labels)]
    boxes, labels = (
        torch.split(_copied(torch.cat(column), device), counts)
        for column in (
            [boxes for target in targets for boxes in (target.boxes_xyxy, target.hidden_boxes_xyxy)],
            [labels for target in targets for labels in (target.labels, target.hidden_labels)],
        )
    )
    known = stacked_states(targets)
    states = [None] * len(targets) if known is None else _copied(known, device)
    unlabelled = [target.some_unlabelled for target in targets]
    pseudo = [None if target.pseudo is None else _copied(target.pseudo, device) for target in targets]
    return tuple(map(Target, boxes[::2], labels[::2], boxes[1::2], labels[1::2], states, unlabelled, pseudo))


def stacked_states(targets: Sequence[Target]) -> Int8[Tensor, "B C"] | None:
    """The states of some images; None where all are complete or absent in all of them.

    Raises:
        ValueError: Some targets have states and others have none.
    """
    states = [target.states for target in targets if target.states is not None]
    if len(states) not in {0, len(targets)}:
        raise ValueError(f"all targets of a batch must have states, or none; got {len(states)} of {len(targets)}")
    return torch.stack(states) if states else None


def pseudo_flags(targets: Sequence[Target]) -> tuple[Bool[Tensor, " N"], ...] | None:
    """Which boxes of some images a method found; None if it found none in any of them."""
    if all(target.pseudo is None for target in targets):
        return None
    lengths = [len(target.labels) for target in targets]
    none = torch.split(torch.zeros(sum(lengths), dtype=torch.bool, device=targets[0].labels.device), lengths)
    return tuple(zeros if each.pseudo is None else each.pseudo for each, zeros in zip(targets, none, strict=True))


def may_hide(states: Int8[Tensor, "*n C"]) -> Bool[Tensor, "*n C"]:
    """Which classes may have instances that are not annotated, though somebody looked for them.

    Example:
        >>> may_hide(torch.tensor([State.ABSENT, State.COMPLETE, State.SOME, State.UNKNOWN, State.UNLABELLED]))
        tensor([False, False,  True,  True, False])
    """
    return (states == State.SOME) | (states == State.UNKNOWN)


def unlabelled_classes(targets: Sequence[Target]) -> Bool[Tensor, "B C"] | None:
    """The classes that nobody looked for in some images: that they have no box there teaches nothing.

    Args:
        targets: One per image.

    Returns:
        True for those; None where all were looked for in all of the images.

    Raises:
        ValueError: Some targets have states and others have none.

    Example:
        >>> nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
        >>> states = torch.tensor([State.SOME, State.UNLABELLED], dtype=torch.int8)
        >>> unlabelled_classes([Target(*nothing, *nothing, states)])
        tensor([[False,  True]])
    """
    if all(target.some_unlabelled is False for target in targets):
        return None
    states = stacked_states(targets)
    if states is None:
        return None
    unlabelled = states == State.UNLABELLED
    known = any(target.some_unlabelled for target in targets)
    return unlabelled if known or bool(unlabelled.any()) else None


def _copied(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copy to a device without waiting for it, which takes page-locked memory."""
    pinned = tensor.pin_memory() if torch.device(device).type == "cuda" and tensor.device.type == "cpu" else tensor
    return pinned.to(device, non_blocking=True)
