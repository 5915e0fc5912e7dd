"""Candidates: which detections may be objects without a box, and how well annotated objects are located.

A detection is no candidate where an annotated box explains it (of its category: the object has its box; of another
one: it is taken for what it is not), where a better detection of a category that the image may have does, or where a
better one of its own category does, of which it may be a part. What is left of a category in an image that surely lacks
it is a *decoy*; the same in an image that may have it is what is proposed.

I images, C categories, n detections, m annotated boxes. Boxes are xyxy in pixels of the image files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from siod.state import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Truths = NDArray[np.bool_]
    Rows = dict[str, NDArray[Any]]

NEVER = -np.inf
CELLS = 4_000_000
"""How many pairs of detections are looked at at once, which bounds memory."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes of many images as columns.

    Attributes:
        image: Place of the image of each, from 0, ``[n]``.
        label: Place of its category, from 0, ``[n]``.
        boxes_xyxy: Corners, ``[n, 4]``.
    """

    image: Ints
    label: Ints
    boxes_xyxy: Floats

    def __len__(self) -> int:
        """Number of boxes."""
        return len(self.image)

    def take(self, rows: NDArray[Any]) -> Self:
        """Some of the boxes."""
        return type(self)(**{name: column[rows] for name, column in vars(self).items()})


@dataclass(frozen=True, eq=False)
class Annotated(Boxes):
    """Boxes of an annotation file.

    Attributes:
        crowd: True for a region of many instances, ``[m]``.
        rejected: True for a box of which somebody has said that it shows no object of its category, ``[m]``.
    """

    crowd: Truths
    rejected: Truths


@dataclass(frozen=True, eq=False)
class Detected(Boxes):
    """Boxes that a detector found.

    Attributes:
        scores: In [0, 1], ``[n]``.
    """

    scores: Floats


@dataclass(frozen=True, eq=False)
class Located:
    """How well annotated objects are found, one row for each annotated box of an object.

    Attributes:
        image: Place of the image, ``[m]``.
        label: Place of the category, ``[m]``.
        found: Highest score of a detection that overlaps the box enough to be true; minus infinite without one.
        near: Highest score of one that overlaps it less than that, but clearly.
        taken_for: Place of the category of the best detection on it, of those that the image may have or has; its own
            without one.
        taken: Score of that detection; minus infinite without one.
    """

    image: Ints
    label: Ints
    found: Floats
    near: Floats
    taken_for: Ints
    taken: Floats


@dataclass(frozen=True)
class Overlaps:
    """What counts as the same object; shares in (0, 1].

    Args:
        same: Intersection over union from which two boxes are of one object.
        near: From which a box that is not of an object is an attempt at it.
        part: Share of the smaller of two boxes inside the other from which it is a part of it.
        crowd: Share of a box inside a crowd from which it belongs to the crowd, as in COCO's evaluation.
    """

    same: float = 0.5
    near: float = 0.1
    part: float = 0.7
    crowd: float = 0.5


DEFAULT = Overlaps()


def open_categories(states: NDArray[np.int8]) -> Truths:
    """Which categories may lack boxes, whether or not somebody looked for them.

    Args:
        states: Of :class:`siod.state.State`, of any shape.
    """
    open_: Truths = (states != State.ABSENT) & (states != State.COMPLETE)
    return open_


def find_candidates(
    detected: Detected, annotated: Annotated, states: NDArray[np.int8], overlaps: Overlaps = DEFAULT
) -> tuple[Detected, Located]:
    """Sort detections into candidates and the rest, which annotated and better boxes explain.

    Args:
        detected: Of a detector, several boxes for one object perhaps.
        annotated: All boxes of the annotation file.
        states: What is known of each category in each image, ``[I, C]`` of :class:`siod.state.State`.
        overlaps: What counts as the same object.

    Returns:
        Candidates by image, the highest scores first: those of categories that may lack boxes in their image, and of
        categories that are absent there. And how well annotated objects are located, in the order of ``annotated``.
    """
    kept, found, near, taken = [], *(np.full(len(annotated), NEVER) for _ in range(3))
    taken_for = annotated.label.copy()
    order = np.lexsort((-detected.scores, detected.image))
    for rows, boxes, truth, truth_rows in _chunks(detected, order, annotated, len(states)):
        chunk = _Chunk(boxes, truth, states[boxes["place"]], overlaps)
        kept.append(rows[chunk.candidates()])
        there = truth["valid"]
        (well, badly), (label, score) = chunk.located(), chunk.taken()
        found[truth_rows[there]], near[truth_rows[there]] = well[there], badly[there]
        taken_for[truth_rows[there]], taken[truth_rows[there]] = label[there], score[there]
    instances = ~annotated.crowd & ~annotated.rejected
    located = Located(
        annotated.image[instances],
        annotated.label[instances],
        found[instances],
        near[instances],
        taken_for[instances],
        taken[instances],
    )
    rows = np.concatenate(kept) if kept else order[:0]
    return detected.take(rows[np.lexsort((-detected.scores[rows], detected.image[rows]))]), located


class _Chunk:
    """Some images: D detections each, the best first, and M annotated boxes, padded."""

    def __init__(self, boxes: Rows, truth: Rows, states: NDArray[np.int8], overlaps: Overlaps) -> None:
        self.boxes, self.truth, self.overlaps = boxes, truth, overlaps
        self.states = np.take_along_axis(states, boxes["label"], axis=1)
        self.union, smaller, _ = _overlaps(boxes["boxes"], boxes["boxes"])
        self.of_class = boxes["label"][:, :, None] == boxes["label"][:, None, :]
        self.double = self.of_class & ((self.union >= overlaps.same) | (smaller >= overlaps.part))
        self.of_truth = boxes["label"][:, :, None] == truth["label"][:, None, :]
        self.truth_union, self.truth_smaller, self.inside = _overlaps(boxes["boxes"], truth["boxes"])
        before = (truth["valid"] & truth["rejected"])[:, None, :] & self.of_truth & (self.truth_union >= overlaps.same)
        self.rejected: Truths = before.any(axis=2)

    def candidates(self) -> Truths:
        """Which detections are candidates, ``[images, D]``."""
        counted = (self.states != State.COMPLETE) & self.boxes["valid"]
        explained = self._explained_by_annotated() | self._explained_by_others() | self.rejected
        return self._best(counted & ~explained)

    def located(self) -> tuple[Floats, Floats]:
        """The best scores on and near each annotated box, ``[images, M]``."""
        single = self._best(self.boxes["valid"])[:, :, None] & self.of_truth
        on = self.truth_union >= self.overlaps.same
        near = (self.truth_union >= self.overlaps.near) & ~on
        scores = self.boxes["scores"][:, :, None]
        return (
            np.where(single & on, scores, NEVER).max(axis=1, initial=NEVER),
            np.where(single & near, scores, NEVER).max(axis=1, initial=NEVER),
        )

    def taken(self) -> tuple[Ints, Floats]:
        """The category and score of the best detection on each annotated box, ``[images, M]``."""
        may_be = self.boxes["valid"] & (self.states != State.ABSENT)
        on = may_be[:, :, None] & (self.truth_union >= self.overlaps.same)
        if not on.shape[1]:
            return self.truth["label"], np.full(self.truth["label"].shape, NEVER)
        first, any_ = on.argmax(axis=1), on.any(axis=1)
        label = np.take_along_axis(self.boxes["label"], first, axis=1)
        score = np.take_along_axis(self.boxes["scores"], first, axis=1)
        return np.where(any_, label, self.truth["label"]), np.where(any_, score, NEVER)

    def _explained_by_annotated(self) -> Truths:
        limits, valid = self.overlaps, self.truth["valid"][:, None, :]
        crowd, rejected = self.truth["crowd"][:, None, :], self.truth["rejected"][:, None, :]
        same = self.truth_union >= limits.same
        part = (self.truth_smaller >= limits.part) & self.of_truth
        in_crowd = crowd & self.of_truth & (self.inside >= limits.crowd)
        explained: Truths = (valid & (~crowd & ~rejected & (same | part) | in_crowd)).any(axis=2)
        return explained

    def _explained_by_others(self) -> Truths:
        """By a better detection of another category that the image may have."""
        there = self.boxes["valid"] & (self.states != State.ABSENT) & ~self.rejected
        better = np.tri(self.union.shape[1], k=-1, dtype=bool)
        explained: Truths = (better & there[:, None, :] & ~self.of_class & (self.union >= self.overlaps.same)).any(2)
        return explained

    def _best(self, of: Truths) -> Truths:
        """Which of some detections are left when each, best first, has taken out those of its object."""
        left = of.copy()
        for place in range(left.shape[1] - 1):
            left[:, place + 1 :] &= ~(left[:, place, None] & self.double[:, place, place + 1 :])
        return left


def _overlaps(boxes: Floats, others: Floats) -> tuple[Floats, Floats, Floats]:
    """Intersection over union, over the smaller box, and over the first one; 0 for boxes without area."""
    low = np.maximum(boxes[:, :, None, :2], others[:, None, :, :2])
    high = np.minimum(boxes[:, :, None, 2:], others[:, None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(axis=-1)
    area, other = _area(boxes)[:, :, None], _area(others)[:, None, :]
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = (inter / (area + other - inter), inter / np.minimum(area, other), inter / area)
    union, smaller, inside = (np.nan_to_num(share, nan=0.0, posinf=0.0) for share in shares)
    return union, smaller, inside


def _area(boxes: Floats) -> Floats:
    area: Floats = np.clip(boxes[..., 2:] - boxes[..., :2], 0, None).prod(axis=-1)
    return area


def _chunks(
    detected: Detected, order: Ints, annotated: Annotated, images: int
) -> Iterator[tuple[Ints, Rows, Rows, Ints]]:
    """Images of like numbers of detections: rows of these, both kinds of boxes padded, rows of the annotated ones."""
    counts = np.bincount(detected.image, minlength=images)
    starts = np.concatenate([[0], np.cumsum(counts)])
    truth_order = np.argsort(annotated.image, kind="stable")
    truth_counts = np.bincount(annotated.image, minlength=images)
    truth_starts = np.concatenate([[0], np.cumsum(truth_counts)])
    by_size = np.argsort(counts + truth_counts, kind="stable")
    first = 0
    while first < images:
        widest = int(counts[by_size[first]] + truth_counts[by_size[first]])
        places = by_size[first : first + max(1, CELLS // max(1, (2 * widest) ** 2))]
        first += len(places)
        rows, valid = _padded(order, starts[places], counts[places])
        truth_rows, truth_valid = _padded(truth_order, truth_starts[places], truth_counts[places])
        boxes = {"place": places, "valid": valid, "scores": _at(detected.scores, rows)}
        boxes |= {"label": _at(detected.label, rows), "boxes": _at(detected.boxes_xyxy, rows)}
        truth = {"valid": truth_valid, "crowd": _at(annotated.crowd, truth_rows)}
        truth |= {"rejected": _at(annotated.rejected, truth_rows)}
        truth |= {"label": _at(annotated.label, truth_rows), "boxes": _at(annotated.boxes_xyxy, truth_rows)}
        yield rows, boxes, truth, truth_rows


def _padded(order: Ints, starts: Ints, counts: Ints) -> tuple[Ints, Truths]:
    """Rows of each image side by side, and which of them are not padding."""
    columns = np.arange(counts.max(initial=0))
    valid = columns < counts[:, None]
    slots = np.where(valid, starts[:, None] + columns, 0)
    return (order[slots] if len(order) else np.zeros_like(slots)), valid


def _at(column: NDArray[Any], rows: Ints) -> NDArray[Any]:
    """A column at some rows; of an empty column zeros for the padding."""
    return column[rows] if len(column) else np.zeros((*rows.shape, *column.shape[1:]), dtype=column.dtype)
