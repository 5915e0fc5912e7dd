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
    alpha: Image.Image
    x: int
    y: int

    @property
    def box_xywh(self) -> tuple[int, int, int, int]:
        """The box in pixels of the scene."""
        return self.x, self.y, *self.alpha.size


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
    for instance, colour in zip(instances, _colours(rng, scene, len(instances)), strict=True):
        scene.paste(colour, (instance.x, instance.y), instance.alpha)
    return _with_noise(rng, np.asarray(scene)), instances


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


def _digit(rng: np.random.Generator, split: Split, label: int, size: int) -> Image.Image:
    """The alpha of one turned and scaled digit, cropped to its ink."""
    choices = _bank()[split, label]
    image = choices[int(rng.integers(len(choices)))]
    angle = float(rng.uniform(-MAX_TURN_DEGREES, MAX_TURN_DEGREES))
    turned = _cropped(image.rotate(angle, Image.Resampling.BILINEAR, expand=True))
    scale = size / max(turned.size)
    width, height = (max(round(side * scale), 1) for side in turned.size)
    return _cropped(turned.resize((width, height), Image.Resampling.BICUBIC))


def _cropped(alpha: Image.Image) -> Image.Image:
    ink = np.asarray(alpha) >= INK
    rows, columns = np.any(ink, axis=1), np.any(ink, axis=0)
    height, width = ink.shape
    right, bottom = width - int(columns[::-1].argmax()), height - int(rows[::-1].argmax())
    return alpha.crop((int(columns.argmax()), int(rows.argmax()), right, bottom))


def _place(rng: np.random.Generator, style: Style, labels: list[int], digits: list[Image.Image]) -> list[Instance]:
    """Find each digit a place where it overlaps no other by more than the style allows."""
    boxes = np.empty((len(digits), 4), dtype=np.int64)
    placed: list[Instance] = []
    for label, alpha in zip(labels, digits, strict=True):
        free = [style.image_size_px - side + 1 for side in alpha.size]
        corners = rng.integers(0, free, size=(PLACEMENT_TRIES, 2))
        candidates = np.concatenate([corners, corners + alpha.size], axis=1)
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
    shares = intersection / np.minimum(areas[0][:, None], areas[1][None])
    return np.asarray(np.max(shares, axis=1))


def _without_covered(instances: list[Instance], size_px: int) -> list[Instance]:
    """Leave out instances of which later ones cover too much."""
    owner = np.full((size_px, size_px), -1, dtype=np.int16)
    inks = [np.asarray(instance.alpha) >= INK for instance in instances]
    windows = [owner[x.y : x.y + x.alpha.height, x.x : x.x + x.alpha.width] for x in instances]
    for index, (window, ink) in enumerate(zip(windows, inks, strict=True)):
        window[ink] = index
    visible = [np.count_nonzero(window == index) for index, window in enumerate(windows)]
    enough = [MIN_VISIBLE * np.count_nonzero(ink) for ink in inks]
    return [x for x, seen, needed in zip(instances, visible, enough, strict=True) if seen >= needed]


def _background(rng: np.random.Generator, size_px: int) -> Image.Image:
    """A crop of a photograph, enlarged or reduced, mirrored half of the time, dimmed at random."""
    photographs = _photographs()
    photograph = photographs[int(rng.integers(len(photographs)))]
    side = int(rng.integers(size_px // 2, min(photograph.size) + 1))
    left, top = (int(rng.integers(0, length - side + 1)) for length in photograph.size)
    box = (left, top, left + side, top + side)
    crop = photograph.resize((size_px, size_px), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
    if rng.integers(2):
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return Image.blend(Image.new("RGB", crop.size), crop, float(rng.uniform(0.45, 1.0)))


def _colours(rng: np.random.Generator, scene: Image.Image, count: int) -> list[tuple[int, int, int]]:
    """Colours that stand out from the scene's mean; of eight each, the first that does so, or does so most."""
    mean = np.asarray(scene.resize((1, 1), Image.Resampling.BOX))[0, 0]
    choices = rng.integers(0, 256, size=(count, 8, 3), dtype=np.uint8)
    distance = np.sqrt(((choices - mean.astype(np.float64)) ** 2).sum(axis=2))
    best = np.argmax(np.minimum(distance, COLOUR_CONTRAST), axis=1)
    return [tuple(colour) for colour in choices[np.arange(count), best].tolist()]


def _with_noise(rng: np.random.Generator, scene: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Add triangular noise of standard deviation 6.5: the difference of the halves of a random byte."""
    dice = np.frombuffer(rng.bytes(scene.size), dtype=np.uint8).reshape(scene.shape)
    noise = (dice & 15).astype(np.int16) - (dice >> 4)
    return (scene + noise).clip(0, 255).astype(np.uint8)
