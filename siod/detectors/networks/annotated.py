"""The annotated boxes of a batch in one tensor each, as detectors compare them with their outputs.

B images, N boxes of the batch, M slots for the boxes of an image: as many as the fullest image needs, at least 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor

from siod.ops.ragged import in_slots, slots_for
from siod.types import pseudo_flags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.types import Target


@dataclass(frozen=True)
class AnnotatedBoxes:
    """The boxes of a batch one after the other, and the same in slots.

    A slot that is not ``present`` has a box of zeros and label 0. ``pseudo`` slots have boxes that a method found, not
    an annotator; None where there are none. Boxes in pixels of the input.
    """

    boxes_xyxy: Float[Tensor, "n 4"]
    labels: Int[Tensor, " n"]
    image_index: Int[Tensor, " n"]
    slots_xyxy: Float[Tensor, "b m 4"]
    slot_labels: Int[Tensor, "b m"]
    present: Bool[Tensor, "b m"]
    pseudo: Bool[Tensor, "b m"] | None = None

    def number_to_count(self) -> Float[Tensor, ""]:
        """How many boxes were annotated; an image in which none was counts those that a method found."""
        every = self.present.sum(dim=1)
        if self.pseudo is None:
            return every.sum().float()
        annotated = every - self.pseudo.sum(dim=1)
        return torch.where(annotated > 0, annotated, every).sum().float()

    def slots_of(self, match: Int[Tensor, "b p"], chosen: Int[Tensor, " k"]) -> Int[Tensor, " k"]:
        """The slots, counted through all images, of the boxes that some of B x P anchors are matched with.

        An anchor that is matched with none has its image's first.
        """
        first = chosen // match.shape[1] * self.present.shape[1]
        return match.flatten()[chosen].clamp(min=0) + first


def annotated_boxes(targets: Sequence[Target]) -> AnnotatedBoxes:
    """Pack the annotated boxes of a batch; hidden instances are not read.

    Args:
        targets: One per image, all on one device.

    Returns:
        The packed boxes; the host waits for nothing.
    """
    lengths = [len(target.labels) for target in targets]
    boxes = torch.cat([target.boxes_xyxy for target in targets])
    labels = torch.cat([target.labels for target in targets])
    slots, flags = slots_for(lengths, boxes.device), pseudo_flags(targets)
    return AnnotatedBoxes(
        boxes_xyxy=boxes,
        labels=labels,
        image_index=slots.places // slots.each,
        slots_xyxy=in_slots(boxes, slots),
        slot_labels=in_slots(labels, slots),
        present=in_slots(torch.ones_like(labels, dtype=torch.bool), slots),
        pseudo=None if flags is None else in_slots(torch.cat(flags), slots),
    )
