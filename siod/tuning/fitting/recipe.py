"""The settings of a study from what its data looks like: sizes, batch, epochs, learning rate, each with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from siod.errors import UserError

if TYPE_CHECKING:
    from siod.data.describing.profile import Profile

STEP_PX = 32
"""Inputs are multiples of it: the coarsest stride of the backbones."""

LEAST_OBJECT_PX = 12
"""Three positions of a map of stride 4: below that neither the place nor the sides of a box can be told well."""

SMALL_SHARE = 0.1
"""Boxes that may be smaller than that."""

CPU_SIZES_PX, GPU_SIZES_PX = (160, 320), (320, 640)
# What a pretrained detector of that size needs to learn: it was pretrained on photographs, so a thousand steps will do.
CPU_STEPS, GPU_STEPS = 1000, 6000
LEAST_EPOCHS, MOST_EPOCHS = 8, 60
SMALL_BATCH, LARGE_BATCH = 8, 16
SMALL_SET_IMAGES = 1000
LEARNING_RATE = 2e-3
"""Of Adam with a batch of SMALL_BATCH."""

JUDGED_TIMES = 8
SEEDS = 3


@dataclass(frozen=True)
class Fit:
    """What fits a data set, and why.

    Attributes:
        input_size: Height and width of the detector's input in pixels, for training and judging alike.
        longest_px: Longest side of the images' small copies; None where no image is larger than the input.
        small_share: Share of the boxes whose shorter side is below LEAST_OBJECT_PX in the input.
        batch_size: Images of a step.
        epochs: Passes over the training images.
        every_epochs: Judged so often.
        learning_rate: Of Adam.
        seeds: How many runs each arm gets.
        why: The reason of each setting above, by its name.
        remarks: What the user should know, in sentences.
    """

    input_size: tuple[int, int]
    longest_px: int | None
    small_share: float
    batch_size: int
    epochs: int
    every_epochs: int
    learning_rate: float
    seeds: int
    why: dict[str, str]
    remarks: tuple[str, ...] = ()

    @property
    def pixels(self) -> int:
        """Pixels of the input."""
        return self.input_size[0] * self.input_size[1]


def fit(profile: Profile, *, gpu: bool) -> Fit:
    """Choose settings for a data set.

    Args:
        profile: Its measurements.
        gpu: Whether there is a GPU to train on.

    Returns:
        What a study should have if time did not matter.
    """
    batch = _batch_size(profile.train_images)
    steps = GPU_STEPS if gpu else CPU_STEPS
    epochs = min(max(math.ceil(steps * batch / profile.train_images), LEAST_EPOCHS), MOST_EPOCHS)
    seen = profile.train_images * epochs
    started = Fit(
        input_size=(STEP_PX, STEP_PX),
        longest_px=None,
        small_share=0.0,
        batch_size=batch,
        epochs=epochs,
        every_epochs=math.ceil(epochs / JUDGED_TIMES),
        learning_rate=float(f"{LEARNING_RATE * math.sqrt(batch / SMALL_BATCH):.2g}"),
        seeds=SEEDS,
        why={
            "batch_size": f"{profile.train_images // batch} steps an epoch",
            "epochs": f"{seen:,} images seen in {seen // batch:,} steps; about {steps:,} were wanted",
            "every_epochs": f"judging {profile.val_images} images takes time, too; the last epoch is judged anyway",
            "learning_rate": _why_rate(batch),
            "seeds": "the spread of a result takes at least three",
        },
    )
    chosen = sized(started, profile, choose_size(profile, gpu=gpu))
    if chosen.small_share <= SMALL_SHARE:
        return chosen
    remark = (
        f"{chosen.small_share:.0%} of the boxes are below {LEAST_OBJECT_PX} px on their shorter side even at the "
        f"largest input tried ({max(chosen.input_size)} px); expect those to be missed by every arm"
    )
    return replace(chosen, remarks=(remark,))


def choose_size(profile: Profile, *, gpu: bool) -> int:
    """The smallest longest side at which objects are large enough to be recognised.

    Args:
        profile: Of the data.
        gpu: Whether inputs may be as large as a GPU carries.

    Returns:
        Pixels, a multiple of STEP_PX: at most a tenth of the boxes fall below LEAST_OBJECT_PX, unless that takes more
        than the largest size. Never larger than the images themselves.
    """
    return next(
        (size for size in sizes(profile, gpu=gpu) if _small_share(profile, input_size(profile, size)) <= SMALL_SHARE),
        sizes(profile, gpu=gpu)[-1],
    )


def sizes(profile: Profile, *, gpu: bool) -> tuple[int, ...]:
    """The longest sides that are tried, in pixels, from the smallest."""
    least, most = GPU_SIZES_PX if gpu else CPU_SIZES_PX
    whole = _multiple(float(np.median(profile.image_sizes.max(axis=1))), round_up=True)
    return tuple(range(min(least, whole), min(most, whole) + 1, STEP_PX))


def input_size(profile: Profile, longest_px: int) -> tuple[int, int]:
    """Height and width that hold most images with little left empty.

    Args:
        profile: Of the data; nine of ten images decide.
        longest_px: Of the longer side, a multiple of STEP_PX.

    Example:
        Of photographs of 480 x 640 px 160 gives (128, 160): 120 rows are seen and 8 left empty.
    """
    shapes = profile.image_sizes / profile.image_sizes.max(axis=1, keepdims=True)
    height, width = np.quantile(shapes, 0.9, axis=0, method="nearest") * longest_px
    return _multiple(height), _multiple(width)


def sized(settings: Fit, profile: Profile, longest_px: int) -> Fit:
    """The same settings at another size of the input."""
    chosen = input_size(profile, longest_px)
    small = _small_share(profile, chosen)
    copies = profile.image_sizes.max(axis=1) * profile.magnification(chosen)
    shrinks = bool((profile.magnification(chosen) < 1).any())
    reason = f"{small:.0%} of the boxes are below {LEAST_OBJECT_PX} px on their shorter side then"
    return replace(
        settings,
        input_size=chosen,
        longest_px=round(float(copies.max())) if shrinks else None,
        small_share=small,
        why={**settings.why, "input_size": reason},
    )


def refuse_several(profile: Profile) -> None:
    """Refuse a data set that is said to have one box per image and category where it has several.

    Raises:
        UserError: An image has several boxes of a category.
    """
    if profile.crowded is not None:
        image, category = profile.crowded
        raise UserError(
            f"--only-one: {image} has several boxes of {category!r} in the training set; leave the option out"
        )


def _why_rate(batch: int) -> str:
    if batch == SMALL_BATCH:
        return f"of Adam, for batches of {SMALL_BATCH}"
    return f"of Adam: {LEARNING_RATE:g} for batches of {SMALL_BATCH}, times the root of the ratio"


def _small_share(profile: Profile, chosen: tuple[int, int]) -> float:
    return float((profile.box_sizes_at(chosen).min(axis=1) < LEAST_OBJECT_PX).mean())


def _batch_size(images: int) -> int:
    """The largest power of two that leaves four steps an epoch."""
    most = SMALL_BATCH if images < SMALL_SET_IMAGES else LARGE_BATCH
    return int(2 ** min(math.log2(most), max(0, math.floor(math.log2(images / 4)))))


def _multiple(length: float, *, round_up: bool = False) -> int:
    steps = math.ceil(length / STEP_PX) if round_up else round(length / STEP_PX)
    return max(1, steps) * STEP_PX
