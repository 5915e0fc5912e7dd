"""Sizes that a detector cannot take are refused with one that it can."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from siod.data.source import CocoFolder
from siod.detectors.centernet import CenterNet
from siod.detectors.detector import Detector
from siod.detectors.zoo import (
    CENTERNET_R18,
    CENTERNET_TINY,
    FAMILIES,
    FASTER_RCNN_TINY,
    RETINANET_R50_FPN,
    add_family,
    build,
)
from siod.errors import UserError
from siod.training.experiment import Experiment
from siod.training.input_sizes import refuse_unfit_inputs, refuse_vanishing_images, size_divisor

PHOTOS = ((640, 480, 3),)
STRIP = ((640, 480, 3), (5000, 10, 1))


@pytest.mark.parametrize(
    ("spec", "divisor"), [(CENTERNET_TINY, 16), (CENTERNET_R18, 32), (FASTER_RCNN_TINY, 8), (RETINANET_R50_FPN, 32)]
)
def test_the_coarsest_stride_is_read_off_the_detector(spec: Any, divisor: int) -> None:
    assert size_divisor(spec) == divisor


def test_a_detector_from_outside_that_does_not_tell_is_built_to_be_asked() -> None:
    class Silent(CenterNet):
        family: Literal["silent"] = "silent"

        def size_divisor(self) -> None:
            """Only the detector knows."""

    def detector(spec: Silent, num_classes: int) -> Detector:
        return build(CENTERNET_TINY.with_changes({"base_width": spec.base_width}), num_classes=num_classes)

    add_family(Silent, detector)
    assert size_divisor(Silent()) == 16  # the tiny one's
    del FAMILIES["silent"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"augmentation.input_size": (96, 100)},
            r"augmentation\.input_size \[96, 100\]: .* stride is 16 px and .*; set it to \[96, 112\]",
        ),
        ({"evaluation.input_size": (20, 20)}, r"evaluation\.input_size \[20, 20\]: .*; set it to \[32, 32\]"),
        (
            {"detector": CENTERNET_R18, "augmentation.input_size": (32, 32), "recipe.batch_size": 1},
            r"one image a worker .*; set augmentation\.input_size to \[64, 64\] or recipe\.batch_size to 2",
        ),
    ],
)
def test_what_the_detector_cannot_take_is_refused(small: Experiment, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        refuse_unfit_inputs(small.with_changes(changes))


def test_what_it_can_take_passes(small: Experiment) -> None:
    refuse_unfit_inputs(small)
    refuse_unfit_inputs(small.with_changes({"recipe.batch_size": 1, "augmentation.input_size": (32, 32)}))


def test_images_of_which_nothing_is_left_are_refused(small: Experiment) -> None:
    # 96 of 5000 px leave 0.19 of 10.
    with pytest.raises(UserError, match=r"a training image of 5000 x 10 px .* at augmentation\.input_size \[96, 96\]"):
        refuse_vanishing_images(small, STRIP, PHOTOS)
    refuse_vanishing_images(small, PHOTOS, STRIP)  # judged at full size
    shrunk = small.with_changes({"data": CocoFolder(root="x", longest_px=480)})  # 0.96 px
    with pytest.raises(UserError, match=r"a validation or test image of 5000 x 10 px .* at data\.longest_px 480"):
        refuse_vanishing_images(shrunk, PHOTOS, STRIP)
