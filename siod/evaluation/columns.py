"""Detections as columns: the form in which they are judged, kept and sent between workers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from siod.errors import UserError
from siod.evaluation.arrays import BoxFormat, as_boxes, as_integers, as_numbers, check_boxes, refuse
from siod.evaluation.coco_json import read_detections, source_name

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from siod.evaluation.coco_json import DetectionRecord


@dataclass(frozen=True, eq=False)
class DetectionColumns:
    """Detections of many images, one row each, in the order in which equal scores rank.

    Attributes:
        image_ids: int64, ``[N]``.
        boxes_xywh: float64, ``[N, 4]``, corner and size in pixels of the image file.
        scores: float64, ``[N]``, finite.
        category_ids: int64, ``[N]``.
    """

    image_ids: NDArray[np.int64]
    boxes_xywh: NDArray[np.float64]
    scores: NDArray[np.float64]
    category_ids: NDArray[np.int64]

    @classmethod
    def from_arrays(
        cls,
        image_ids: Any,
        boxes: Any,
        scores: Any,
        category_ids: Any,
        *,
        box_format: BoxFormat = "xyxy",
        source: str = "detections",
    ) -> Self:
        """Take arrays, tensors on any device, or lists.

        Args:
            image_ids: ``[N]`` integers, or one integer when all detections are of one image.
            boxes: ``[N, 4]`` in pixels of the image file.
            scores: ``[N]``, higher is better.
            category_ids: ``[N]`` integers.
            box_format: Two corners, or corner and size.
            source: Named in errors.

        Returns:
            The checked columns.

        Raises:
            UserError: Lengths differ, a number is NaN or infinite, or a box has a negative size.

        Example:
            >>> DetectionColumns.from_arrays(7, [[1, 2, 4, 6]], [0.5], [3]).boxes_xywh.tolist()
            [[1.0, 2.0, 3.0, 4.0]]
        """
        rows = as_boxes(boxes, box_format, source)
        images = as_integers(image_ids, "image_ids", source)
        columns = cls(
            np.full(len(rows), images) if images.ndim == 0 else images,
            rows,
            as_numbers(scores, "scores", source),
            as_integers(category_ids, "category_ids", source),
        )
        columns.check(source)
        return columns

    @classmethod
    def from_coco(cls, source: Path | str | list[Any]) -> Self:
        """Read a COCO results file without ever holding it whole.

        Args:
            source: A path (gzipped or not), ``-`` for standard input, or a list of dictionaries.

        Returns:
            The checked columns, in the order of the file.

        Raises:
            UserError: It cannot be read, a record is broken, a number is not finite or a size negative.
        """
        columns = cls.join([cls._from_records(records) for records in read_detections(source)])
        columns.check(source_name(source), record="detections")
        return columns

    @classmethod
    def _from_records(cls, records: list[DetectionRecord]) -> Self:
        count = len(records)
        numbers = chain.from_iterable(map(attrgetter("bbox"), records))
        return cls(
            np.fromiter(map(attrgetter("image_id"), records), np.int64, count),
            np.fromiter(numbers, np.float64, 4 * count).reshape(count, 4),
            np.fromiter(map(attrgetter("score"), records), np.float64, count),
            np.fromiter(map(attrgetter("category_id"), records), np.int64, count),
        )

    def check(self, source: str, *, record: str = "detection") -> None:
        """Refuse what cannot be judged.

        Args:
            source: File or argument, named in the error.
            record: What one row is called.

        Raises:
            UserError: Lengths differ, a number is NaN or infinite, or a box has a negative size.
        """
        for name in ("image_ids", "scores", "category_ids"):
            shape = getattr(self, name).shape
            if shape != (len(self.boxes_xywh),):
                expected = f"{len(self.boxes_xywh)} boxes"
                raise UserError(f"{source}: {name} has shape {shape} beside {expected}; give one entry per detection")
        refuse(
            ~np.isfinite(self.scores),
            lambda row: f"{record}[{row}].score {self.scores[row]} is not finite",
            source,
            "correct or remove it",
        )
        check_boxes(self.boxes_xywh, source, record)

    def __len__(self) -> int:
        """Count the detections."""
        return len(self.scores)

    def area(self) -> NDArray[np.float64]:
        """Width times height in square pixels, ``[N]``."""
        return self.boxes_xywh[:, 2] * self.boxes_xywh[:, 3]

    def rounded(self) -> Self:
        """Copy with scores and boxes as a file with two decimals holds them."""
        return type(self)(self.image_ids, two_decimals(self.boxes_xywh), two_decimals(self.scores), self.category_ids)

    @classmethod
    def join(cls, parts: list[Self]) -> Self:
        """Put columns after each other, and empty the list: their memory is freed as it is copied.

        Args:
            parts: Any number of columns; the rows of the first come first.

        Returns:
            One part itself when there is no other.
        """
        if len(parts) == 1:
            return parts.pop()
        nothing = cls(np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
        pieces = {column.name: [getattr(part, column.name) for part in (nothing, *parts)] for column in fields(cls)}
        parts.clear()
        return cls(*(np.concatenate(pieces.pop(column.name)) for column in fields(cls)))


def two_decimals(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round as printing with two decimals and reading again does.

    Args:
        values: Finite numbers of any shape.

    Returns:
        The nearest multiples of 0.01; the exact binary value decides, and an even digit where it is a tie.

    Example:
        >>> two_decimals(np.array([0.125, 0.285, 0.295])).tolist()  # 0.285 and 0.295 are stored a little below
        [0.12, 0.28, 0.29]
    """
    hundredths = values * 100
    rounded = np.rint(hundredths) / 100
    # The product is rounded once itself: where it comes near a half, Python's exact rounding decides.
    doubtful = np.abs(np.abs(hundredths - np.rint(hundredths)) - 0.5) <= 1e-9 * (1 + np.abs(values))
    rounded[doubtful] = [round(value, 2) for value in values[doubtful].tolist()]
    return rounded
