"""Flip consistency, worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from siod.detectors.networks.centernet import CenterNetOutputs
from siod.methods.csd import CSD
from siod.methods.method import Moment
from siod.methods.steps.csd import consistency, mirrored


def outputs(scores: Tensor, size: Tensor, offset: Tensor) -> CenterNetOutputs:
    return CenterNetOutputs(torch.zeros(len(scores), 1, *scores.shape[2:]), scores, size, offset)


def pointwise(images: Tensor) -> CenterNetOutputs:
    """A detector that looks at one patch of 4 x 4 at a time, so that it sees a mirror image as it should."""
    cells = functional.max_pool2d(images.float() / 255, 4)
    middle = torch.full_like(cells[:, :1], 0.5)
    return outputs(cells, cells[:, :2] * 5, torch.cat([middle, cells[:, :1]], dim=1))


def test_an_image_equal_to_its_mirror_image_is_consistent() -> None:
    half = torch.randint(128, 256, (1, 3, 16, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image = torch.cat([half, half.flip(3)], dim=3)
    found = pointwise(image)
    terms = consistency(found, mirrored(pointwise(image.flip(3))), foreground_score=0.1)
    assert {name: float(term.total) for name, term in terms.items()} == {
        "consistency_class": 0.0,
        "consistency_box": 0.0,
    }
    assert float(terms["consistency_box"].count) == 4 * 6
    # Without the way back each position meets its mirror image, which looks the same in a symmetric image alone.
    lopsided = half.repeat(1, 1, 1, 2)
    wrong = consistency(pointwise(lopsided), pointwise(lopsided.flip(3)), foreground_score=0.1)
    assert float(wrong["consistency_class"].total) > 0.01


def test_an_offset_is_measured_from_the_other_side_in_a_mirror_image() -> None:
    """A centre at x = 1.25 of 4 positions lies at 2.75 in the mirror image: position 2, offset 0.75."""
    offset = torch.zeros(1, 2, 1, 4)
    offset[0, 0, 0, 2], offset[0, 1, 0, 2] = 0.75, 0.4
    back = mirrored(outputs(torch.zeros(1, 1, 1, 4), torch.zeros(1, 2, 1, 4), offset))
    torch.testing.assert_close(back.offset[0, :, 0, 1], torch.tensor([0.25, 0.4]))


def test_one_position_of_foreground_by_hand() -> None:
    """Scores 0.5 and 0.2 of the one class; sizes e and 1, offsets 0.5 and 0.1; the other position is background.

    (p - q) (logit p - logit q) / 2 = 0.3 x log 4 / 2; squares (1, 0, 0.16, 0) / 4.
    """
    one = outputs(
        torch.tensor([0.5, 0.2]).view(1, 1, 1, 2),
        torch.tensor([[math.e, 9.0], [1.0, 9.0]]).view(1, 2, 1, 2),
        torch.tensor([[0.5, 0.0], [0.3, 0.0]]).view(1, 2, 1, 2),
    )
    other = outputs(
        torch.tensor([0.2, 0.9]).view(1, 1, 1, 2),
        torch.ones(1, 2, 1, 2),
        torch.tensor([[0.1, 0.0], [0.3, 0.0]]).view(1, 2, 1, 2),
    )
    terms = consistency(one, other, foreground_score=0.3)
    assert float(terms["consistency_class"].total) == pytest.approx(0.15 * math.log(4))
    assert float(terms["consistency_box"].total) == pytest.approx(1.16 / 4)
    assert {float(term.count) for term in terms.values()} == {1.0}


def test_without_foreground_nothing_is_compared_and_gradients_are_zero() -> None:
    scores = torch.full((1, 2, 3, 3), 0.1, requires_grad=True)
    maps = torch.ones(1, 2, 3, 3)
    terms = consistency(outputs(scores, maps, maps), outputs(scores.flip(3), maps, maps), foreground_score=0.3)
    total = terms["consistency_class"].mean() + terms["consistency_box"].mean()
    assert float(total.detach()) == 0
    total.backward()
    assert scores.grad is not None
    assert not scores.grad.any()


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (0, math.exp(-5)),  # the first step
        (15, math.exp(-5 / 4)),  # half of the rise
        (30, 1.0),
        (100, 1.0),
        (110, math.exp(-12.5 / 4)),  # half of the fall
    ],
)
def test_the_weight_rises_and_falls(epoch: int, expected: float) -> None:
    spec = CSD(rising=0.25, falling=1 / 6)
    moment = Moment(seed=0, epoch=epoch + 1, step=0, steps=10, epochs=120)
    assert spec.weight_at(moment) == pytest.approx(expected)
    assert spec.with_changes({"weight": 2.0}).weight_at(moment) == pytest.approx(2 * expected)
