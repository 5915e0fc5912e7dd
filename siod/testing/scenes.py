"""The tiny inputs that checks are made on: noise with boxes, and a few scenes of digits."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from siod.data.annotation_sets import Full
from siod.data.digits import Digits
from siod.data.loading.loader import train_batches
from siod.data.source import prepare
from siod.data.transforms import Augmentation
from siod.evaluation.score_aware import GroundTruth, ScoreAwareEvaluator
from siod.types import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from siod.data.annotation_sets import Policy
    from siod.types import Batch, Detections


def noise(batch: int, height: int, width: int) -> Tensor:
    """Images of random pixels, the same at every call.

    Args:
        batch: How many.
        height: In pixels.
        width: In pixels.

    Returns:
        RGB, uint8, of shape (batch, 3, height, width).
    """
    return torch.randint(0, 256, (batch, 3, height, width), generator=torch.Generator().manual_seed(0)).byte()


def target(boxes_xyxy: Sequence[Sequence[float]] | Tensor, labels: Sequence[int]) -> Target:
    """What is known of an image without hidden instances.

    Args:
        boxes_xyxy: Four numbers for each box, in pixels.
        labels: One for each box.
    """
    boxes = torch.as_tensor(boxes_xyxy, dtype=torch.float32).reshape(-1, 4)
    nothing = torch.zeros(0, dtype=torch.long)
    return Target(boxes, torch.tensor(labels, dtype=torch.long), torch.zeros(0, 4), nothing)


def two_targets() -> list[Target]:
    """Two boxes of classes 0 and 2, and one of class 1, all within 96 x 96 px."""
    return [
        target([[8.0, 8.0, 30.0, 28.0], [40.0, 20.0, 84.0, 80.0]], [0, 2]),
        target([[20.0, 30.0, 50.0, 62.0]], [1]),
    ]


@cache
def digit_scenes(images: int, side_px: int = 96) -> Batch:
    """Scenes of digits with every instance annotated, five classes.

    Args:
        images: How many.
        side_px: Height and width of the input.
    """
    return first_batch(Digits(train_images=images, val_images=1), Full(), images, side_px)


def first_batch(scenes: Digits, policy: Policy, images: int, side_px: int = 96) -> Batch:
    """The first batch of an epoch on scenes of digits, without augmentation.

    Args:
        scenes: At least as many as the batch holds.
        policy: Which instances are annotated.
        images: How many the batch holds.
        side_px: Height and width of the input.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = prepare(scenes, policy, Path(folder))
        augmentation = Augmentation(input_size=(side_px, side_px))
        return next(iter(train_batches(data, augmentation, batch_size=images, seed=0, epoch=1)))


def ap50(batch: Batch, found: Sequence[Detections], classes: int) -> float:
    """The average precision at an overlap of half, in [0, 1].

    Args:
        batch: Images with the boxes that are to be found.
        found: The detections of each image, in the frame of the batch.
        classes: How many there are.
    """
    counts = [len(each.labels) for each in batch.targets]
    truth = GroundTruth.from_arrays(
        image_ids=list(batch.image_ids),
        category_ids=range(classes),
        annotation_image_ids=np.repeat(batch.image_ids, counts),
        annotation_category_ids=torch.cat([each.labels for each in batch.targets]),
        boxes=torch.cat([each.boxes_xyxy for each in batch.targets]),
    )
    evaluator = ScoreAwareEvaluator(truth)
    for image_id, each in zip(batch.image_ids, found, strict=True):
        evaluator.update(image_id, each.boxes_xyxy, each.scores, each.labels)
    return evaluator.compute().metrics()["ap50_s0"]
