"""Boxes go where pixels go, and every range of the augmentation is kept."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as tv

from siod.data.loading.pixels import change_colour, mean_rgb, warp_image
from siod.data.transforms import (
    CENTERNET_AUGMENTATION,
    Augmentation,
    Geometry,
    ShortEdge,
    draw_colour,
    draw_geometry,
    fit,
    fit_short_edge,
    warp_boxes,
)
from siod.errors import UserError

PLAIN = Augmentation(input_size=(96, 96))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_an_image_of_the_inputs_size_is_left_alone() -> None:
    geometry = draw_geometry(PLAIN, rng(), 96, 96)
    assert geometry.is_identity
    image = torch.randint(0, 256, (3, 96, 96), dtype=torch.uint8)
    assert warp_image(image, geometry) is image
    np.testing.assert_array_equal(geometry.matrix(), [[1, 0, 0], [0, 1, 0]])


def test_a_wide_image_fits_and_is_centred() -> None:
    # 200 x 100 into 96 x 96: scale 0.48, so 96 x 48 pixels with 24 black rows above and below.
    geometry = draw_geometry(PLAIN, rng(), 100, 200)
    assert geometry == Geometry((100, 200), (48, 96), (24, 0), flip=False, input_size=(96, 96))
    boxes, seen = warp_boxes(np.array([[0.0, 0, 200, 100], [100, 50, 150, 75]]), geometry)
    np.testing.assert_allclose(boxes, [[0, 24, 96, 72], [48, 48, 72, 60]])
    assert seen.tolist() == [True, True]
    warped = warp_image(torch.full((3, 100, 200), 200, dtype=torch.uint8), geometry)
    assert warped[:, :24].eq(0).all()
    assert warped[:, 24:72].eq(200).all()
    assert warped[:, 72:].eq(0).all()


def test_a_mirrored_box_keeps_its_distance_from_the_other_edge() -> None:
    geometry = fit((96, 96), (96, 96), flip=True)
    boxes, _ = warp_boxes(np.array([[10.0, 5, 30, 25]]), geometry)
    assert boxes.tolist() == [[66, 5, 86, 25]]  # 96 - 30, 96 - 10


def test_zooming_in_twice_around_a_corner_cuts_and_drops_boxes() -> None:
    # Zoom 2 puts (24, 24) at the centre: x' = 2 x + 48 - 48 = 2 x, so x from 48 on leaves the input.
    geometry = fit((96, 96), (96, 96), zoom=2.0, centre=(24.0, 24.0))
    boxes, seen = warp_boxes(np.array([[1.0, 2, 3, 4], [40, 40, 60, 60], [48, 10, 60, 20]]), geometry)
    np.testing.assert_allclose(boxes[0], [2, 4, 6, 8])
    np.testing.assert_allclose(boxes[1], [80, 80, 96, 96])
    assert seen.tolist() == [True, True, False]


GEOMETRIES = st.builds(
    fit,
    st.tuples(st.integers(20, 70), st.integers(20, 70)),
    st.tuples(st.sampled_from([32, 64, 96]), st.sampled_from([32, 64, 96])),
    zoom=st.floats(0.5, 2),
    centre=st.tuples(st.floats(0, 20), st.floats(0, 20)),
    flip=st.booleans(),
)


@given(GEOMETRIES)
@settings(max_examples=60, deadline=None)
def test_the_way_back_undoes_the_way_there(geometry: Geometry) -> None:
    there = np.vstack([geometry.matrix(), [0, 0, 1]])
    back = np.vstack([geometry.to_original(), [0, 0, 1]])
    np.testing.assert_allclose(back @ there, np.eye(3), atol=1e-9)


@given(GEOMETRIES, st.integers(0, 12), st.integers(0, 12), st.integers(6, 12), st.integers(6, 12))
@settings(max_examples=100, deadline=None)
def test_a_white_rectangle_and_its_box_move_together(
    geometry: Geometry, x: int, y: int, width: int, height: int
) -> None:
    image = torch.zeros(3, *geometry.source, dtype=torch.uint8)
    image[:, y : y + height, x : x + width] = 255
    box = np.array([[x, y, min(x + width, geometry.source[1]), min(y + height, geometry.source[0])]], dtype=float)
    warped = warp_image(image, geometry)
    assert warped.shape == (3, *geometry.input_size)
    (moved,), (seen,) = warp_boxes(box, geometry)
    bright = (warped[0] > 127).nonzero()
    if not seen or (moved[2:] - moved[:2]).min() < 2:
        return  # thinner than two pixels may vanish between them
    low, high = bright.min(dim=0).values.flip(0).numpy(), bright.max(dim=0).values.flip(0).numpy() + 1
    np.testing.assert_allclose([*low, *high], moved, atol=1.01)


def test_centernets_zoom_takes_the_eight_steps_from_0_6_to_1_3() -> None:
    zooms = Counter()
    for seed in range(400):
        geometry = draw_geometry(CENTERNET_AUGMENTATION, rng(seed), 512, 512)
        zooms[round(geometry.size[0] / 512, 1)] += 1
    assert sorted(zooms) == [0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3]
    # Binomial(400, 1/8): mean 50, standard deviation 6.6.
    assert all(23 <= count <= 77 for count in zooms.values())


@pytest.mark.parametrize(("length", "border"), [(640, 128), (480, 128), (256, 64), (100, 32), (60, 16)])
def test_the_centre_keeps_its_distance_from_the_edge(length: int, border: int) -> None:
    # The distance is halved until it is less than half of the side.
    augmentation = Augmentation(input_size=(512, 512), scale=(1, 1), shift_border_px=128)
    centres = []
    for seed in range(300):
        geometry = draw_geometry(augmentation, rng(seed), length, length)
        x, y = np.array([256.0, 256.0]) @ geometry.to_original()[:, :2].T + geometry.to_original()[:, 2]
        centres += [x, y]
    assert border - 1 <= min(centres) <= border + 0.1 * length
    assert length - border - 0.1 * length <= max(centres) <= length - border + 1


def test_half_of_the_images_are_mirrored_at_probability_one_half() -> None:
    flips = sum(draw_geometry(CENTERNET_AUGMENTATION, rng(seed), 512, 512).flip for seed in range(400))
    assert 160 <= flips <= 240  # four deviations of Binomial(400, 1/2)


def test_without_a_flip_probability_nothing_is_ever_mirrored() -> None:
    augmentation = Augmentation(input_size=(96, 96), scale=(0.5, 2))
    assert not any(draw_geometry(augmentation, rng(seed), 96, 96).flip for seed in range(100))


@pytest.mark.parametrize("kind", ["brightness", "saturation"])
def test_one_change_of_colour_agrees_with_torchvision(kind: str) -> None:
    image = torch.randint(0, 256, (3, 40, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    augmentation = Augmentation(input_size=(32, 32), **{kind: 0.4})
    matrix, offset = draw_colour(augmentation, rng(3), mean_rgb(image))
    assert np.allclose(offset, 0)
    factor = matrix[0].sum() if kind == "brightness" else (matrix[0, 0] - 0.299) / (1 - 0.299)
    assert 0.6 <= factor <= 1.4
    assert abs(factor - 1) > 0.01
    expected = getattr(tv, f"adjust_{kind}")(image.float() / 255, factor).mul(255).round()
    difference = change_colour(image, matrix, offset).float() - expected
    assert difference.abs().max() <= 1  # torchvision's weights of grey have four digits


def test_contrast_turns_around_the_mean_grey_of_the_image() -> None:
    image = torch.full((3, 2, 2), 70, dtype=torch.uint8)
    image[:, 0] = 130  # mean grey 100
    augmentation = Augmentation(input_size=(32, 32), contrast=0.4)
    matrix, offset = draw_colour(augmentation, rng(1), mean_rgb(image))
    factor = matrix[0, 0]
    np.testing.assert_allclose(matrix, factor * np.eye(3))
    changed = change_colour(image, matrix, offset)
    assert changed[0, 0, 0].item() == round(100 + factor * 30)
    assert changed[0, 1, 0].item() == round(100 - factor * 30)


def test_lighting_moves_all_pixels_alike_by_the_published_components() -> None:
    augmentation = Augmentation(input_size=(32, 32), lighting=0.1)
    offsets = np.array([draw_colour(augmentation, rng(seed), np.zeros(3))[1] for seed in range(4000)])
    # Covariance of the offset: (255 * 0.1)^2 * V diag(deviation^2) V^T.
    components = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
    expected = 25.5**2 * components @ np.diag(np.square([0.2175, 0.0188, 0.0045])) @ components.T
    np.testing.assert_allclose(np.cov(offsets.T), expected, rtol=0.1)


def test_colours_are_cut_at_black_and_white() -> None:
    image = torch.tensor([0, 100, 255], dtype=torch.uint8).expand(3, 1, 3)
    assert change_colour(image, np.eye(3) * 2, np.full(3, -50.0))[0, 0].tolist() == [0, 150, 255]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"scale_step": 0.1}, "have no effect without scale"),
        ({"shift_border_px": 8}, "have no effect without scale"),
        ({"scale": (1.3, 0.6)}, "from the least to the greatest"),
        ({"flip": 1.5}, "flip"),
        ({"input_size": (96,)}, "input_size"),
        ({"flipp": 0.5}, "did you mean 'flip'"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Augmentation.parse({"input_size": (96, 96), **settings}, source="test")


def test_a_short_edge_gets_one_of_its_lengths_unless_the_long_one_would_be_too_long() -> None:
    """480 x 640 to 96: 96 x 128. 100 x 400 to 96 would be 384 wide: 200 / 400 halves it. Inputs in whole 32 px."""
    assert fit_short_edge((480, 640), 96, 200) == Geometry((480, 640), (96, 128), (0, 0), False, (96, 128))
    assert fit_short_edge((100, 400), 96, 200) == Geometry((100, 400), (50, 200), (0, 0), False, (64, 224))
    augmentation = Augmentation(short_edge=ShortEdge(lengths=(64, 80, 96), longest=1000), flip=0.5)
    drawn = [draw_geometry(augmentation, rng(seed), 100, 150) for seed in range(60)]
    assert {geometry.size for geometry in drawn} == {(64, 96), (80, 120), (96, 144)}
    assert {geometry.flip for geometry in drawn} == {False, True}
    mirrored = next(geometry for geometry in drawn if geometry.flip and geometry.size == (80, 120))
    boxes, _ = warp_boxes(np.array([[0.0, 0, 15, 10]]), mirrored)
    np.testing.assert_allclose(boxes, [[108, 0, 120, 8]])  # 0.8 of it, at the right edge of the image


def test_an_input_is_of_a_size_or_follows_the_short_edge() -> None:
    for changes in ({"input_size": (96, 96), "short_edge": ShortEdge()}, {}):
        with pytest.raises(UserError, match="set one of input_size and short_edge"):
            Augmentation.parse(changes, source="augmentation")
    with pytest.raises(UserError, match="scale has no effect with short_edge"):
        Augmentation.parse({"short_edge": {}, "scale": (0.5, 1.0)}, source="augmentation")
    with pytest.raises(UserError, match="group_shapes has no effect with input_size"):
        Augmentation.parse({"input_size": (96, 96), "group_shapes": True}, source="augmentation")
    assert Augmentation(input_size=(96, 96)).model_dump(mode="json").keys() == {
        *("input_size", "scale", "scale_step", "shift_border_px", "flip"),
        *("brightness", "contrast", "saturation", "lighting"),
    }
