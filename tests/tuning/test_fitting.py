"""Settings follow from measurements; the data sets here are made of a few numbers."""

from __future__ import annotations

import numpy as np
import pytest

from siod.data.describing.profile import Profile
from siod.errors import UserError
from siod.tuning.fitting.recipe import choose_size, fit, input_size, refuse_several, sizes


def data(
    short_sides: list[float],
    *,
    size: tuple[int, int] = (480, 640),
    train: int = 200,
    crowded: tuple[str, str] | None = ("a.png", "cat"),
) -> Profile:
    """Images of one size, with one box of each short side and twice as long in the first image."""
    return Profile(
        train_images=train,
        val_images=50,
        categories=("cat",),
        train_boxes=1000,
        kept_boxes=250,
        image_sizes=np.array([size] * 4),
        box_sizes=np.array([[side, 2 * side] for side in short_sides]),
        box_images=np.zeros(len(short_sides), dtype=np.int64),
        declared_single=False,
        crowded=crowded,
    )


@pytest.mark.parametrize(
    ("side", "gpus", "longest"),
    [
        (100, 0, 160),  # 25 px at a quarter: the smallest that is tried will do
        (30, 0, 256),  # 12 px at 0.4, which is 256 of 640
        (31, 0, 256),
        (25, 0, 320),  # 12.5 px at a half
        (20, 0, 320),  # no more than 10 px on a CPU
        (20, 1, 384),  # 12 px at 0.6
        (2, 1, 640),
    ],
)
def test_the_input_is_the_smallest_at_which_objects_are_twelve_pixels(side: float, gpus: int, longest: int) -> None:
    assert choose_size(data([side] * 10), gpu=gpus > 0) == longest


def test_one_box_in_ten_may_be_smaller() -> None:
    assert choose_size(data([100.0] * 9 + [2]), gpu=False) == 160
    assert choose_size(data([100.0] * 8 + [2] * 2), gpu=False) == 320


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [
        ((480, 640), 320, (256, 320)),  # 240 rows are nearer to 256 than to 224
        ((480, 640), 160, (128, 160)),
        ((640, 480), 160, (160, 128)),
        ((536, 800), 288, (192, 288)),  # 193 rows: one is given up rather than 31 left empty
        ((100, 100), 160, (160, 160)),
    ],
)
def test_the_input_has_the_shape_of_the_images(size: tuple[int, int], longest: int, expected: tuple[int, int]) -> None:
    assert input_size(data([50], size=size), longest) == expected


def test_images_both_wide_and_high_share_a_square() -> None:
    mixed = data([50])
    mixed.image_sizes[:2] = (640, 480)
    assert input_size(mixed, 320) == (320, 320)


def test_an_input_is_never_larger_than_the_images() -> None:
    small = data([4], size=(48, 64))
    assert sizes(small, gpu=False) == (64,)
    found = fit(small, gpu=True)
    assert (found.input_size, found.longest_px) == (((48 + 16) // 32 * 32, 64), None)


def test_small_copies_have_the_size_at_which_images_fill_the_input() -> None:
    # 536 x 800 fits into 192 x 288 at 192 / 536: 286.6 px.
    assert fit(data([35], size=(536, 800)), gpu=False).longest_px == 287


@pytest.mark.parametrize(
    ("train", "batch", "epochs"),
    [
        (10, 2, 60),  # as many as are ever trained
        (31, 4, 60),
        (200, 8, 40),  # 25 steps an epoch, 1000 steps
        (1000, 16, 16),
        (100_000, 16, 8),  # as few as are ever trained
    ],
)
def test_epochs_follow_from_a_thousand_steps(train: int, batch: int, epochs: int) -> None:
    found = fit(data([100], train=train), gpu=False)
    assert (found.batch_size, found.epochs) == (batch, epochs)


def test_every_setting_has_a_reason() -> None:
    found = fit(data([100] * 20 + [1]), gpu=False)
    assert found.why == {
        "batch_size": "25 steps an epoch",
        "epochs": "8,000 images seen in 1,000 steps; about 1,000 were wanted",
        "every_epochs": "judging 50 images takes time, too; the last epoch is judged anyway",
        "learning_rate": "of Adam, for batches of 8",
        "seeds": "the spread of a result takes at least three",
        "input_size": "5% of the boxes are below 12 px on their shorter side then",
    }
    assert (found.learning_rate, found.every_epochs, found.seeds, found.remarks) == (2e-3, 5, 3, ())


def test_a_larger_batch_learns_faster_by_the_root_of_its_size() -> None:
    assert fit(data([100], train=1000), gpu=False).learning_rate == 0.0028


def test_boxes_too_small_for_the_largest_input_are_told() -> None:
    (remark,) = fit(data([100, 2]), gpu=False).remarks
    assert remark.startswith("50% of the boxes are below 12 px on their shorter side even at the largest input tried")


def test_several_boxes_of_a_category_contradict_one_for_each() -> None:
    with pytest.raises(UserError, match=r"--only-one: a\.png has several boxes of 'cat' in the training set"):
        refuse_several(data([10]))
    refuse_several(data([10], crowded=None))
