"""A family's anchors and ranges follow from the boxes."""

from __future__ import annotations

import numpy as np
import pytest

from siod.detectors import zoo
from siod.errors import UserError
from siod.tuning.fitting.detector import STARTS, fit_detector, top_m

# Squares of 10, 20, ..., 100 px.
BOXES = np.repeat(np.arange(10.0, 101.0, 10.0)[:, None], 2, axis=1)


@pytest.mark.parametrize(("family", "backbone"), [(family, name) for family, names in STARTS.items() for name in names])
def test_every_named_detector_is_one_of_the_zoo(family: str, backbone: str) -> None:
    found = fit_detector(family, backbone, BOXES)
    assert found.spec().backbone == backbone
    assert found.spec() == getattr(zoo, found.name).with_changes(found.changes)


def test_nothing_random_is_frozen() -> None:
    found = fit_detector("centernet", "efficientnet_lite0", BOXES, pretrained=False)
    assert found.changes == {"frozen_stages": 0, "norm": "batch"}
    assert fit_detector("centernet", "efficientnet_lite0", BOXES).changes == {}
    assert fit_detector("centernet", "tiny_resnet18", BOXES, pretrained=False).changes == {}


def test_another_backbone_starts_from_the_default_ones_settings() -> None:
    found = fit_detector("centernet", "mobilenet_v2", BOXES)
    assert (found.name, found.changes) == ("CENTERNET_LITE0", {"backbone": "mobilenet_v2"})


def test_a_pyramid_on_a_small_backbone_has_a_small_head() -> None:
    found = fit_detector("fcos", "mobilenet_v2", BOXES)
    assert found.name == "FCOS_R50_FPN"
    assert found.changes["pixels"] == "backbone"
    assert found.changes["pyramid_channels"] == 64
    assert found.spec().backbone == "mobilenet_v2"


@pytest.mark.parametrize(("family", "name"), [("fcos", "FCOS_LITE0"), ("retinanet", "RETINANET_LITE0")])
def test_the_default_backbone_has_a_pyramid_of_its_own(family: str, name: str) -> None:
    found = fit_detector(family, "efficientnet_lite0", BOXES)
    assert (found.name, found.spec().frozen_stages) == (name, 2)


def test_centernet_has_neither_anchors_nor_ranges() -> None:
    assert fit_detector("centernet", "tiny_resnet18", BOXES).changes == {}


def test_a_third_of_the_boxes_is_in_range_of_the_finest_level() -> None:
    found = fit_detector("fcos", "tiny_resnet18", BOXES)
    # Half sides of 5 to 50 px, of which 20 is the third at a third; the finest stride is 4.
    assert found.changes == {"range_strides": 5.0}
    assert found.why == {"range_strides": "a third of the boxes reach 20 px or less"}


def test_the_smallest_anchor_is_as_large_as_the_smallest_boxes() -> None:
    found = fit_detector("retinanet", "tiny_resnet18", BOXES)
    # The tenth at a tenth of 10 to 100 px is 19 px; the finest stride is 4.
    assert found.changes == {"anchor_strides": 5.0}
    assert found.why == {"anchor_strides": "a tenth of the boxes are 19 px wide or less"}


def test_anchors_stand_in_the_middle_of_equal_parts() -> None:
    found = fit_detector("faster_rcnn", "tiny_resnet18", BOXES)
    assert found.changes == {"proposals.anchor_sizes_px": (19, 37, 55, 73, 91)}
    assert found.mining_from == "FASTER_RCNN_TINY_MINING"
    assert getattr(zoo, found.mining_from).mining_branch is not None


def test_small_boxes_and_equal_ones_have_anchors_that_their_families_take() -> None:
    """Squares of 3 px: two strides, not one; five sizes 3 px apart, of which the last is two strides of 8 px."""
    small = np.full((20, 2), 3.0)
    assert fit_detector("retinanet", "tiny_resnet18", small).spec().model_dump()["anchor_strides"] == 2.0
    found = fit_detector("faster_rcnn", "tiny_resnet18", small)
    assert found.changes == {"proposals.anchor_sizes_px": (3, 6, 9, 12, 16)}
    assert found.spec().family == "faster_rcnn_c4"
    equal = fit_detector("faster_rcnn", "tiny_resnet18", np.full((20, 2), 50.0))
    assert equal.changes == {"proposals.anchor_sizes_px": (50, 53, 56, 59, 62)}
    assert equal.spec().family == "faster_rcnn_c4"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CENTERNET_R18", 128),  # the paper's 512 x 512 at stride 4
        ("CENTERNET_TINY", 128),
        ("FCOS_TINY", (128, 64, 32)),
        ("FASTER_RCNN_TINY_MINING", 64),
    ],
)
def test_pgcl_looks_at_as_many_positions_as_a_map_is_wide(name: str, expected: object) -> None:
    assert top_m(getattr(zoo, name), (512, 512)) == expected
    assert top_m(zoo.CENTERNET_TINY, (256, 64)) == 32  # 64 x 16 positions are as many as 32 x 32


def test_names_that_are_not_known_are_answered_with_the_closest() -> None:
    with pytest.raises(UserError, match="--detector 'centrenet': no such family; did you mean 'centernet'"):
        fit_detector("centrenet", "tiny_resnet18", BOXES)
    with pytest.raises(UserError, match=r"--backbone mobilenet_v22: .*did you mean 'mobilenet_v2'"):
        fit_detector("centernet", "mobilenet_v22", BOXES)
