"""Reject: which entries are left out of the negative loss, and of which epoch on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from siod.dminer.mining.reject import hardest_negatives
from siod.dminer.reject import Reject
from siod.errors import UserError


def maps(*rows: tuple[float, ...]) -> torch.Tensor:
    """One image of one row of positions, one tuple a class."""
    return torch.tensor(rows)[None, :, None]


def test_the_best_scored_unlabelled_entries_of_classes_that_may_hide_are_rejected() -> None:
    """Class 1 is absent. Of the 6 unlabelled entries of the others half are 0.8, 0.7 and 0.6."""
    scores = maps((0.9, 0.8, 0.1, 0.6), (0.99, 0.99, 0.99, 0.99), (0.5, 0.7, 0.95, 0.2))
    target = maps((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.3, 0.0))
    rejected = hardest_negatives(scores, target, torch.tensor([[True, False, True]]), share=0.5)
    assert rejected[0, :, 0].tolist() == [
        [False, True, False, True],
        [False, False, False, False],
        [False, True, False, False],
    ]


@pytest.mark.parametrize(("share", "number"), [(0.0, 0), (0.1, 0), (0.2, 1), (0.4, 2), (1.0, 4)])
def test_a_share_is_rounded_to_whole_entries(share: float, number: int) -> None:
    """Of 4 unlabelled entries 0.4, 0.8 and 1.6."""
    scores, target = maps((0.5, 0.4, 0.3, 0.2, 0.1)), maps((1.0, 0.0, 0.0, 0.0, 0.0))
    rejected = hardest_negatives(scores, target, torch.tensor([[True]]), share=share)
    assert rejected.flatten().tolist() == [False] + [True] * number + [False] * (4 - number)


def test_nothing_is_rejected_where_no_class_may_hide() -> None:
    scores = torch.rand(2, 3, 4, 4)
    rejected = hardest_negatives(
        scores, torch.zeros_like(scores), torch.tensor([[False] * 3, [True, False, False]]), share=0.5
    )
    assert not rejected[0].any()
    assert rejected[1].sum(dim=(1, 2)).tolist() == [8, 0, 0]


def test_ten_of_a_thousand_entries_are_one_in_a_hundred_in_half_precision_too() -> None:
    scores = torch.linspace(0, 1, 1000).view(1, 1, 10, 100).bfloat16()
    rejected = hardest_negatives(scores, torch.zeros_like(scores), torch.tensor([[True]]), share=0.01)
    assert rejected.sum() == 10
    assert scores[rejected].min() >= scores[~rejected].max()


@given(st.integers(0, 2**31), st.floats(0, 1))
@settings(max_examples=30)
def test_each_image_has_its_own_share_whatever_the_batch(seed: int, share: float) -> None:
    """Against a sort of each image's entries, one after the other."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(3, 4, 3, 5, generator=generator)
    target = (torch.rand(3, 4, 3, 5, generator=generator) - 0.7).clamp(min=0)
    hiding = torch.rand(3, 4, generator=generator) < 0.5
    rejected = hardest_negatives(scores, target, hiding, share=share)
    for image in range(3):
        open_ = (target[image] == 0) & hiding[image, :, None, None]
        number = int((torch.tensor(share) * open_.sum()).round())
        least = scores[image][open_].sort(descending=True).values[number - 1] if number else 2.0
        assert torch.equal(rejected[image], open_ & (scores[image] >= least))
        alone = hardest_negatives(
            scores[image : image + 1], target[image : image + 1], hiding[image : image + 1], share=share
        )
        assert torch.equal(alone[0], rejected[image])


def test_no_gradient_flows_through_what_is_rejected() -> None:
    scores = torch.rand(1, 1, 2, 2, requires_grad=True)
    assert not hardest_negatives(scores, torch.zeros(1, 1, 2, 2), torch.tensor([[True]]), share=0.5).requires_grad


def test_shapes_and_shares_out_of_range_are_refused() -> None:
    scores, hiding = torch.rand(1, 2, 3, 3), torch.tensor([[True, True]])
    with pytest.raises(ValueError, match=r"share must be in \[0, 1\], got 1.5"):
        hardest_negatives(scores, scores, hiding, share=1.5)


@pytest.mark.usefixtures("unchecked_shapes")
def test_unlike_maps_are_refused() -> None:
    scores, hiding = torch.rand(1, 2, 3, 3), torch.tensor([[True, True]])
    with pytest.raises(ValueError, match=r"shape of target \(1, 2, 2, 3\), got \(1, 2, 3, 3\)"):
        hardest_negatives(scores, torch.zeros(1, 2, 2, 3), hiding, share=0.5)


def test_the_share_grows_from_its_first_epoch_to_its_greatest() -> None:
    """The defaults: nothing in epoch 1, 0.2% in epoch 2, and 1% from epoch 6 on."""
    shares = [Reject().share_at(epochs_done) for epochs_done in range(8)]
    assert shares == pytest.approx([0, 0.002, 0.004, 0.006, 0.008, 0.01, 0.01, 0.01])
    late = Reject(max_share=0.5, growth=0.2, start_epoch=3)
    assert [late.share_at(epochs_done) for epochs_done in range(7)] == pytest.approx([0, 0, 0, 0.2, 0.4, 0.5, 0.5])
    assert Reject(start_epoch=0).share_at(0) == Reject().growth


def test_the_default_ends_at_about_sixteen_entries_an_image_of_digits() -> None:
    """Three classes on 24 x 24 positions, of which a Gaussian of 5 x 5 positions each is labelled: 0.01 x 1653."""
    target = torch.zeros(1, 5, 24, 24)
    for label in range(3):
        target[0, label, 5:10, 5:10] = 0.5
    hiding = torch.tensor([[True, True, True, False, False]])
    rejected = hardest_negatives(torch.rand(1, 5, 24, 24), target, hiding, share=Reject().max_share)
    assert rejected.sum() == 17
    assert rejected.sum(dim=(2, 3))[0, 3:].sum() == 0


@pytest.mark.parametrize("changes", [{"max_share": 0}, {"max_share": 1}, {"growth": 0}, {"start_epoch": -1}])
def test_settings_out_of_range_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(changes))):
        Reject().with_changes(changes)
