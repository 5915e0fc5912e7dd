"""Annotation sets: which boxes of a fully annotated data set a detector may learn from.

Every policy is a function from a data set to the rows that stay. Crowd boxes mark regions, not instances:
they are never the box that is kept, they do not count, and every policy but ``full`` leaves them out. Images
and categories stay as they are, also those left without boxes; annotation ids are kept.

Random choices rank boxes by a hash of seed and annotation id. Neither the order of the file nor the machine
matters, and sets of one seed are nested: keep-1 is part of keep-2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from siod.data import coco, selection
from siod.value import Value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siod.data.coco import CocoDataset

Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Full(Value):
    """Every box, crowds included (fully supervised detection)."""

    policy: Literal["full"] = "full"


class Keep(Value):
    """At most k boxes per image and category; k = 1 chosen at random is the single-instance set.

    ``first`` takes the first boxes in the file's order, as the authors' generator does; ``largest`` those of
    greatest area; ``center`` those whose centre is nearest to the image's.

    Source: Li et al., SIOD, CVPR 2022, section 4.1.
    """

    policy: Literal["keep"] = "keep"
    k: Annotated[int, Field(ge=1)] = 1
    choice: Literal["random", "first", "largest", "center"] = "random"
    seed: Seed = 0

    @model_validator(mode="after")
    def _seed_has_an_effect(self) -> Self:
        if self.seed and self.choice != "random":
            raise ValueError(f"seed has no effect on choice {self.choice!r}; leave it at 0")
        return self


class WholeImages(Value):
    """Some images keep all their boxes, the others none; as many boxes in all as the keep-1 set has.

    Images are taken in random order, passing over those with more boxes than are still wanted; the number is
    missed only if no image left is small enough. Images carry ``keep`` 1 or 0.

    Source: Li et al., SIOD, CVPR 2022, Table 2 (the SSOD rows).
    """

    policy: Literal["ssod"] = "ssod"
    seed: Seed = 0


class Sparse(Value):
    """Boxes removed from every image: one (easy), the smaller half (hard) or all but one (extreme).

    Of n boxes ``hard`` removes n // 2. With ``per_category`` one box of each category present in the image
    always stays, even if fewer can then be removed.

    Source: Wang et al., Co-mining, AAAI 2021.
    """

    policy: Literal["saod"] = "saod"
    level: Literal["easy", "hard", "extreme"]
    per_category: bool = False
    seed: Seed = 0


class Missing(Value):
    """A fraction of all boxes removed, wherever they are: of N boxes ``round(fraction * N)``."""

    policy: Literal["missing"] = "missing"
    fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed = 0


class Matched(Value):
    """Boxes removed at random until as many are left as the keep-1 set has.

    Source: Li et al., SIOD, CVPR 2022, Table 2 (the SAOD rows).
    """

    policy: Literal["matched"] = "matched"
    seed: Seed = 0


Policy = Annotated[Full | Keep | WholeImages | Sparse | Missing | Matched, Field(discriminator="policy")]


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
    document = subset(dataset, kept, {**dataset.info(), "annotation_set": _account(dataset, policy, kept)})
    if isinstance(policy, WholeImages):
        document["images"] = _with_keep_flags(dataset, policy)
    return document


def hidden(dataset: CocoDataset, policy: Policy) -> dict[str, Any]:
    """The other half of ``annotate``: the instances the policy leaves out, to judge pseudo labels by.

    Args:
        dataset: The fully annotated source.
        policy: Which boxes stay in the annotation set.

    Returns:
        A COCO document of the removed boxes without crowds.
    """
    kept = kept_rows(dataset, policy)
    account = {**_account(dataset, policy, kept), "holds": "hidden instances"}
    return subset(dataset, ~kept & ~dataset.iscrowd, {**dataset.info(), "annotation_set": account})


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
    instances = selection.Instances.of(dataset)
    order = selection.random_ranks(instances.ids, policy.seed)
    match policy:
        case Keep():
            priority = order if policy.choice == "random" else _preference(dataset, policy.choice)[instances.rows]
            kept = selection.first_per_category(instances, priority, policy.k)
        case WholeImages():
            kept = _whole_images(dataset, policy)[instances.image]
        case Sparse():
            kept = selection.thin_out(instances, order, policy.level, per_category=policy.per_category)
        case Missing():
            kept = selection.lowest(instances, order, len(order) - round(policy.fraction * len(order)))
        case Matched():
            kept = selection.lowest(instances, order, selection.groups(instances))
    rows = np.zeros(len(dataset.annotation_ids), dtype=bool)
    rows[instances.rows[kept]] = True
    return rows


def subset(dataset: CocoDataset, kept: NDArray[np.bool_], info: dict[str, Any]) -> dict[str, Any]:
    """The source's document with some of its annotations and another ``info``."""
    records = dataset.annotation_records()
    annotations = [records[row] for row in np.flatnonzero(kept).tolist()]
    return {**dataset.sections, "info": info, "annotations": annotations}


def of_images(dataset: CocoDataset, stays: NDArray[np.bool_], info: dict[str, Any]) -> dict[str, Any]:
    """The source's document with some of its images and their annotations, and another ``info``."""
    records = dataset.image_records()
    document = subset(dataset, stays[dataset.image_index], info)
    return {**document, "images": [records[place] for place in np.flatnonzero(stays).tolist()]}


def without_images(dataset: CocoDataset, image_ids: list[int]) -> dict[str, Any]:
    """The source's document without some images and their annotations; ``info.skipped_images`` names them."""
    stays = ~np.isin([image.id for image in dataset.images], image_ids)
    return of_images(dataset, stays, {**dataset.info(), "skipped_images": image_ids})


def _account(dataset: CocoDataset, policy: Policy, kept: NDArray[np.bool_]) -> dict[str, Any]:
    counts = {
        "source": len(kept),
        "source_crowd": int(np.count_nonzero(dataset.iscrowd)),
        "kept": int(np.count_nonzero(kept)),
    }
    return {**policy.model_dump(), "source_sha256": dataset.sha256, "counts": counts}


def _preference(dataset: CocoDataset, choice: str) -> NDArray[np.float64]:
    """A number per annotation, lowest for the box to keep."""
    if choice == "first":
        return np.arange(len(dataset.annotation_ids), dtype=np.float64)
    boxes = dataset.boxes_xywh
    if choice == "largest":
        return -boxes[:, 2] * boxes[:, 3]
    middles = coco.image_sizes(dataset.images)[dataset.image_index] / 2
    distances: NDArray[np.float64] = np.square(boxes[:, :2] + boxes[:, 2:] / 2 - middles).sum(axis=1)
    return distances


def _whole_images(dataset: CocoDataset, policy: WholeImages) -> NDArray[np.bool_]:
    """Which images keep their boxes."""
    instances = selection.Instances.of(dataset)
    counts = np.bincount(instances.image, minlength=len(dataset.images))
    ids = np.array([image.id for image in dataset.images], dtype=np.int64)
    order = np.lexsort((ids, selection.random_ranks(ids, policy.seed)))
    return selection.fill(counts, order, selection.groups(instances))


def _with_keep_flags(dataset: CocoDataset, policy: WholeImages) -> list[dict[str, Any]]:
    flags = _whole_images(dataset, policy).astype(int).tolist()
    records = dataset.image_records()
    return [
        {**coco.decode_entry(record, dataset.path, f"images[{place}]"), "keep": flag}
        for place, (record, flag) in enumerate(zip(records, flags, strict=True))
    ]
