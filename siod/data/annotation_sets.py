"""Annotation sets: which boxes of a fully annotated data set a detector may learn from.

Every policy is a function from a data set to the rows that stay. Crowd boxes mark regions, not instances:
they are never the box that is kept, and every policy but ``full`` leaves them out. Images and categories
stay as they are, also those left without boxes; annotation ids are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from siod.value import Value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siod.data.coco import CocoDataset


class Full(Value):
    """Every box, crowds included (fully supervised detection)."""

    policy: Literal["full"] = "full"


class Keep(Value):
    """At most k boxes per image and category; k = 1 is the single-instance set.

    The random choice ranks boxes by a hash of seed and annotation id: neither the order of the file nor the
    machine matters, and the k = 1 set is part of the k = 2 set of the same seed.

    Source: Li et al., SIOD, CVPR 2022, section 4.1.
    """

    policy: Literal["keep"] = "keep"
    k: Annotated[int, Field(ge=1)] = 1
    choice: Literal["random"] = "random"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


Policy = Annotated[Full | Keep, Field(discriminator="policy")]


def annotate(dataset: CocoDataset, policy: Policy) -> dict[str, Any]:
    """Derive an annotation set.

    Args:
        dataset: The fully annotated source.
        policy: Which boxes stay.

    Returns:
        A COCO document for ``siod.data.coco.write``. Its annotations are undecoded slices of the source;
        ``info.annotation_set`` says what was done: the policy's settings, the source's sha256 and the counts.
    """
    kept = kept_rows(dataset, policy)
    counts = {
        "source": len(kept),
        "source_crowd": int(np.count_nonzero(dataset.iscrowd)),
        "kept": int(np.count_nonzero(kept)),
    }
    made = {**policy.model_dump(mode="json"), "source_sha256": dataset.sha256, "counts": counts}
    return subset(dataset, kept, {**dataset.info(), "annotation_set": made})


def subset(dataset: CocoDataset, kept: NDArray[np.bool_], info: dict[str, Any]) -> dict[str, Any]:
    """The source's document with some of its annotations and another ``info``."""
    records = dataset.annotation_records()
    annotations = [records[row] for row in np.flatnonzero(kept).tolist()]
    return {**dataset.sections, "info": info, "annotations": annotations}


def without_images(dataset: CocoDataset, image_ids: list[int]) -> dict[str, Any]:
    """The source's document without some images and their annotations; ``info.skipped_images`` names them."""
    stays = ~np.isin([image.id for image in dataset.images], image_ids)
    records = dataset.image_records()
    document = subset(dataset, stays[dataset.image_index], {**dataset.info(), "skipped_images": image_ids})
    return {**document, "images": [records[place] for place in np.flatnonzero(stays).tolist()]}


def kept_rows(dataset: CocoDataset, policy: Policy) -> NDArray[np.bool_]:
    """Which annotations a policy keeps.

    Args:
        dataset: The source.
        policy: Which boxes stay.

    Returns:
        One truth value per annotation of the source.
    """
    if isinstance(policy, Full):
        return np.ones(len(dataset.annotation_ids), dtype=bool)
    priority = random_ranks(dataset.annotation_ids, policy.seed)
    return _first_of_groups(dataset, priority, policy.k)


def _first_of_groups(dataset: CocoDataset, priority: NDArray[np.uint64], k: int) -> NDArray[np.bool_]:
    """Keep the k instances of lowest priority per image and category; ids settle ties."""
    rows = np.flatnonzero(~dataset.iscrowd)
    image, label = dataset.image_index[rows], dataset.labels[rows]
    order = np.lexsort((dataset.annotation_ids[rows], priority[rows], label, image))
    group = (image * len(dataset.categories) + label)[order]
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    place_in_group = np.arange(len(group)) - np.repeat(starts, np.diff(starts, append=len(group)))
    kept = np.zeros(len(dataset.annotation_ids), dtype=bool)
    kept[rows[order[place_in_group < k]]] = True
    return kept


def random_ranks(ids: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Hash each id with the seed; equal inputs give equal numbers on every machine.

    Args:
        ids: Annotation or image ids.
        seed: At least 0.

    Returns:
        Uniform over the 64-bit numbers.

    Source: the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), applied to the seed and then to each id.

    Example:
        >>> (random_ranks(np.arange(3), 0) == random_ranks(np.arange(3), 1)).any()
        np.False_
    """
    salt = _mix(np.array([seed], dtype=np.uint64))
    return _mix(ids.astype(np.uint64) ^ salt)


def _mix(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One step of SplitMix64; unsigned arithmetic wraps, as it must."""
    z = numbers + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
