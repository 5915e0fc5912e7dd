"""Choose instances by image, category and rank: the arithmetic of the annotation sets.

N instances, none of them crowds. A priority is a number per instance; the lowest stays first, and ids settle
ties. Every function returns one truth value per instance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siod.data.coco import CocoDataset

    Priority = NDArray[np.uint64] | NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Instances:
    """The instances of a data set: row in the file, annotation id, place of the image, label."""

    rows: NDArray[np.int64]
    ids: NDArray[np.int64]
    image: NDArray[np.int64]
    label: NDArray[np.int64]

    @classmethod
    def of(cls, dataset: CocoDataset) -> Self:
        """All annotations but the crowds."""
        rows = np.flatnonzero(~dataset.iscrowd)
        return cls(rows, dataset.annotation_ids[rows], dataset.image_index[rows], dataset.labels[rows])


def random_ranks(ids: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Hash each id with the seed; equal inputs give equal numbers on every machine.

    Args:
        ids: Annotation or image ids.
        seed: At least 0.

    Returns:
        Uniform over the 64-bit numbers.

    Source: the output function of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), of the seed and then of each id.

    Example:
        >>> bool((random_ranks(np.arange(3), 0) == random_ranks(np.arange(3), 1)).any())
        False
    """
    salt = _mix(np.array([seed], dtype=np.uint64))
    return _mix(ids.astype(np.uint64) ^ salt)


def _mix(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One output of SplitMix64 per number; unsigned arithmetic wraps, as it must."""
    z = numbers + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def groups(instances: Instances) -> int:
    """How many pairs of image and category there are: the size of the keep-1 set."""
    labels = int(instances.label.max(initial=0)) + 1
    return len(np.unique(instances.image * labels + instances.label))


def first_per_category(instances: Instances, priority: Priority, k: int) -> NDArray[np.bool_]:
    """Keep the first k of every image and category."""
    order = np.lexsort((instances.ids, priority, instances.label, instances.image))
    places = _places_in_group(order, instances.image, instances.label)
    return places < k


def lowest(instances: Instances, priority: Priority, count: int) -> NDArray[np.bool_]:
    """Keep the first ``count`` of all."""
    kept = np.zeros(len(instances.ids), dtype=bool)
    kept[np.lexsort((instances.ids, priority))[:count]] = True
    return kept


def thin_out(
    instances: Instances,
    priority: Priority,
    level: Literal["easy", "hard", "extreme"],
    *,
    per_category: bool,
) -> NDArray[np.bool_]:
    """Remove one, half or all but one of each image's instances, the last by priority first.

    Args:
        instances: Of all images.
        priority: Decides who stays.
        level: Of n instances easy removes 1, hard n // 2, extreme n - 1.
        per_category: Never remove the first of an image and category.

    Returns:
        Who stays.
    """
    counts = np.bincount(instances.image)
    stay = {"easy": counts - 1, "hard": counts - counts // 2, "extreme": np.minimum(counts, 1)}[level]
    safe = np.zeros(len(instances.ids), dtype=bool)
    if per_category:
        safe = first_per_category(instances, priority, 1)
        stay = np.maximum(stay, np.bincount(instances.image[safe], minlength=len(counts)))
    order = np.lexsort((instances.ids, priority, ~safe, instances.image))
    places = _places_in_group(order, instances.image)
    return places < stay[instances.image]


def fill(counts: NDArray[np.int64], order: NDArray[np.int64], total: int) -> NDArray[np.bool_]:
    """Take whole images in order until they hold ``total`` instances, passing over those that hold too many.

    Args:
        counts: Instances of each image.
        order: The places of the images, first to be taken first.
        total: Instances wanted.

    Returns:
        One truth value per image. The images taken hold ``total`` instances, or as many as could be
        reached.

    Example:
        >>> fill(np.array([2, 4, 1, 1]), np.array([0, 1, 2, 3]), 3).tolist()
        [True, False, True, False]
    """
    taken = np.zeros(len(counts), dtype=bool)
    for place, count in zip(order.tolist(), counts[order].tolist(), strict=True):
        if total == 0:
            break
        if count <= total:
            taken[place] = True
            total -= count
    return taken


def _places_in_group(order: NDArray[np.int64], *keys: NDArray[Any]) -> NDArray[np.int64]:
    """Place of each instance among those of equal keys, which ``order`` must put side by side."""
    changes = np.zeros(len(order), dtype=bool)
    changes[:1] = True
    for key in keys:
        changes[1:] |= np.diff(key[order]) != 0
    starts = np.flatnonzero(changes)
    sizes = np.diff(starts, append=len(order))
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    return places
