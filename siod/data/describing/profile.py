"""What a data set asks of a detector: how large its objects are, in how many images, of which shape.

I images of both splits, B boxes of both splits. Crowd boxes do not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siod.data import coco
from siod.data.annotation_sets import Keep, kept_rows
from siod.data.stated_sets import stated_set
from siod.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siod.data.coco import CocoDataset


SINGLE = "keep-1"


@dataclass(frozen=True, eq=False)
class Profile:
    """The measurements that a detector's settings follow from.

    Attributes:
        train_images: Number of training images.
        val_images: Number of validation images.
        categories: Names, in the order of labels.
        train_boxes: Boxes of the training images.
        kept_boxes: Those that one box per image and category would keep.
        image_sizes: ``[I, 2]`` height and width in pixels.
        box_sizes: ``[B, 2]`` height and width in pixels of the image.
        box_images: ``[B]`` the box's image, as a row of ``image_sizes``.
        declared_single: Whether the training file holds one box per image and category and says so in its ``info``.
        crowded: The first training image with several boxes of one category, and that category; None without any.
    """

    train_images: int
    val_images: int
    categories: tuple[str, ...]
    train_boxes: int
    kept_boxes: int
    image_sizes: NDArray[np.int64]
    box_sizes: NDArray[np.float64]
    box_images: NDArray[np.int64]
    declared_single: bool
    crowded: tuple[str, str] | None

    def magnification(self, input_size: tuple[int, int]) -> NDArray[np.float64]:
        """By how much each image is enlarged when it is fitted into an input.

        Args:
            input_size: Height and width in pixels.

        Returns:
            ``[I]`` factors.
        """
        factors: NDArray[np.float64] = (np.array(input_size) / self.image_sizes).min(axis=1)
        return factors

    def box_sizes_at(self, input_size: tuple[int, int]) -> NDArray[np.float64]:
        """Heights and widths of the boxes ``[B, 2]`` in pixels of an input that the images are fitted into."""
        return self.box_sizes * self.magnification(input_size)[self.box_images, None]


def profile(train: CocoDataset, val: CocoDataset) -> Profile:
    """Measure a data set.

    Args:
        train: All annotations of the training images.
        val: Those of the validation images.

    Raises:
        UserError: A split has no images, no categories or no boxes, or the splits differ in their categories.
    """
    for dataset in (train, val):
        _refuse_empty(dataset)
    names = tuple(category.name for category in train.categories)
    if names != tuple(category.name for category in val.categories):
        raise UserError(f"{val.path}: categories differ from those of {train.path}; give both files the same list")
    splits, crowded = (train, val), _first_crowded(train)
    offsets = (0, len(train.images))
    return Profile(
        train_images=len(train.images),
        val_images=len(val.images),
        categories=names,
        train_boxes=int(np.count_nonzero(~train.iscrowd)),
        kept_boxes=int(np.count_nonzero(kept_rows(train, Keep()))),
        image_sizes=np.concatenate([coco.image_sizes(split.images)[:, ::-1] for split in splits]),
        box_sizes=np.concatenate([split.boxes_xywh[~split.iscrowd, :1:-1] for split in splits]),
        box_images=np.concatenate(
            [split.image_index[~split.iscrowd] + offset for split, offset in zip(splits, offsets, strict=True)]
        ),
        declared_single=crowded is None and stated_set(train.info()) == SINGLE,
        crowded=crowded,
    )


def _refuse_empty(dataset: CocoDataset) -> None:
    for section in ("images", "categories"):
        if not getattr(dataset, section):
            raise UserError(f"{dataset.path}: {section} is empty; name a data set with {section}")
    if dataset.iscrowd.all():
        raise UserError(
            f"{dataset.path}: has no boxes, so there is nothing to fit a study to; name a data set with boxes"
        )


def _first_crowded(dataset: CocoDataset) -> tuple[str, str] | None:
    rows = np.flatnonzero(~dataset.iscrowd)
    pairs = np.stack([dataset.image_index[rows], dataset.labels[rows]], axis=1)
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    several = found[counts > 1]
    if not len(several):
        return None
    image, label = several[0]
    return dataset.images[image].file_name, dataset.categories[label].name
