"""How much of a data set an annotation set keeps, and what annotating it would cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from siod.data.annotation_sets import Full, Keep, Policy, kept_rows
from siod.data.coco import CocoDataset
from siod.data.selection import random_ranks
from siod.data.stated_sets import stated_set
from siod.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SECONDS_PER_HOUR = 3600
# COCO's own limits: small, medium and large by the area field, in square pixels.
SIZE_LIMITS = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, float("inf"))}


@dataclass(frozen=True)
class Cost:
    """What annotating is assumed to take: so many seconds to look at an image, and so many to draw a box.

    The defaults follow from the two timings of the paper, of 5,000 images of COCO: 81.32 seconds for an image with
    7.28 boxes, all of its instances, and 38.14 for one with 2.93, one of each category. A line through both is
    9.0 + 9.93 n seconds for n boxes.

    Source: Li et al., SIOD, CVPR 2022, Table 8.
    """

    seconds_per_image: float = 9.0
    seconds_per_box: float = 9.93

    def hours(self, images: int, boxes: int) -> float:
        """Working hours for images on which so many boxes are drawn in all."""
        return (images * self.seconds_per_image + boxes * self.seconds_per_box) / SECONDS_PER_HOUR

    def assumption(self) -> str:
        """What hours are counted from, in words."""
        of_paper = " (a line through the timings of the paper's Table 8)" if self == PAPER_COST else ""
        return f"{self.seconds_per_image:g} s an image and {self.seconds_per_box:g} s a box{of_paper}"


PAPER_COST = Cost()


@dataclass(frozen=True)
class SetStatistics:
    """One row of Table 8.

    Attributes:
        name: Of the policy, or of the set's file.
        instances: Crowds not counted.
        per_image: Instances per image.
        per_image_category: Mean over categories of the instances per image.
        variance: Over categories, of the same.
        hours: Of annotation, as the cost assumes.
        sizes: Instances that are small, medium and large.
    """

    name: str
    instances: int
    per_image: float
    per_image_category: float
    variance: float
    hours: float
    sizes: dict[str, int]


@dataclass(frozen=True)
class CategoryStatistics:
    """One row of Table 9.

    Attributes:
        name: Of the category.
        instances: In the whole source.
        sample_ratio: Share of them in the sampled images; NaN without instances.
        keep_ratio: Share of the sampled ones that the policy keeps; NaN without sampled ones.
    """

    name: str
    instances: int
    sample_ratio: float
    keep_ratio: float


@dataclass(frozen=True)
class Statistics:
    """Tables 8 and 9 for one source and one policy.

    Attributes:
        images: In the source.
        sampled_images: Looked at.
        crowds: Crowd boxes in the sample, which count nowhere else.
        full: All instances of the sample.
        kept: Those the policy keeps.
        categories: In the order of labels.
        cost: What the hours are counted from.
        source_set: The annotation set that the source says it is, such as ``keep-1``: then ``full`` is not all that
            its images show. Empty where it says nothing.
    """

    images: int
    sampled_images: int
    crowds: int
    full: SetStatistics
    kept: SetStatistics
    categories: tuple[CategoryStatistics, ...]
    cost: Cost = PAPER_COST
    source_set: str = ""

    @property
    def keep_ratio(self) -> float:
        """Share of the sampled instances that the policy keeps; NaN without any."""
        return _ratio(self.kept.instances, self.full.instances)

    def plain(self) -> dict[str, Any]:
        """For JSON; ratios that do not exist are None."""
        return {"keep_ratio": _or_none(self.keep_ratio), **_without_nan(asdict(self))}


def measure(
    dataset: CocoDataset,
    policy: Policy | CocoDataset | None = None,
    *,
    sample_images: int | None = None,
    seed: int = 0,
    cost: Cost = PAPER_COST,
) -> Statistics:
    """Count what a policy keeps.

    Args:
        dataset: The fully annotated source.
        policy: What is kept, as a policy or as a set already derived; None for the single-instance set.
        sample_images: Look at so many images, chosen at random; None for all.
        seed: Of the sample.
        cost: What annotating is assumed to take.

    Returns:
        The numbers. The policy is applied to the whole source before the sample is taken.

    Raises:
        UserError: The sample is larger than the data set, the data set has no images, or the set has
            annotations the source lacks.

    Source: Li et al., SIOD, CVPR 2022, Tables 8 and 9.
    """
    policy = Keep() if policy is None else policy
    total = len(dataset.images)
    if total == 0 or not 1 <= (total if sample_images is None else sample_images) <= total:
        raise UserError(f"{dataset.path}: cannot sample {sample_images} of {total} images; sample 1 to {total}")
    sampled = _sample(dataset, total if sample_images is None else sample_images, seed)[dataset.image_index]
    full = kept_rows(dataset, Full()) & ~dataset.iscrowd
    name, rows = _kept(dataset, policy)
    kept = rows & full
    images = total if sample_images is None else sample_images
    return Statistics(
        images=total,
        sampled_images=images,
        crowds=int(np.count_nonzero(dataset.iscrowd & sampled)),
        full=_of_set(dataset, "full", full & sampled, images, cost),
        kept=_of_set(dataset, name, kept & sampled, images, cost),
        categories=_of_categories(dataset, full, sampled, kept),
        cost=cost,
        source_set=stated_set(dataset.info()),
    )


def _kept(dataset: CocoDataset, policy: Policy | CocoDataset) -> tuple[str, NDArray[np.bool_]]:
    """Name of a set and which annotations of the source it keeps."""
    if isinstance(policy, CocoDataset):
        if not np.isin(policy.annotation_ids, dataset.annotation_ids).all():
            raise UserError(
                f"{policy.path}: has annotations that {dataset.path} lacks; name the file it was derived from"
            )
        return policy.path.stem, np.isin(dataset.annotation_ids, policy.annotation_ids)
    return policy.policy, kept_rows(dataset, policy)


def _sample(dataset: CocoDataset, count: int, seed: int) -> NDArray[np.bool_]:
    ids = np.array([image.id for image in dataset.images], dtype=np.int64)
    chosen = np.zeros(len(ids), dtype=bool)
    chosen[np.lexsort((ids, random_ranks(ids, seed)))[:count]] = True
    return chosen


def _of_set(dataset: CocoDataset, name: str, rows: NDArray[np.bool_], images: int, cost: Cost) -> SetStatistics:
    instances = int(np.count_nonzero(rows))
    per_category = np.bincount(dataset.labels[rows], minlength=len(dataset.categories)) / images
    areas = dataset.area[rows]
    return SetStatistics(
        name=name,
        instances=instances,
        per_image=instances / images,
        per_image_category=float(per_category.mean()) if len(per_category) else 0.0,
        variance=float(per_category.var()) if len(per_category) else 0.0,
        hours=cost.hours(images, instances),
        sizes={
            size: int(np.count_nonzero((low <= areas) & (areas < high))) for size, (low, high) in SIZE_LIMITS.items()
        },
    )


def _of_categories(
    dataset: CocoDataset, full: NDArray[np.bool_], sampled: NDArray[np.bool_], kept: NDArray[np.bool_]
) -> tuple[CategoryStatistics, ...]:
    counts = [
        np.bincount(dataset.labels[rows], minlength=len(dataset.categories)).tolist()
        for rows in (full, full & sampled, kept & sampled)
    ]
    return tuple(
        CategoryStatistics(category.name, whole, _ratio(part, whole), _ratio(left, part))
        for category, whole, part, left in zip(dataset.categories, *counts, strict=True)
    )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _or_none(number: float) -> float | None:
    return None if number != number else number  # noqa: PLR0124  (true of NaN alone)


def _without_nan(data: Any) -> Any:
    if isinstance(data, float):
        return _or_none(data)
    if isinstance(data, dict):
        return {key: _without_nan(item) for key, item in data.items()}
    if isinstance(data, list | tuple):
        return [_without_nan(item) for item in data]
    return data
