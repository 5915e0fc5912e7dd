"""Images with their annotated and their proposed boxes, as labelling tools show them: turned as EXIF data asks."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from siod.data.formats.convert import read_image_frame
from siod.picture import UPRIGHT, box_in_shown, shown_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.completion.proposals import Proposal, Proposals
    from siod.data.coco import ImageRecord

Corners = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class ShownBox:
    """A box of an image.

    Attributes:
        id: Of the annotation or the proposal, which has no annotation's.
        label: Place of its category in the order of ids.
        name: Of its category.
        stored: x1, y1, x2, y2 in pixels of the image file, cut at its edges.
        corners: The same as shown.
        crowd: Whether it is annotated as a crowd.
        proposal: What is known of a proposed box; None for an annotated one.
    """

    id: int
    label: int
    name: str
    stored: Corners
    corners: Corners
    crowd: bool = False
    proposal: Proposal | None = None

    def attributes(self) -> dict[str, str]:
        """``proposed``, ``score`` and ``fdr`` of a proposal as text; none of an annotated box."""
        if self.proposal is None:
            return {}
        fdr = {} if self.proposal.fdr is None else {"fdr": f"{self.proposal.fdr:.4g}"}
        return {"proposed": "true", "score": f"{self.proposal.score:.4g}", **fdr}


@dataclass(frozen=True, slots=True)
class ShownImage:
    """An image.

    Attributes:
        record: Of the annotation file, with the stored width and height.
        size: Width and height in pixels as shown.
        boxes: The annotated ones in the order of the file, then the proposed ones.
    """

    record: ImageRecord
    size: tuple[int, int]
    boxes: tuple[ShownBox, ...]

    def objects(self) -> list[ShownBox]:
        """The boxes without crowds."""
        return [box for box in self.boxes if not box.crowd]


class ShownImages:
    """The images of an annotation file.

    Args:
        proposals: And the annotation file they belong to.
    """

    def __init__(self, proposals: Proposals) -> None:
        self.folder = Path(proposals.origin.images)
        self.annotated = proposals.annotated
        self.names = [category.name for category in proposals.annotated.categories]
        self.proposed: defaultdict[int, list[Proposal]] = defaultdict(list)
        for box in proposals.boxes:
            self.proposed[box.image_id].append(box)

    def image(self, place: int) -> ShownImage:
        """An image with its boxes.

        Args:
            place: Of the image in the annotation file.

        Raises:
            UnusableImageError: Its file is missing or no image.
        """
        record = self.annotated.images[place]
        _, orientation = read_image_frame(self.folder / record.file_name)
        rows = self.annotated.rows_of_image(place)
        columns = (
            self.annotated.annotation_ids[rows],
            self.annotated.labels[rows],
            self.annotated.boxes_xyxy[rows],
            self.annotated.iscrowd[rows],
        )
        boxes = [
            self._box(record, orientation, box_id, label, corners, crowd=crowd)
            for box_id, label, corners, crowd in zip(*(column.tolist() for column in columns), strict=True)
        ]
        for proposal in self.proposed.get(record.id, ()):
            x, y, width, height = proposal.bbox
            label, corners = self.annotated.label_of_category[proposal.category_id], (x, y, x + width, y + height)
            boxes.append(self._box(record, orientation, proposal.id, label, corners, proposal=proposal))
        return ShownImage(record, shown_size((record.width, record.height), orientation), tuple(boxes))

    def _box(
        self,
        record: ImageRecord,
        orientation: int,
        box_id: int,
        label: int,
        corners: Sequence[float],
        *,
        crowd: bool = False,
        proposal: Proposal | None = None,
    ) -> ShownBox:
        width, height = record.width, record.height
        x1, x2 = (min(max(x, 0.0), float(width)) for x in corners[::2])
        y1, y2 = (min(max(y, 0.0), float(height)) for y in corners[1::2])
        stored = (x1, y1, x2, y2)
        shown: Sequence[float] = (
            stored if orientation == UPRIGHT else box_in_shown(stored, (width, height), orientation)
        )
        corners = (shown[0], shown[1], shown[2], shown[3])
        return ShownBox(box_id, label, self.names[label], stored, corners, crowd, proposal)
