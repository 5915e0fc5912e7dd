"""What a completed annotation file says of each category in each image, and the image entries that say it.

A new box shows that there are some of its category in its image, of which others may lack theirs. In an image that a
person marks as complete every object has its box, also those of categories that nobody had looked for; a category that
only has a crowd there stays unknown, as in any annotation file. I images, C categories.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from siod.data import coco
from siod.data.category_states import FEDERATED, annotated_images, category_states, federated_fields
from siod.state import State

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siod.data.category_states import Declared, States
    from siod.data.coco import CocoDataset


@dataclass(frozen=True, eq=False)
class Additions:
    """What a review adds to an annotation file.

    Attributes:
        image_index: Place of each new box's image, ``[N]``.
        labels: Of the new boxes, ``[N]``.
        complete: Whether each image is said to be complete, ``[I]``.
    """

    image_index: NDArray[np.int64]
    labels: NDArray[np.int64]
    complete: NDArray[np.bool_]


def completed_images(source: CocoDataset, added: Additions, declared: Declared | None = None) -> tuple[list[Any], bool]:
    """The image entries of the completed file.

    The states are those of the source, by its policy, its fields or the declaration, with what was added. They are
    written as LVIS writes them (``siod.data.category_states``), unless they are those of a file without these fields:
    then no entry has them. An image that a policy left bare (``keep`` 0) is annotated once it is complete or has a box.

    Args:
        source: The annotation file.
        added: What the review adds.
        declared: What the user says of the source.

    Returns:
        An entry for each image, undecoded and byte for byte that of the source unless its fields change; and whether
        the images have fields that say their states.

    Raises:
        UserError: ``declared`` names what is no category, or a field of LVIS is not a list of category ids.
    """
    boxed = _occurrence(source, source.image_index[~source.iscrowd], source.labels[~source.iscrowd])
    before = category_states(source, source, declared)
    if before is None:
        before = np.where(boxed, State.COMPLETE, State.ABSENT).astype(np.int8)
    boxed[added.image_index, added.labels] = True
    unsaid = _without_fields(source, boxed)
    states = before.copy()
    states[boxed & (states == State.UNKNOWN)] = State.SOME
    states[added.image_index, added.labels] = State.SOME
    states[added.complete] = unsaid[added.complete]
    grown = np.zeros(len(source.images), dtype=bool)
    grown[added.image_index] = True
    revived = ~annotated_images(source, source) & (grown | added.complete)
    if (states == unsaid).all():
        return _entries(source, [{}] * len(states), _have_fields(source) | revived, revived), False
    ids = [category.id for category in source.categories]
    changed = grown | revived | (states != before).any(axis=1)
    if declared is not None or "annotation_set" in source.info() or not _have_fields(source).any():
        changed = np.ones(len(states), dtype=bool)
    fields = [federated_fields(row, ids) if rewritten else {} for row, rewritten in zip(states, changed, strict=True)]
    return _entries(source, fields, changed, revived), True


def _occurrence(source: CocoDataset, image_index: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each category occurs in each image, ``[I, C]``."""
    found = np.zeros((len(source.images), len(source.categories)), dtype=bool)
    found[image_index, labels] = True
    return found


def _without_fields(source: CocoDataset, boxed: NDArray[np.bool_]) -> States:
    """The states of a file whose images say nothing of them: all is annotated, but for what is only a crowd."""
    crowded = _occurrence(source, source.image_index[source.iscrowd], source.labels[source.iscrowd])
    unboxed = np.where(crowded, State.UNKNOWN, State.ABSENT)
    return np.where(boxed, State.COMPLETE, unboxed).astype(np.int8)


def _have_fields(source: CocoDataset) -> NDArray[np.bool_]:
    """Which entries may have a field of LVIS."""
    names = [f'"{field}"'.encode() for field in FEDERATED]
    records = (bytes(record) for record in source.image_records())
    return np.array([any(name in record for name in names) for record in records], dtype=bool)


def _entries(
    source: CocoDataset, fields: list[dict[str, list[int]]], changed: NDArray[np.bool_], revived: NDArray[np.bool_]
) -> list[Any]:
    entries: list[Any] = list(source.image_records())
    for place in np.flatnonzero(changed).tolist():
        entry = coco.decode_entry(entries[place], source.path, f"images[{place}]")
        for field in FEDERATED:
            entry.pop(field, None)
        entries[place] = {**entry, **fields[place], **({"keep": 1} if revived[place] else {})}
    return entries
