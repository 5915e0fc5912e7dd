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
    boxed = _occurrence(source, ~source.iscrowd)
    before = category_states(source, source, declared)
    if before is None:
        before = np.where(boxed, State.COMPLETE, State.ABSENT).astype(np.int8)
    boxed[added.image_index, added.labels] = True
    without_fields = _states_without_fields(source, boxed)
    states = before.copy()
    states[boxed & (states == State.UNKNOWN)] = State.SOME
    states[added.image_index, added.labels] = State.SOME
    states[added.complete] = without_fields[added.complete]
    has_new_box = np.zeros(len(source.images), dtype=bool)
    has_new_box[added.image_index] = True
    now_annotated = ~annotated_images(source, source) & (has_new_box | added.complete)
    fielded = _have_fields(source)
    if (states == without_fields).all():
        return _entries(source, None, fielded | now_annotated, now_annotated), False
    if declared is None and "annotation_set" not in source.info() and fielded.any():
        changed = has_new_box | now_annotated | (states != before).any(axis=1)
    else:
        changed = np.ones(len(states), dtype=bool)
    return _entries(source, states, changed, now_annotated), True


def _occurrence(source: CocoDataset, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each category occurs in each image among some annotations, ``[I, C]``."""
    found = np.zeros((len(source.images), len(source.categories)), dtype=bool)
    found[source.image_index[rows], source.labels[rows]] = True
    return found


def _states_without_fields(source: CocoDataset, boxed: NDArray[np.bool_]) -> States:
    """The states of a file whose images say nothing of them: all is annotated, but for what is only a crowd."""
    unboxed = np.where(_occurrence(source, source.iscrowd), State.UNKNOWN, State.ABSENT)
    return np.where(boxed, State.COMPLETE, unboxed).astype(np.int8)


def _have_fields(source: CocoDataset) -> NDArray[np.bool_]:
    """Which entries may have a field of LVIS."""
    names = [f'"{field}"'.encode() for field in FEDERATED]
    records = (bytes(record) for record in source.image_records())
    return np.array([any(name in record for name in names) for record in records], dtype=bool)


def _entries(
    source: CocoDataset, states: States | None, changed: NDArray[np.bool_], now_annotated: NDArray[np.bool_]
) -> list[Any]:
    """The image entries; changed ones have the fields that say their states, or none where ``states`` is None."""
    entries: list[Any] = list(source.image_records())
    ids = [category.id for category in source.categories]
    for place in np.flatnonzero(changed).tolist():
        entry = coco.decode_entry(entries[place], source.path, f"images[{place}]")
        for field in FEDERATED:
            entry.pop(field, None)
        fields = {} if states is None else federated_fields(states[place], ids)
        entries[place] = {**entry, **fields, **({"keep": 1} if now_annotated[place] else {})}
    return entries
