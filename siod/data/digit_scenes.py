"""Compose one scene of handwritten digits on a photograph.

Pixels are computed on integers, and each scene draws from the random stream it is given: equal streams give
equal scenes to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

Split = Literal["train", "val"]

BANK_SIZE_PX = 40
VAL_EVERY = 4  # of the digits of a class, every fourth is for validation scenes
MAX_TURN_DEGREES = 20.0
INK = 64  # alpha (of 255) from which a pixel counts as drawn
MIN_VISIBLE = 0.6  # least share of an instance's ink that later ones leave uncovered
PLACEMENT_TRIES = 25
COLOUR_CONTRAST = 130  # least distance of a digit's colour from the mean of the scene, in RGB levels


@dataclass(frozen=True)
class Style:
    """What the scenes of one data set have in common; sizes in pixels (see ``siod.data.digits.Digits``)."""

    image_size_px: int
    min_size_px: int
    median_size_px: int
    max_size_px: int
    size_spread: float
    max_overlap: float


@dataclass(frozen=True)
class Instance:
    """A digit as painted: its alpha and the pixel of its upper left corner. The box is the alpha's extent."""

    label: int
    alpha: NDArray[np.uint8]
    x: int
    y: int

    @property
    def box_xywh(self) -> tuple[int, int, int, int]:
        """The box in pixels of the scene."""
        return self.x, self.y, self.alpha.shape[1], self.alpha.shape[0]

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the scene that the box covers."""
        return slice(self.y, self.y + self.alpha.shape[0]), slice(self.x, self.x + self.alpha.shape[1])


def compose(
    rng: np.random.Generator, style: Style, split: Split, labels: list[int]
) -> tuple[NDArray[np.uint8], list[Instance]]:
    """Paint digits of the given labels where they fit.

    Args:
        rng: The scene's own stream.
        style: Sizes and overlap.
        split: Which digits may be used.
        labels: Wanted, one per instance; those that find no place or get covered are left out.

    Returns:
        The scene, ``[S, S, 3]`` RGB, and its instances in the order they were painted.
    """
    labels = [labels[i] for i in rng.permutation(len(labels))]  # no label gets the large digits
    sizes = _sizes(rng, style, len(labels))
    digits = [_digit(rng, split, label, size) for label, size in zip(labels, sizes, strict=True)]
    placed = _place(rng, style, labels, digits)
    instances = _without_covered([placed[i] for i in rng.permutation(len(placed))], style.image_size_px)
    scene = _background(rng, style.image_size_px)
    mean = scene.mean(axis=(0, 1))
    for instance in instances:
        _paint(scene, instance, _colour(rng, mean))
    return _with_noise(rng, scene), instances


@cache
def _bank() -> dict[tuple[Split, int], tuple[Image.Image, ...]]:
    """The 8 x 8 digits enlarged smoothly, by split and label."""
    from sklearn.datasets import load_digits  # noqa: PLC0415  (0.6 s that only the generator needs)

    source = load_digits()
    grey = (source.images * 255).astype(np.int64) // 16
    bank: dict[tuple[Split, int], list[Image.Image]] = {}
    for label in range(10):
        for rank, row in enumerate(np.flatnonzero(source.target == label)):
            split: Split = "val" if rank % VAL_EVERY == VAL_EVERY - 1 else "train"
            small = Image.fromarray(np.pad(grey[row], 1).astype(np.uint8))
            enlarged = small.resize((BANK_SIZE_PX, BANK_SIZE_PX), Image.Resampling.BICUBIC)
            bank.setdefault((split, label), []).append(enlarged)
    return {key: tuple(images) for key, images in bank.items()}


@cache
def _photographs() -> tuple[Image.Image, ...]:
    from sklearn.datasets import load_sample_images  # noqa: PLC0415  (as above)

    return tuple(Image.fromarray(np.asarray(photo)) for photo in load_sample_images().images)


def _sizes(rng: np.random.Generator, style: Style, count: int) -> list[int]:
    """Longer sides in pixels, largest first: large digits find no place between small ones."""
    sizes = style.median_size_px * np.exp(style.size_spread * rng.standard_normal(count))
    return sorted(np.clip(np.rint(sizes), style.min_size_px, style.max_size_px).astype(int).tolist(), reverse=True)


def _digit(rng: np.random.Generator, split: Split, label: int, size: int) -> NDArray[np.uint8]:
    """The alpha of one turned and scaled digit, cropped to its ink."""
    choices = _bank()[split, label]
    image = choices[int(rng.integers(len(choices)))]
    turned = image.rotate(float(rng.uniform(-MAX_TURN_DEGREES, MAX_TURN_DEGREES)), Image.Resampling.BILINEAR, expand=True)
    alpha = _cropped(np.asarray(turned))
    height, width = alpha.shape
    scale = size / max(height, width)
    shape = (max(round(width * scale), 1), max(round(height * scale), 1))
    scaled = np.asarray(Image.fromarray(alpha).resize(shape, Image.Resampling.BICUBIC))
    return _cropped(scaled)


def _cropped(alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    ink = alpha >= INK
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return np.ascontiguousarray(alpha[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def _place(
    rng: np.random.Generator, style: Style, labels: list[int], digits: list[NDArray[np.uint8]]
) -> list[Instance]:
    """Find each digit a place where it overlaps no other by more than the style allows."""
    boxes = np.empty((len(digits), 4), dtype=np.int64)
    placed: list[Instance] = []
    for label, alpha in zip(labels, digits, strict=True):
        height, width = alpha.shape
        free = (style.image_size_px - width + 1, style.image_size_px - height + 1)
        corners = rng.integers(0, free, size=(PLACEMENT_TRIES, 2))
        candidates = np.concatenate([corners, corners + (width, height)], axis=1)
        fits = np.flatnonzero(_overlap(candidates, boxes[: len(placed)]) <= style.max_overlap)
        if len(fits):
            boxes[len(placed)] = candidates[fits[0]]
            placed.append(Instance(label, alpha, int(corners[fits[0], 0]), int(corners[fits[0], 1])))
    return placed


def _overlap(candidates: NDArray[np.int64], boxes: NDArray[np.int64]) -> NDArray[np.float64]:
    """For each candidate the largest intersection with a box, over the smaller of the two areas."""
    if not len(boxes):
        return np.zeros(len(candidates))
    low = np.maximum(candidates[:, None, :2], boxes[None, :, :2])
    high = np.minimum(candidates[:, None, 2:], boxes[None, :, 2:])
    intersection = (high - low).clip(min=0).prod(axis=2)
    areas = [(box[:, 2:] - box[:, :2]).prod(axis=1) for box in (candidates, boxes)]
    return (intersection / np.minimum(areas[0][:, None], areas[1][None])).max(axis=1)


def _without_covered(instances: list[Instance], size_px: int) -> list[Instance]:
    """Leave out instances of which later ones cover too much."""
    owner = np.full((size_px, size_px), -1, dtype=np.int64)
    for index, instance in enumerate(instances):
        owner[instance.window][instance.alpha >= INK] = index
    kept = []
    for index, instance in enumerate(instances):
        visible = np.count_nonzero(owner[instance.window] == index)
        if visible >= MIN_VISIBLE * np.count_nonzero(instance.alpha >= INK):
            kept.append(instance)
    return kept


def _background(rng: np.random.Generator, size_px: int) -> NDArray[np.uint8]:
    """A crop of a photograph, enlarged or reduced, mirrored half of the time, dimmed at random."""
    photographs = _photographs()
    photograph = photographs[int(rng.integers(len(photographs)))]
    side = int(rng.integers(size_px // 2, min(photograph.size) + 1))
    left, top = (int(rng.integers(0, length - side + 1)) for length in photograph.size)
    crop = photograph.resize(
        (size_px, size_px), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side), reducing_gap=2.0
    )
    pixels = np.asarray(crop)[:, :: 1 - 2 * int(rng.integers(2))]
    return (pixels.astype(np.uint16) * int(rng.integers(110, 256)) // 255).astype(np.uint8)


def _colour(rng: np.random.Generator, mean: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A colour that stands out from the scene's mean, or the one that does so best."""
    colours = rng.integers(0, 256, size=(8, 3), dtype=np.uint8)
    distance = np.sqrt(((colours - mean) ** 2).sum(axis=1))
    return colours[int(np.argmax(np.minimum(distance, COLOUR_CONTRAST)))]


def _paint(scene: NDArray[np.uint8], instance: Instance, colour: NDArray[np.uint8]) -> None:
    below = scene[instance.window].astype(np.uint16)
    alpha = instance.alpha[:, :, None].astype(np.uint16)
    scene[instance.window] = (below * (255 - alpha) + colour * alpha) // 255


def _with_noise(rng: np.random.Generator, scene: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Add triangular noise of standard deviation 6."""
    dice = rng.integers(0, 16, size=(2, *scene.shape), dtype=np.uint8).astype(np.int16)
    return (scene + dice[0] - dice[1]).clip(0, 255).astype(np.uint8)
