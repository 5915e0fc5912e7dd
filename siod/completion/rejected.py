"""Proposals that were rejected stay rejected: a completed file remembers them, so that nobody is asked twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from siod.completion.candidates import Boxes
from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siod.completion.proposals import Proposal
    from siod.data.coco import CocoDataset

FIELD = "rejected"
"""In ``info.completion`` of a completed file."""


class RejectedBox(msgspec.Struct, frozen=True):
    """A box that shows no object of its category.

    Attributes:
        image_id: As in the annotation file.
        category_id: As in the annotation file.
        bbox: x, y, width, height in pixels of the image file.
    """

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]

    @classmethod
    def of(cls, proposal: Proposal) -> RejectedBox:
        """What is remembered of a proposal."""
        return cls(proposal.image_id, proposal.category_id, proposal.bbox)


def rejected_boxes(dataset: CocoDataset) -> Boxes:
    """The boxes that were rejected when a file was completed, and when the file that it was made from was.

    Args:
        dataset: An annotation file, completed or not.

    Returns:
        Those of its images and categories.

    Raises:
        UserError: ``info.completion`` is damaged.
    """
    images, labels = dataset.place_of_image, dataset.label_of_category
    try:
        found = [msgspec.convert(one, RejectedBox) for one in _entries(dataset.info())]
    except msgspec.ValidationError as error:
        raise UserError(
            f"{dataset.path}: info.completion.{FIELD} is damaged ({error}); complete the file again, or delete it"
        ) from error
    found = [one for one in found if one.image_id in images and one.category_id in labels]
    boxes = np.array([one.bbox for one in found], dtype=np.float64).reshape(-1, 4)
    return Boxes(
        np.array([images[one.image_id] for one in found], dtype=np.int64),
        np.array([labels[one.category_id] for one in found], dtype=np.int64),
        np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1),
    )


def _entries(info: Any) -> Iterator[Any]:
    """Of a file's ``info``, and of that of the file it was made from."""
    while isinstance(info, dict) and isinstance(info.get("completion"), dict):
        completion = info["completion"]
        yield from completion.get(FIELD, [])
        info = completion.get("source_info")
