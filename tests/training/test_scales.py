"""A run that is judged at a scale far from what it trains at is refused with the remedy, others are not."""

from __future__ import annotations

from typing import Any

import pytest

from siod.data.transforms import CENTERNET_AUGMENTATION, SHORT_EDGE_AUGMENTATION, Augmentation, ShortEdge
from siod.errors import UserError
from siod.training.experiment import Evaluation
from siod.training.presets import SHORT_EDGE_EVALUATION
from siod.training.scales import InputScale, evaluation_scale, refuse_other_scale, training_scale

PHOTOS = ((640, 480, 90), (480, 640, 10))
DIGITS = ((96, 96, 24),)
AT_96 = Augmentation(input_size=(96, 96))
FULL_SIZE = Evaluation()


def test_centernet_shows_photographs_from_half_to_full_size() -> None:
    # 512 / 640 = 0.8, times 0.6 to 1.3: sides of 307 to 666 px, rounded to whole pixels.
    assert training_scale(CENTERNET_AUGMENTATION, PHOTOS, None) == InputScale((307 / 640, 666 / 640), (307, 666))
    assert evaluation_scale(FULL_SIZE, PHOTOS, None) == InputScale((1, 1), (640, 640))


def test_small_copies_are_the_start_of_both() -> None:
    # 640 px to 320, then fitted into 96.
    assert training_scale(AT_96, PHOTOS, 320) == InputScale((0.15, 0.15), (96, 96))
    assert evaluation_scale(FULL_SIZE, PHOTOS, 320) == InputScale((0.5, 0.5), (320, 320))


def test_a_few_images_of_another_size_are_not_what_training_shows() -> None:
    sizes = ((100, 100, 5), (400, 400, 90), (1600, 1600, 5))
    assert training_scale(AT_96, sizes, None).magnification == (0.24, 0.24)


@pytest.mark.parametrize(
    ("augmentation", "evaluation", "train", "val", "longest_px"),
    [
        (CENTERNET_AUGMENTATION, FULL_SIZE, PHOTOS, PHOTOS, None),
        (SHORT_EDGE_AUGMENTATION, SHORT_EDGE_EVALUATION, PHOTOS, PHOTOS, None),
        (AT_96, FULL_SIZE, DIGITS, DIGITS, None),
        (AT_96, FULL_SIZE, PHOTOS, PHOTOS, 96),
        (AT_96, Evaluation(input_size=(96, 96)), PHOTOS, PHOTOS, None),
        # Judging magnifies 1.5 times as much as training, and no more.
        (Augmentation(input_size=(64, 64)), FULL_SIZE, DIGITS, DIGITS, None),
        # Images of twice the resolution, fitted into the same input.
        (AT_96, Evaluation(input_size=(96, 96)), DIGITS, ((192, 192, 3),), None),
        # Training images were cut from images like those for validation.
        (AT_96, FULL_SIZE, DIGITS, ((960, 960, 3),), None),
    ],
)
def test_like_scales_pass(
    augmentation: Augmentation, evaluation: Evaluation, train: Any, val: Any, longest_px: int | None
) -> None:
    refuse_other_scale(augmentation, evaluation, train, val, longest_px=longest_px)


@pytest.mark.parametrize(
    ("augmentation", "evaluation", "longest_px", "sentence"),
    [
        (
            AT_96,
            FULL_SIZE,
            None,
            r"at 0\.15 of .* and judging at 1, .*; set data\.longest_px to 96, or evaluation\.input_size to \[96, 96\]",
        ),
        (AT_96, FULL_SIZE, 320, r"0\.15 .* judging at 0\.5, .*; set data\.longest_px to 96, or"),
        (
            AT_96.with_changes({"scale": (0.6, 1.3)}),
            Evaluation(input_size=(512, 512)),
            None,
            r"at 0\.0906 to 0\.195 .* at 0\.8, .*; set evaluation\.input_size to \[96, 96\]$",
        ),
        (
            AT_96,
            SHORT_EDGE_EVALUATION,
            None,
            r"set evaluation\.input_size to \[96, 96\] and evaluation\.short_edge to null",
        ),
        (
            Augmentation(short_edge=ShortEdge(lengths=(96,), longest=200)),
            FULL_SIZE,
            None,
            r"at 0\.2 .*; set evaluation\.short_edge to one length of augmentation\.short_edge",
        ),
        (
            AT_96.with_changes({"scale": (3.0, 4.0)}),
            Evaluation(input_size=(96, 96)),
            None,
            r"at 0\.45 to 0\.6 .* at 0\.15, .*; set augmentation\.scale to a range around 1",
        ),
    ],
)
def test_scales_apart_are_refused_with_the_remedy(
    augmentation: Augmentation, evaluation: Evaluation, longest_px: int | None, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        refuse_other_scale(augmentation, evaluation, PHOTOS, PHOTOS, longest_px=longest_px)


def test_what_cannot_shrink_is_not_told_to() -> None:
    with pytest.raises(UserError, match=r"found; set evaluation\.input_size to \[96, 96\]$"):
        refuse_other_scale(AT_96, FULL_SIZE, PHOTOS, PHOTOS, longest_px=None, can_shrink=False)
