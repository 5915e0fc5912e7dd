"""Estimated shares of false pseudo boxes: by hand, and against the truth where it is known."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from forked import run_ranks
from torch import Tensor

from siod.methods.steps.decoys import BINS, Decoys, Finds, bins_of, count_finds, false_discovery_rates
from siod.state import State
from siod.types import PaddedDetections

CPU = torch.device("cpu")
ABSENT, COMPLETE, SOME, UNKNOWN, UNLABELLED = map(int, State)


def found_of(*images: list[tuple[float, int]]) -> PaddedDetections:
    """Scores and labels of boxes somewhere, one list for each image."""
    places = max(map(len, images))
    padded = [[*image, *[(0.9, 0)] * (places - len(image))] for image in images]
    scores = torch.tensor([[score for score, _ in image] for image in padded])
    labels = torch.tensor([[label for _, label in image] for image in padded])
    valid = torch.tensor([[place < len(image) for place in range(places)] for image in images])
    return PaddedDetections(torch.zeros(len(images), places, 4), scores, labels, valid)


def test_finds_are_counted_where_a_category_is_absent_and_where_it_may_hide() -> None:
    """Of category 0 the first image has none and the second some; of category 1 all and an unknown number.

    Complete categories count on neither side, nor does the box on an annotated one.
    """
    states = torch.tensor([[ABSENT, COMPLETE], [SOME, UNKNOWN]], dtype=torch.int8)
    found = found_of([(0.5, 0), (0.305, 0), (0.9, 1)], [(0.7, 0), (0.6, 0), (0.4, 1)])
    annotated = torch.tensor([[False, False, False], [True, False, False]])
    finds = count_finds(found, annotated, states)
    assert finds.boxes[:, :, [0, 30, 31, 50, 60, 61]].tolist() == [
        [[2, 2, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]],
        [[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0]],
    ]
    assert finds.images.tolist() == [[1, 0], [1, 1]]
    assert finds.seen == 2


def test_categories_that_nobody_looked_for_may_hide_too() -> None:
    states = torch.tensor([[UNLABELLED]], dtype=torch.int8)
    finds = count_finds(found_of([(0.5, 0)]), torch.tensor([[False]]), states)
    assert finds.boxes[:, 0, 0].tolist() == [0, 1]


def histogram(decoys: dict[int, int], found: dict[int, int], classes: int = 1) -> Tensor:
    """Boxes of each class by bin, from the lowest up to and with the named ones."""
    boxes = torch.zeros(2, classes, BINS)
    for side, counts in enumerate((decoys, found)):
        for top, count in sorted(counts.items(), reverse=True):
            boxes[side, :, : top + 1] = count
    return boxes


def test_rates_are_those_worked_out_by_hand() -> None:
    """200 images lack the category, 100 may hide it: a decoy stands for half a false box.

    Up to bin 50 (9 + 1) / 2 of 50 are false, up to 70 (1 + 1) / 2 of 40. Above, 20 boxes without a decoy are too few
    for a rate of their own.
    """
    boxes = histogram({50: 9, 70: 1}, {50: 50, 70: 40, 90: 20})
    rates = false_discovery_rates(Finds(boxes, torch.tensor([[200.0], [100.0]]), torch.tensor(300.0)))
    assert rates[0, [0, 50, 51, 70, 71, 90, 99]].tolist() == pytest.approx(
        [0.1, 0.1, 1 / 40, 1 / 40, 1 / 40, 1 / 40, 1 / 40]
    )


def test_a_category_with_few_boxes_has_the_rates_of_all() -> None:
    """Category 0: 40 boxes, 4 decoys in 100 images for 100; category 1: 10 boxes and no decoy.

    Together (4 + 0 + 1) of 50; for the first alone (4 + 1) of 40.
    """
    boxes = torch.zeros(2, 2, BINS)
    boxes[0, 0, :50], boxes[1, 0, :50], boxes[1, 1, :50] = 4, 40, 10
    images = torch.full((2, 2), 100.0)
    rates = false_discovery_rates(Finds(boxes, images, torch.tensor(200.0)))
    assert rates[:, 0].tolist() == pytest.approx([5 / 40, 5 / 50])


def test_a_category_that_no_image_lacks_has_the_rates_of_the_others_and_no_part_in_them() -> None:
    """Its 1,000 boxes would make the rate of all look small: (4 + 1) of 40."""
    boxes = torch.zeros(2, 2, BINS)
    boxes[0, 0, :50], boxes[1, 0, :50], boxes[1, 1, :50] = 4, 40, 1000
    images = torch.tensor([[100.0, 0.0], [100.0, 200.0]])
    rates = false_discovery_rates(Finds(boxes, images, torch.tensor(200.0)))
    assert rates[:, 0].tolist() == pytest.approx([5 / 40, 5 / 40])


@pytest.mark.parametrize(("seen", "found", "lacking"), [(99.0, 1000, 100.0), (100.0, 29, 100.0), (100.0, 1000, 0.0)])
def test_until_enough_was_seen_all_counts_as_false(seen: float, found: int, lacking: float) -> None:
    images = torch.tensor([[lacking], [100.0]])
    rates = false_discovery_rates(Finds(histogram({}, {50: found}), images, torch.tensor(seen)))
    assert set(rates.flatten().tolist()) == {1.0}


def test_after_a_half_life_a_find_counts_half() -> None:
    decoys = Decoys(1, half_life_images=100, device=CPU)
    fresh = Finds(histogram({50: 8}, {50: 4}), torch.tensor([[60.0], [40.0]]), torch.tensor(100.0))
    nothing = Finds(torch.zeros(2, 1, BINS), torch.zeros(2, 1), torch.tensor(100.0))
    decoys.add(fresh, workers=1)
    decoys.add(nothing, workers=1)
    assert decoys.finds.boxes[:, 0, 0].tolist() == [4.0, 2.0]
    assert decoys.finds.images.flatten().tolist() == [30.0, 20.0]
    assert decoys.finds.seen == 150


# Against the truth.


class Made(NamedTuple):
    """Detections of many images, and which of them are true."""

    found: PaddedDetections
    true: Tensor
    states: Tensor


def made(seed: int, *, false_share: float, images: int = 1500, classes: int = 4, places: int = 12) -> Made:
    """In images that may hide a category, some of its boxes are true; true ones have higher scores than false ones.

    A false box is as likely of any category in any image; a true one takes the place of a false one.
    """
    generator = torch.Generator().manual_seed(seed)
    states = torch.where(torch.rand(images, classes, generator=generator) < 0.4, SOME, ABSENT).to(torch.int8)
    labels = torch.randint(0, classes, (images, places), generator=generator)
    open_ = states.gather(1, labels) == SOME
    true = open_ & (torch.rand(images, places, generator=generator) > false_share)
    low, high = (torch.rand(2, images, places, generator=generator) for _ in range(2))
    scores = torch.where(true, high.amax(dim=0), low.amin(dim=0)) * 0.9
    valid = torch.rand(images, places, generator=generator) < 0.7
    return Made(PaddedDetections(torch.zeros(images, places, 4), scores, labels, valid), true & valid, states)


@pytest.mark.parametrize("max_fdr", [0.05, 0.1, 0.3])
def test_the_estimate_is_on_the_safe_side_of_the_truth(max_fdr: float) -> None:
    """An image with true boxes has less room for false ones than one without, so that decoys are too many."""
    estimated, true = [], []
    for seed in range(10):
        found, right, states = made(seed, false_share=0.5)
        finds = count_finds(found, torch.zeros_like(found.valid), states)
        rates = false_discovery_rates(finds)
        let_in = found.valid & (states.gather(1, found.labels) == SOME)
        let_in &= rates[found.labels, bins_of(found.scores)] <= max_fdr
        true.append(1 - float(right[let_in].float().mean()))
        estimated.append(float(rates.masked_fill(rates > max_fdr, 0).amax()))
        assert int(let_in.sum()) > 100
    assert sum(true) / 10 < sum(estimated) / 10 <= max_fdr
    assert max(true) < max_fdr


def test_a_detector_that_fires_everywhere_has_nothing_but_false_finds() -> None:
    """As many boxes with any score in an image that lacks a category as in one that may hide it."""
    for seed in range(10):
        found, _, states = made(seed, false_share=1.0)
        rates = false_discovery_rates(count_finds(found, torch.zeros_like(found.valid), states))
        assert float(rates.min()) > 0.4


# Several workers.


def _count(rank: int, folder: Path) -> None:
    decoys = Decoys(4, half_life_images=1000, device=CPU)
    for step in range(3):
        found, _, states = made(step, false_share=0.5, images=200)
        rows = slice(0, 80) if rank == 0 else slice(80, 200)
        share = PaddedDetections(*(table[rows] for table in vars(found).values()))
        decoys.add(count_finds(share, torch.zeros_like(share.valid), states[rows]), workers=2)
    torch.save(decoys.state_dict(), folder / f"{rank}.pt")


def test_two_workers_count_what_one_counts_to_the_bit(tmp_path: Path) -> None:
    run_ranks(_count, args=(tmp_path,), nprocs=2)
    alone = Decoys(4, half_life_images=1000, device=CPU)
    for step in range(3):
        found, _, states = made(step, false_share=0.5, images=200)
        alone.add(count_finds(found, torch.zeros_like(found.valid), states), workers=1)
    for rank in range(2):
        shared = torch.load(tmp_path / f"{rank}.pt")
        assert all(torch.equal(shared[name], count) for name, count in alone.state_dict().items())
