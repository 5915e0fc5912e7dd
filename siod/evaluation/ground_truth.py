"""What detections are judged by: the annotations of a data set as columns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from siod.errors import UserError
from siod.evaluation.arrays import BoxFormat, Places, as_boxes, as_integers, as_numbers, check_boxes, refuse
from siod.evaluation.coco_json import read_document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Listed = Sequence[tuple[int, int, int, str]]
    """Image id, category id, and where that stands: the place of the image and the name of the field."""


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Images, categories and annotations, checked; build it with ``from_coco`` or ``from_arrays``.

    Annotations are sorted by category, then image, then their order in the source, so that those of one
    category in one image (a *cell*) lie side by side.

    Attributes:
        image_ids: int64, rising.
        category_ids: int64, rising.
        category_names: One per category.
        annotation_ids: int64, one per annotation.
        cells: int64, category place times number of images plus image place, rising.
        boxes_xywh: float64, ``[G, 4]``, pixels of the image file.
        area: float64, square pixels; decides the area range.
        iscrowd: bool; a crowd takes any number of detections, which then count neither way.
        looked_for: Rising cells in which somebody looked for the category; those without it are not judged. None when
            that is all.
        not_exhaustive: Rising cells in which more instances may be than have a box: there a detection that matches none
            counts neither way.
    """

    image_ids: NDArray[np.int64]
    category_ids: NDArray[np.int64]
    category_names: tuple[str, ...]
    annotation_ids: NDArray[np.int64]
    cells: NDArray[np.int64]
    boxes_xywh: NDArray[np.float64]
    area: NDArray[np.float64]
    iscrowd: NDArray[np.bool_]
    looked_for: NDArray[np.int64] | None = None
    not_exhaustive: NDArray[np.int64] | None = None

    @classmethod
    def from_coco(cls, source: Path | str | Mapping[str, Any]) -> Self:
        """Read a COCO annotation file, gzipped or not, or take its content as a dictionary.

        Args:
            source: A path, or ``{"images": ..., "annotations": ..., "categories": ...}``. A missing
                ``area`` is width times height, a missing ``iscrowd`` 0. Where an image has
                ``neg_category_ids`` or ``not_exhaustive_category_ids``, the set is federated (see ``federated``).
                Other fields are not looked at.

        Returns:
            The ground truth.

        Raises:
            UserError: The file is missing or no COCO file, an id is unknown or occurs twice, or a box or
                area is not finite or negative.
        """
        name, document = read_document(source)
        annotations = document.annotations
        count = len(annotations)
        boxes = np.fromiter((number for entry in annotations for number in entry.bbox), np.float64, 4 * count)
        areas = (entry.bbox[2] * entry.bbox[3] if entry.area is None else entry.area for entry in annotations)
        truth = cls.from_arrays(
            image_ids=[image.id for image in document.images],
            category_ids=[category.id for category in document.categories],
            category_names=[category.name or str(category.id) for category in document.categories],
            annotation_ids=np.fromiter((entry.id for entry in annotations), np.int64, count),
            annotation_image_ids=np.fromiter((entry.image_id for entry in annotations), np.int64, count),
            annotation_category_ids=np.fromiter((entry.category_id for entry in annotations), np.int64, count),
            boxes=boxes.reshape(count, 4),
            box_format="xywh",
            area=np.fromiter(areas, np.float64, count),
            iscrowd=np.fromiter((bool(entry.iscrowd) for entry in annotations), np.bool_, count),
            source=name,
        )
        pairs = {
            field: [
                (image.id, category, place, field)
                for place, image in enumerate(document.images)
                for category in getattr(image, field) or ()
            ]
            for field in ("neg_category_ids", "not_exhaustive_category_ids")
        }
        listed = any(image.neg_category_ids is not None for image in document.images)
        listed |= any(image.not_exhaustive_category_ids is not None for image in document.images)
        return truth.federated(*pairs.values(), source=name) if listed else truth

    def federated(self, absent: Listed, not_exhaustive: Listed, *, source: str = "ground truth") -> Self:
        """The same of a set in which not every category was looked for in every image.

        What counts in an image are categories that have a box there or are listed; detections of others are not
        judged. Where the boxes of a category are not exhaustive, a detection that matches none counts neither way.
        The authors' mode knows nothing of it, as pycocotools does not.

        Args:
            absent: Pairs of image and category that somebody looked for and did not find.
            not_exhaustive: Pairs of which some instances have no box.
            source: Named in errors.

        Raises:
            UserError: A category is unknown.

        Source: Gupta, Dollar and Girshick, LVIS, CVPR 2019, section 3, and its evaluation code.
        """
        cells = [self._cells_of(pairs, source) for pairs in (absent, not_exhaustive)]
        return replace(self, looked_for=np.union1d(np.concatenate(cells), self.cells), not_exhaustive=cells[1])

    def _cells_of(self, pairs: Listed, source: str) -> NDArray[np.int64]:
        rows = np.array([pair[:2] for pair in pairs], dtype=np.int64).reshape(-1, 2)
        categories = self.categories.of(rows[:, 1])
        refuse(
            categories < 0,
            lambda row: f"images[{pairs[row][2]}].{pairs[row][3]}: {rows[row, 1]} is no id of a category",
            source,
            "correct it or leave it out",
        )
        return np.unique(categories.astype(np.int64) * len(self.image_ids) + self.images.of(rows[:, 0]))

    def within(self, cells: NDArray[np.int64], image_ids: NDArray[np.int64], category_ids: NDArray[np.int64]) -> Any:
        """Which detections lie in some cells.

        Args:
            cells: Rising.
            image_ids: Of the detections, all known.
            category_ids: Of the detections, all known.

        Returns:
            A truth value for each.
        """
        own = self.categories.of(category_ids).astype(np.int64) * len(self.image_ids) + self.images.of(image_ids)
        return np.isin(own, cells)

    @classmethod
    def from_arrays(
        cls,
        *,
        image_ids: Any,
        category_ids: Any,
        annotation_image_ids: Any,
        annotation_category_ids: Any,
        boxes: Any,
        box_format: BoxFormat = "xyxy",
        area: Any = None,
        iscrowd: Any = None,
        annotation_ids: Any = None,
        category_names: Sequence[str] | None = None,
        source: str = "ground truth",
    ) -> Self:
        """Take arrays, tensors on any device, or lists.

        Args:
            image_ids: Every image of the data set, also those without annotations.
            category_ids: Every category.
            annotation_image_ids: ``[G]``.
            annotation_category_ids: ``[G]``.
            boxes: ``[G, 4]`` in pixels of the image file.
            box_format: ``xyxy`` or ``xywh``.
            area: ``[G]`` in square pixels; that of the box when None.
            iscrowd: ``[G]``; no crowds when None.
            annotation_ids: ``[G]``; 1 to G when None. In the authors' mode, as in pycocotools, an annotation with
                id 0 cannot be found: it takes a detection, which counts as false.
            category_names: In the order of ``category_ids``; the ids when None.
            source: Named in errors.

        Returns:
            The ground truth.

        Raises:
            UserError: Lengths differ, an id is unknown or occurs twice, or a box or area is not finite or
                negative.
        """
        rows = as_boxes(boxes, box_format, source)
        images = _unique(as_integers(image_ids, "image_ids", source), "images", source)
        given = as_integers(category_ids, "category_ids", source)
        categories = _unique(given, "categories", source)
        names = [str(category) for category in given] if category_names is None else list(category_names)
        ids = np.arange(1, len(rows) + 1) if annotation_ids is None else annotation_ids
        columns = {
            "annotation_image_ids": as_integers(annotation_image_ids, "annotation_image_ids", source),
            "annotation_category_ids": as_integers(annotation_category_ids, "annotation_category_ids", source),
            "annotation_ids": as_integers(ids, "annotation_ids", source),
            "area": rows[:, 2] * rows[:, 3] if area is None else as_numbers(area, "area", source),
            "iscrowd": np.zeros(len(rows), bool) if iscrowd is None else np.asarray(iscrowd).astype(bool),
        }
        _check_lengths(columns, len(rows), source)
        _unique(columns["annotation_ids"], "annotations", source)
        check_boxes(rows, source, "annotations")
        _check_areas(columns["area"], source)
        in_order = tuple(names[place] for place in np.argsort(given))
        return cls._by_cell(images, categories, in_order, rows=rows, columns=columns, source=source)

    @classmethod
    def _by_cell(
        cls,
        images: NDArray[np.int64],
        categories: NDArray[np.int64],
        names: tuple[str, ...],
        *,
        rows: NDArray[np.float64],
        columns: Mapping[str, NDArray[Any]],
        source: str,
    ) -> Self:
        """Sort checked annotations by category and image."""
        image_places = _places(Places(images), columns["annotation_image_ids"], "image", source)
        category_places = _places(Places(categories), columns["annotation_category_ids"], "category", source)
        cells = category_places.astype(np.int64) * len(images) + image_places
        order = np.argsort(cells, kind="stable")
        return cls(
            image_ids=images,
            category_ids=categories,
            category_names=names,
            annotation_ids=columns["annotation_ids"][order],
            cells=cells[order],
            boxes_xywh=rows[order],
            area=columns["area"][order],
            iscrowd=columns["iscrowd"][order],
        )

    @cached_property
    def images(self) -> Places:
        """Place of each image id."""
        return Places(self.image_ids)

    @cached_property
    def categories(self) -> Places:
        """Place of each category id."""
        return Places(self.category_ids)

    def category_labels(self) -> list[str]:
        """The categories' names, with the id behind it where two have the same."""
        return distinct_names(self.category_names, self.category_ids.tolist())


def distinct_names(names: Sequence[str], ids: Sequence[int]) -> list[str]:
    """Tell categories apart by name, and by their id where two have the same name.

    Args:
        names: Of the categories.
        ids: Of the same.

    Example:
        >>> distinct_names(["cat", "dog", "cat"], [3, 5, 7])
        ['cat (3)', 'dog', 'cat (7)']
    """
    often = Counter(names)
    return [f"{name} ({number})" if often[name] > 1 else name for name, number in zip(names, ids, strict=True)]


def _unique(ids: NDArray[np.int64], section: str, source: str) -> NDArray[np.int64]:
    values, counts = np.unique(ids, return_counts=True)
    refuse(counts > 1, lambda row: f"{section}: id {values[row]} occurs twice", source, "give every entry its own id")
    return values


def _check_lengths(columns: Mapping[str, NDArray[Any]], count: int, source: str) -> None:
    for name, column in columns.items():
        if column.shape != (count,):
            raise UserError(f"{source}: {name} has shape {column.shape} beside {count} boxes; give one per annotation")


def _check_areas(area: NDArray[np.float64], source: str) -> None:
    refuse(
        ~(np.isfinite(area) & (area >= 0)),
        lambda row: f"annotations[{row}].area {area[row]} is not finite or negative",
        source,
        "correct it, or leave the field out to take that of the box",
    )


def _places(known: Places, wanted: NDArray[np.int64], what: str, source: str) -> NDArray[np.int32]:
    places = known.of(wanted)
    refuse(
        places < 0,
        lambda row: f"annotations[{row}].{what}_id {wanted[row]} is unknown",
        source,
        f"list the {what} or remove the annotation",
    )
    return places
