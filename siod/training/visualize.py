"""What a trained detector's miners find in training images: where, of which class, and how much of it is true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from siod.data.coco import read
from siod.data.loading.loader import plain_training_images
from siod.dminer.dminer import DMiner
from siod.dminer.mining.levels import mine
from siod.dminer.pgcl import PGCL
from siod.dminer.splg import SPLG
from siod.errors import UserError
from siod.types import stacked_states

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from siod.data.source import PreparedData
    from siod.dminer.mining.levels import Mining
    from siod.dminer.mining.quality import MiningCounts
    from siod.training.predict import Trained
    from siod.types import Batch, DenseLevel, Grid

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Found:
    """What one setting of the miners finds in an image.

    Args:
        title: The setting, in words.
        positions: By miner (``splg``, ``pgcl``, ``reject``), the cell of each entry found: x, y, width, height in
            pixels of the image file, and its class.
        counts: By miner, how much of it is true.
    """

    title: str
    positions: dict[str, tuple[tuple[Box, int], ...]]
    counts: dict[str, MiningCounts]


@dataclass(frozen=True)
class MinedImage:
    """A training image, its instances, and what the miners find there.

    Args:
        image_id: As in the annotation file.
        file: The image.
        annotated: Instances that may be learnt from: x, y, width, height in pixels of the file, and class.
        hidden: The others.
        found: One for each setting.
    """

    image_id: int
    file: Path
    annotated: tuple[tuple[Box, int], ...]
    hidden: tuple[tuple[Box, int], ...]
    found: tuple[Found, ...]


def mined_images(
    trained: Trained, data: PreparedData, *, count: int, similarities: Sequence[float]
) -> tuple[MinedImage, ...]:
    """Let the miners look at training images through a trained detector.

    Settings that are not asked for are those of the run, or the paper's where it had no miner.

    Args:
        trained: A detector with dense features.
        data: Of its run, as :func:`siod.training.predict.data_of` finds it.
        count: How many images, spread evenly over those with an annotation and, where there are any, with a hidden
            instance.
        similarities: Least similarities that SPLG is shown with, in [-1, 1].

    Returns:
        For each image SPLG at each similarity, PGCL's best positions, and both; of a run with reject also the entries
        that it leaves out at its greatest share.

    Raises:
        UserError: The detector has no features to mine in, or no training image has an annotation.

    Source: Li et al., SIOD, CVPR 2022, Fig. 6.
    """
    if not trained.experiment.detector.mined_levels():
        raise UserError(
            f"this {trained.experiment.detector.family} was trained without detector.mining_branch and has no "
            "features to mine in; name a checkpoint of one that has it"
        )
    places = _most_informative(data, count)
    evaluation = trained.experiment.evaluation
    batches = plain_training_images(data, places, input_size=evaluation.input_size, short_edge=evaluation.short_edge)
    files = {image.id: image.file_name for image in read(data.train).images}
    made = []
    for batch in batches:
        (image_id,), (target,) = batch.image_ids, batch.targets
        made.append(
            MinedImage(
                image_id=image_id,
                file=data.train_images / files[image_id],
                annotated=_boxes(batch, target.boxes_xyxy, target.labels),
                hidden=_boxes(batch, target.hidden_boxes_xyxy, target.hidden_labels),
                found=_mined(trained, batch, similarities),
            )
        )
    return tuple(made)


def _most_informative(data: PreparedData, count: int) -> list[int]:
    """Indices of images that have annotated instances and, as far as possible, hidden ones."""
    learnt, full = read(data.train), read(data.train_full)
    kept = {learnt.images[index].id: len(learnt.rows_of_image(index)) for index in range(len(learnt.images))}
    whole = {full.images[index].id: len(full.rows_of_image(index)) for index in range(len(full.images))}
    annotated = [place for place, image in enumerate(learnt.images) if kept[image.id]]
    if not annotated:
        raise UserError(f"{data.train_images}: no training image has an annotation; nothing can be mined")
    hiding = [place for place in annotated if whole.get(learnt.images[place].id, 0) > kept[learnt.images[place].id]]
    chosen = hiding or annotated
    return [chosen[number * len(chosen) // count] for number in range(count)] if len(chosen) > count else chosen


@torch.no_grad()
def _mined(trained: Trained, batch: Batch, similarities: Sequence[float]) -> tuple[Found, ...]:
    device = next(trained.detector.parameters()).device
    batch = batch.to(device)
    outputs = trained.detector(batch.images, batch.targets)
    levels = trained.detector.levels(outputs, trained.detector.encode(batch.targets, outputs))
    dminer = trained.experiment.dminer or DMiner()
    splg, pgcl = dminer.splg or SPLG(), dminer.pgcl or PGCL()
    asked: list[tuple[str, SPLG | None, PGCL | None]] = [
        (f"SPLG, similarity {least:g} or more", splg.with_changes({"min_similarity": least}), None)
        for least in similarities
    ]
    top = "/".join(map(str, pgcl.top_m)) if isinstance(pgcl.top_m, tuple) else str(pgcl.top_m)
    asked += [(f"PGCL, the best {top}", None, pgcl), (f"SPLG at {splg.min_similarity:.3g}, and PGCL", splg, pgcl)]
    found = [_found(title, mine(levels, splg=first, pgcl=second), levels, batch) for title, first, second in asked]
    if dminer.reject is not None:
        share = dminer.reject.max_share
        rejected = mine(levels, rejected_share=share, states=stacked_states(batch.targets))
        found.append(_found(f"Reject, the hardest {100 * share:g}%", rejected, levels, batch))
    return tuple(found)


def _found(title: str, mining: Mining, levels: Sequence[DenseLevel], batch: Batch) -> Found:
    masks = mining.masks()
    positions = {
        miner: tuple(cell for mask, level in zip(maps, levels, strict=True) for cell in _cells(batch, mask, level.grid))
        for miner, maps in masks.items()
    }
    return Found(title, positions, mining.counts(batch.targets))


def _cells(batch: Batch, mask: Tensor, grid: Grid) -> tuple[tuple[Box, int], ...]:
    """The squares of the image file around the points that the entries of a map look at."""
    _, labels, y, x = mask.nonzero(as_tuple=True)
    corners = (torch.stack([x, y, x + 1, y + 1], dim=1) - 0.5) * grid.stride_px + grid.first_px
    return _boxes(batch, corners, labels)


def _boxes(batch: Batch, boxes_xyxy: Tensor, labels: Tensor) -> tuple[tuple[Box, int], ...]:
    """Boxes of the input as x, y, width, height in the frame of the image file."""
    affine = batch.to_original[0].to(boxes_xyxy)
    (left, top), (right, bottom) = (
        (boxes_xyxy[:, [first, first + 1]] @ affine[:, :2].T + affine[:, 2]).unbind(1) for first in (0, 2)
    )
    widths, heights = right - left, bottom - top
    corners = zip(left.tolist(), top.tolist(), widths.tolist(), heights.tolist(), strict=True)
    return tuple(zip(corners, labels.tolist(), strict=True))
