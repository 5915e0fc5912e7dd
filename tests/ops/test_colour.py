"""Each image changes by its own amount, and to the bit as torchvision changes it alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from siod.ops.colour import blend, blur, lose_colour, turn_hue


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def colours() -> Tensor:
    """Every seventh value of each channel with every other, black, white and greys among them; 37 x 37 x 37 pixels."""
    levels = torch.tensor([*range(0, 251, 7), 255], dtype=torch.uint8)
    return torch.stack(torch.meshgrid(levels, levels, levels, indexing="ij")).flatten(2)


def noise(images: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (images, 3, 31, 45), dtype=torch.uint8, generator=generator)


def numbers(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).float()


def assert_each_is_its_own(changed: Tensor, images: Tensor, alone: Callable[[Tensor, int], Tensor]) -> None:
    for row, (image, after) in enumerate(zip(images, changed, strict=True)):
        assert torch.equal(after, alone(image, row)), row


factors = st.lists(st.floats(0, 2), min_size=1, max_size=4)


@given(factors, st.integers(0, 9))
def test_brightness(amounts: list[float], seed: int) -> None:
    images = noise(len(amounts), seed)
    changed = blend(images, numbers(amounts), torch.zeros(len(amounts)))
    assert_each_is_its_own(changed, images, lambda image, row: tv.adjust_brightness(image, amounts[row]))


@given(factors, factors, st.integers(0, 9))
def test_contrast_of_some_and_saturation_of_others(contrasts: list[float], others: list[float], seed: int) -> None:
    amounts = [*contrasts, *others]
    images = noise(len(amounts), seed)
    rests = numbers([1 - amount for amount in amounts])
    changed = blend(images, numbers(amounts), rests, around_mean=len(contrasts))
    assert_each_is_its_own(
        changed,
        images,
        lambda image, row: (tv.adjust_contrast if row < len(contrasts) else tv.adjust_saturation)(image, amounts[row]),
    )


@settings(max_examples=20)  # of 50,653 colours
@given(st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=4))
def test_hue_of_all_colours(turns: list[float]) -> None:
    images = colours().expand(len(turns), -1, -1, -1)
    changed = turn_hue(images, numbers(turns))
    assert_each_is_its_own(changed, images, lambda image, row: tv.adjust_hue(image, turns[row]))


@pytest.mark.parametrize("turn", [-0.5, -1e-9, 0.0, 1 / 6, 1 / 3, 0.5])
def test_hue_at_the_seams_of_the_wheel(turn: float) -> None:
    images = colours()[None]
    changed = turn_hue(images, numbers([turn]))
    assert_each_is_its_own(changed, images, lambda image, row: tv.adjust_hue(image, turn))


@given(st.lists(st.floats(0.1, 2), min_size=1, max_size=4), st.integers(0, 9))
def test_blur(sigmas: list[float], seed: int) -> None:
    images = noise(len(sigmas), seed)
    changed = blur(images, numbers(sigmas))
    assert_each_is_its_own(
        changed, images, lambda image, row: tv.gaussian_blur(image, [7, 7], [sigmas[row], sigmas[row]])
    )


def test_loss_of_colour() -> None:
    images = colours()[None]
    assert torch.equal(lose_colour(images), tv.rgb_to_grayscale(images, num_output_channels=3))
