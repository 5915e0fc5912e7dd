"""What an annotation file says of each category in each image, derived from its policy, its fields and its declaration.

Only what is known without the hidden instances is used: of a keep-k set a category with k boxes may have more, one with
fewer has them all. I images, C categories.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from pydantic import TypeAdapter, ValidationError

from siod.data.annotation_sets import Full, Keep, Missing, Policy, Sparse, WholeImages
from siod.errors import UserError
from siod.state import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from siod.data.coco import CocoDataset

    States = NDArray[np.int8]

Others = Literal["some", "unlabelled"]
FEDERATED = ("neg_category_ids", "not_exhaustive_category_ids")
"""Fields of LVIS's images: categories that are surely absent, and categories of which some instances have no box."""

_POLICIES: TypeAdapter[Policy] = TypeAdapter(Policy)


@dataclass(frozen=True)
class Declared:
    """What the user says of a data set's annotations.

    Attributes:
        complete: Names of the categories of which every instance is annotated, wherever it is.
        others: What holds for the rest. ``some``: where an image has boxes of one, more may be missing; where it has
            none there is none. ``unlabelled``: nobody looked for them.
    """

    complete: tuple[str, ...]
    others: Others = "unlabelled"

    def refuse_unknown(self, names: Sequence[str], *, source: str) -> None:
        """Check that all names are categories.

        Args:
            names: Of the data set.
            source: Names the data set in messages.

        Raises:
            UserError: One is not.
        """
        unknown = sorted(set(self.complete) - set(names))
        if unknown:
            raise UserError(
                f"{source}: complete names {unknown[0]!r}, which is no category; write them as the file does: "
                f"{', '.join(names[:8])}{' ...' if len(names) > 8 else ''}"  # noqa: PLR2004  (enough to recognise)
            )


@dataclass(frozen=True)
class _Counts:
    """Pairs of an image and a category, as places in a flat ``[I * C]``, in ascending order.

    ``boxed`` have ``boxes`` boxes that may be learnt from, at least one; ``crowded`` have a crowd in the full file.
    """

    shape: tuple[int, int]
    boxed: NDArray[np.int64]
    boxes: NDArray[np.int64]
    crowded: NDArray[np.int64]

    @classmethod
    def of(cls, full: CocoDataset, kept: NDArray[np.bool_]) -> _Counts:
        shape = (len(full.images), len(full.categories))
        places = full.image_index.astype(np.int64) * shape[1] + full.labels
        boxed, boxes = np.unique(places[kept & ~full.iscrowd], return_counts=True)
        return cls(shape, boxed, boxes, np.unique(places[full.iscrowd]))

    @cached_property
    def crowd_only(self) -> NDArray[np.int64]:
        return np.setdiff1d(self.crowded, self.boxed)

    @cached_property
    def crowd_beside(self) -> NDArray[np.int64]:
        return np.intersect1d(self.crowded, self.boxed)


def category_states(learnt: CocoDataset, full: CocoDataset, declared: Declared | None) -> States | None:
    """Find the state of each category in each image.

    Args:
        learnt: Annotations to learn from; ``full`` itself or derived from it, as its ``info`` tells.
        full: All annotations of the same images. Its hidden instances are not looked at, its crowds are.
        declared: What the user says of ``full``; None where it has fields of LVIS or is complete.

    Returns:
        ``[I, C]`` values of :class:`siod.state.State`, images in the order of ``full``; None where all categories
        are complete or absent.

    Raises:
        UserError: ``declared`` names what is no category, or a field of LVIS is not a list of category ids.
    """
    every = np.ones(len(full.annotation_ids), dtype=bool)
    counts = _Counts.of(full, every)
    states = _of_source(full, counts, declared)
    before = _policy_of(full)
    if before is not None:
        states = _after(before, states, counts, annotated_images(full, full))
    if learnt is not full:
        kept = np.isin(full.annotation_ids, learnt.annotation_ids)
        policy = _policy_of(learnt) or Missing(fraction=0.5)  # of which nothing is known either
        states = _after(policy, states, _Counts.of(full, kept), annotated_images(learnt, full))
    return None if states.max(initial=0) <= State.COMPLETE else states


def is_federated(dataset: CocoDataset) -> bool:
    """Whether a file says of images, as LVIS's do, which categories surely are not there or lack boxes."""
    images = bytes(dataset.sections["images"])
    return any(f'"{field}"'.encode() in images for field in FEDERATED)


def _of_source(full: CocoDataset, counts: _Counts, declared: Declared | None) -> States:
    names = [category.name for category in full.categories]
    if declared is None and is_federated(full):
        return _federated(full, counts)
    if declared is None:
        rest_boxed, rest_empty = State.COMPLETE, State.ABSENT
    else:
        declared.refuse_unknown(names, source=str(full.path))
        rest_boxed = State.SOME
        rest_empty = State.ABSENT if declared.others == "some" else State.UNLABELLED
    complete = np.array([declared is None or name in declared.complete for name in names], dtype=bool)
    states = np.broadcast_to(np.where(complete, State.ABSENT, rest_empty).astype(np.int8), counts.shape).copy()
    flat = states.reshape(-1)
    flat[counts.boxed] = np.where(complete, State.COMPLETE, rest_boxed)[counts.boxed % counts.shape[1]]
    seen = counts.crowd_only[flat[counts.crowd_only] != State.UNLABELLED]
    flat[seen] = State.UNKNOWN
    return states


def _federated(full: CocoDataset, counts: _Counts) -> States:
    """By LVIS's rule: what an image neither lists nor has boxes of was not looked for."""
    label_of = full.label_of_category
    states = np.full(counts.shape, State.UNLABELLED, dtype=np.int8)
    states.reshape(-1)[counts.boxed] = State.COMPLETE
    for place, record in enumerate(full.image_records()):
        entry = msgspec.json.decode(record)
        for field, empty, boxed in (
            ("neg_category_ids", State.ABSENT, State.COMPLETE),
            ("not_exhaustive_category_ids", State.UNKNOWN, State.SOME),
        ):
            labels = _labels(entry.get(field) or [], label_of, f"{full.path}: images[{place}].{field}")
            row = states[place, labels]
            states[place, labels] = np.where((row == State.COMPLETE) | (row == State.SOME), boxed, empty)
    return states


def federated_fields(states: NDArray[np.int8], category_ids: Sequence[int]) -> dict[str, list[int]]:
    """The fields of LVIS with which an image says its states, so that :func:`category_states` reads them again.

    Boxed categories must be complete or some, the others absent, unknown or unlabelled: the fields know no more.

    Args:
        states: Of the image's categories, ``[C]``.
        category_ids: Their ids.

    Returns:
        Both fields; of the categories that neither lists, those with boxes are complete and the others unlabelled.

    Example:
        >>> federated_fields(np.array([State.COMPLETE, State.SOME, State.ABSENT, State.UNLABELLED]), [10, 20, 30, 40])
        {'neg_category_ids': [30], 'not_exhaustive_category_ids': [20]}
    """
    absent = np.flatnonzero(states == State.ABSENT).tolist()
    inexhaustive = np.flatnonzero((states == State.SOME) | (states == State.UNKNOWN)).tolist()
    found = (absent, inexhaustive)
    return {field: [category_ids[label] for label in labels] for field, labels in zip(FEDERATED, found, strict=True)}


def _labels(ids: Any, label_of: dict[int, int], source: str) -> list[int]:
    if not isinstance(ids, list) or not all(isinstance(one, int) for one in ids):
        raise UserError(f"{source}: must be a list of category ids, got {ids!r}")
    unknown = [one for one in ids if one not in label_of]
    if unknown:
        raise UserError(f"{source}: {unknown[0]} is no id of a category; correct it or leave it out")
    return [label_of[one] for one in ids]


def _policy_of(dataset: CocoDataset) -> Policy | None:
    """The policy a file was derived with, which its ``info`` tells."""
    record = dataset.info().get("annotation_set")
    if not isinstance(record, dict):
        return None
    settings = {name: value for name, value in record.items() if name not in {"source_sha256", "counts", "holds"}}
    try:
        return _POLICIES.validate_python(settings)
    except ValidationError:
        return None


def annotated_images(learnt: CocoDataset, full: CocoDataset) -> NDArray[np.bool_]:
    """Which images are annotated: all but those with ``keep`` 0 in the file to learn from.

    Args:
        learnt: Annotations to learn from.
        full: All annotations of the same images.

    Returns:
        A truth value for each image, in the order of ``full``.
    """
    if b'"keep"' not in bytes(learnt.sections["images"]):
        return np.ones(len(full.images), dtype=bool)
    records = zip(learnt.images, learnt.image_records(), strict=True)
    bare = {image.id for image, record in records if msgspec.json.decode(record).get("keep", 1) == 0}
    return np.array([image.id not in bare for image in full.images], dtype=bool)


def _after(policy: Policy, states: States, counts: _Counts, flags: NDArray[np.bool_]) -> States:
    """The states once a policy has left out boxes; ``counts`` are of those that stayed."""
    if isinstance(policy, Full):
        return states
    states = states.copy()
    flat = states.reshape(-1)
    if isinstance(policy, Keep):
        flat[counts.boxed[counts.boxes >= policy.k]] = State.SOME
    elif isinstance(policy, Sparse) and policy.per_category:
        flat[counts.boxed] = State.SOME
    else:
        open_images = ~flags if isinstance(policy, WholeImages) else np.ones_like(flags)
        looked_for = states != State.UNLABELLED
        states[open_images[:, None] & looked_for] = State.UNKNOWN
    # These policies leave crowds out, so that their instances have no box.
    beside = counts.crowd_beside[flat[counts.crowd_beside] == State.COMPLETE]
    flat[beside] = State.SOME
    return states
