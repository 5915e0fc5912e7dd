"""Scenes of handwritten digits on photographs: a small detection data set that needs no download.

The digits are scikit-learn's, the photographs its two sample images. Three of four digits compose the
training scenes, every fourth the validation scenes. Each image draws from a random stream of its own, so
the files are equal to the bit however many processes write them.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from jaxtyping import Int, UInt8  # noqa: TC002  (beartype resolves the annotations at run time)
from PIL import Image
from pydantic import Field, model_validator

from siod.data import coco
from siod.data.digit_scenes import Split, Style, compose
from siod.errors import UserError
from siod.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GENERATOR_VERSION = 1
"""Raised whenever equal ``Digits`` would give other files than before."""

MOST_CATEGORIES = 3
MOST_INSTANCES = 7
# n instances of a category are as likely as COUNT_DECAY**n: 2.3 on average, of which keep-1 keeps 43% (COCO: 40%).
COUNT_DECAY = 0.6
SPLITS: tuple[Split, ...] = ("train", "val")
STREAMS = {"train": 0, "val": 1, "crops": 2}
CHUNK = 100  # images a process draws at a time
MIN_CROP_PX = 32

Boxes = list[tuple[int, tuple[int, int, int, int]]]
"""Label and x, y, width, height of the instances of one image."""


class Digits(Value):
    """What the scenes are like.

    Sizes are the longer side of a digit in pixels: log-normal around the median, cut at the two bounds.
    ``max_overlap`` bounds the intersection of two boxes over the smaller one.
    """

    kind: Literal["digits"] = "digits"
    image_size_px: Annotated[int, Field(ge=64, le=512)] = 96
    num_classes: Annotated[int, Field(ge=2, le=10)] = 5
    train_images: Annotated[int, Field(ge=1)] = 3000
    val_images: Annotated[int, Field(ge=1)] = 300
    min_size_px: Annotated[int, Field(ge=8)] = 12
    median_size_px: Annotated[int, Field(ge=8)] = 22
    max_size_px: Annotated[int, Field(ge=8)] = 60
    size_spread: Annotated[float, Field(ge=0, le=2)] = 0.45
    max_overlap: Annotated[float, Field(ge=0, le=0.5)] = 0.2
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _sizes_are_in_order(self) -> Self:
        if not self.min_size_px <= self.median_size_px <= self.max_size_px < self.image_size_px:
            message = (
                "sizes must keep min_size_px <= median_size_px <= max_size_px < image_size_px, not "
                f"{self.min_size_px}, {self.median_size_px}, {self.max_size_px}, {self.image_size_px}"
            )
            raise ValueError(message)
        return self


def write_digits(
    spec: Digits, out_dir: Path, *, processes: int = 1, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write the data set: ``train/``, ``val/`` and ``annotations/instances_{train,val}.json``.

    A box is tight around what is drawn of a digit before later digits cover part of it; ``area`` is that of
    the box. The folder appears when everything in it is written.

    Args:
        spec: What to draw.
        out_dir: Missing or empty.
        processes: How many draw at once; the files do not depend on it.
        progress: Called with the number of images done and of all images.

    Raises:
        UserError: The folder is not empty, or cannot be written.
    """
    refuse_occupied(out_dir)
    try:
        out_dir.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=f".{out_dir.name}.") as unfinished:
            folder = Path(unfinished) / "whole"
            _write_all(spec, folder, processes, progress)
            with contextlib.suppress(FileNotFoundError):
                out_dir.rmdir()
            folder.replace(out_dir)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{out_dir}: cannot be written ({reason}); free space or name another folder") from error


def refuse_occupied(out_dir: Path) -> None:
    """Make sure that an output folder is missing or empty.

    Raises:
        UserError: It is a file, or something lies in it.
    """
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise UserError(f"{out_dir}: is not an empty folder; name a new one or empty it")


def digit_crops(
    spec: Digits, count: int, size_px: int, seed: int
) -> tuple[UInt8[np.ndarray, "N 3 S S"], Int[np.ndarray, " N"]]:
    """Draw single training digits on photographs, to teach a classifier.

    Args:
        spec: Classes and sizes; the digits are those of the training scenes.
        count: How many crops.
        size_px: Side of a crop, at least 32; a digit fills at most nine tenths of it.
        seed: Of the crops, beside that of the scenes.

    Returns:
        The crops in RGB and their labels, each label equally often (to one).

    Raises:
        ValueError: The size is too small.
    """
    if size_px < MIN_CROP_PX:
        raise ValueError(f"size_px must be at least {MIN_CROP_PX}, not {size_px}")
    style = _style(spec, size_px)
    crops = np.empty((count, 3, size_px, size_px), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int64) % spec.num_classes
    for place, label in enumerate(labels.tolist()):
        rng = np.random.default_rng([spec.seed, STREAMS["crops"], seed, place])
        scene, _ = compose(rng, style, "train", [label])
        crops[place] = scene.transpose(2, 0, 1)
    return crops, labels


def _style(spec: Digits, size_px: int) -> Style:
    largest = size_px * 9 // 10
    return Style(
        image_size_px=size_px,
        min_size_px=min(spec.min_size_px, largest),
        median_size_px=min(spec.median_size_px, largest),
        max_size_px=min(spec.max_size_px, largest),
        size_spread=spec.size_spread,
        max_overlap=spec.max_overlap,
    )


def _write_all(spec: Digits, folder: Path, processes: int, progress: Callable[[int, int], None] | None) -> None:
    counts = {"train": spec.train_images, "val": spec.val_images}
    chunks: list[tuple[Digits, Path, Split, range]] = []
    for split in SPLITS:
        (folder / split).mkdir(parents=True)
        starts = range(0, counts[split], CHUNK)
        chunks += [(spec, folder / split, split, range(s, min(s + CHUNK, counts[split]))) for s in starts]
    boxes: dict[Split, list[Boxes]] = {split: [] for split in SPLITS}
    for (_, _, split, _), drawn in zip(chunks, _draw_chunks(chunks, processes), strict=True):
        boxes[split] += drawn
        if progress is not None:
            progress(sum(map(len, boxes.values())), sum(counts.values()))
    for split in SPLITS:
        coco.write(folder / "annotations" / f"instances_{split}.json", _document(spec, split, boxes[split]))


def _draw_chunks(chunks: list[tuple[Digits, Path, Split, range]], processes: int) -> Iterator[list[Boxes]]:
    if processes == 1:
        yield from starmap(_draw_chunk, chunks)
        return
    # Not fork: the caller may hold threads of torch or Ray.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_draw_chunk, *zip(*chunks, strict=True))


def _draw_chunk(spec: Digits, folder: Path, split: Split, indices: range) -> list[Boxes]:
    """Draw and write some images; returns the boxes of each."""
    chances = COUNT_DECAY ** np.arange(1, MOST_INSTANCES + 1)
    style = _style(spec, spec.image_size_px)
    drawn = []
    for index in indices:
        rng = np.random.default_rng([spec.seed, STREAMS[split], index])
        present = rng.permutation(spec.num_classes)[: rng.integers(1, MOST_CATEGORIES + 1)].tolist()
        counts = rng.choice(MOST_INSTANCES, size=len(present), p=chances / chances.sum()) + 1
        scene, instances = compose(rng, style, split, np.repeat(present, counts).tolist())
        Image.fromarray(scene).save(folder / _file_name(index), quality=95, subsampling=0)
        drawn.append([(instance.label, instance.box_xywh) for instance in instances])
    return drawn


def _file_name(index: int) -> str:
    return f"{index + 1:06d}.jpg"


def _document(spec: Digits, split: Split, boxes: list[Boxes]) -> dict[str, Any]:
    size = spec.image_size_px
    rows = [(index + 1, label, box) for index, instances in enumerate(boxes) for label, box in instances]
    return {
        "info": {
            "description": "Handwritten digits on photographs",
            "generator": {"version": GENERATOR_VERSION, "split": split, **spec.model_dump(mode="json")},
            "area": "of the box",
        },
        "images": [
            {"id": index + 1, "file_name": _file_name(index), "width": size, "height": size}
            for index in range(len(boxes))
        ],
        "annotations": [
            {
                "id": number,
                "image_id": image_id,
                "category_id": label + 1,
                "bbox": list(box),
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for number, (image_id, label, box) in enumerate(rows, start=1)
        ],
        "categories": [
            {"id": label + 1, "name": f"digit {label}", "supercategory": "digit"} for label in range(spec.num_classes)
        ],
    }
