"""What makes a batch, which of its images are a worker's, and how much of a batch is padding."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siod.data.loading.order import SORTED_BATCHES, EpochShares, Key, Share, share_of
from siod.data.transforms import SHORT_EDGE_AUGMENTATION, Geometry, ShortEdge, draw_geometry

IMAGES = 6_000


def geometry(key: Key) -> Geometry:
    """Of photographs of which 75% are 640 x 480 px and the others 480 x 640, as short-edge training draws it."""
    height, width = (640, 480) if key[2] % 4 == 0 else (480, 640)
    return draw_geometry(SHORT_EDGE_AUGMENTATION, np.random.default_rng(key), height, width)


def shape(key: Key) -> tuple[int, int]:
    return geometry(key).input_size


def area(keys: Iterable[Key]) -> int:
    return sum(height * width for height, width in map(shape, keys))


def padded_area(keys: Iterable[Key]) -> int:
    """If each image is padded to the largest height and the largest width among them."""
    heights, widths = zip(*map(shape, keys), strict=True)
    return len(heights) * max(heights) * max(widths)


@given(st.integers(1, 300), st.integers(1, 16))
def test_shares_cover_a_batch_once_and_differ_by_one_image_larger_ones_first(batch_size: int, workers: int) -> None:
    if batch_size < workers:
        with pytest.raises(ValueError, match=f"batch_size must be at least world_size {workers}, not {batch_size}"):
            share_of(batch_size, 0, workers)
        return
    shares = [range(batch_size)[share_of(batch_size, rank, workers)] for rank in range(workers)]
    assert [index for share in shares for index in share] == list(range(batch_size))
    assert len(shares[0]) - len(shares[-1]) <= 1
    assert all(len(one) >= len(other) for one, other in pairwise(shares))


def test_the_paper_s_batch_on_four_and_eight_gpus() -> None:
    def sizes(workers: int) -> list[int]:
        return [len(range(114)[share_of(114, rank, workers)]) for rank in range(workers)]

    assert sizes(4) == [29, 29, 28, 28]
    assert sizes(8) == [15, 15, 14, 14, 14, 14, 14, 14]


@pytest.mark.parametrize(("workers", "rank"), [(1, 0), (2, 1)])
def test_inputs_of_one_size_come_in_the_order_that_seed_and_epoch_alone_decide(workers: int, rank: int) -> None:
    """The order of all runs so far: a permutation, cut into batches, cut into shares."""
    order = np.random.default_rng((7, 3)).permutation(50).tolist()
    each = 8 // workers
    expected = [[(7, 3, i) for i in order[first : first + each]] for first in range(rank * each, 48, 8)]
    shares = EpochShares(7, 3, images=50, batch_size=8, rank=rank, world_size=workers)
    assert [list(share.mine) for share in shares] == expected
    assert len(shares) == 6


def grouped(batch_size: int, images: int = IMAGES, **changes: int) -> EpochShares:
    return EpochShares(**({"seed": 0, "epoch": 1} | changes), images=images, batch_size=batch_size, shape=shape)


@pytest.mark.parametrize("images", [3, 40, 200, 1_037])
def test_grouping_shows_the_images_that_would_be_shown_without_it(images: int) -> None:
    """1,037 images are eight whole windows of 32 batches of 4, and three batches and one image more."""
    without = EpochShares(0, 1, images=images, batch_size=4)
    shown = [[key for share in shares for key in share.batch] for shares in (grouped(4, images), without)]
    assert sorted(shown[0]) == sorted(shown[1])
    assert len(list(grouped(4, images))) == len(grouped(4, images)) == len(without) == images // 4


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_of_four_images_a_worker_a_twelfth_more_than_needed_is_computed_at_most(workers: int) -> None:
    batches = [share.batch for share in grouped(4 * workers)]
    needed = sum(map(area, batches))
    assert sum(map(padded_area, batches)) / needed <= 1.08


def test_left_to_chance_a_third_more_than_needed_would_be_computed() -> None:
    """1.18, 1.35 and 1.59 at 2, 4 and 16 images a worker, each padded to the largest of its own share."""
    for each, expected in ((2, 1.18), (4, 1.35), (16, 1.59)):
        batches = [share.batch for share in EpochShares(0, 1, images=IMAGES, batch_size=each)]
        assert sum(map(padded_area, batches)) / sum(map(area, batches)) == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_the_batch_is_the_same_for_every_number_of_workers(workers: int) -> None:
    alone = list(grouped(10, 400))
    ranks = [list(grouped(10, 400, rank=rank, world_size=workers)) for rank in range(workers)]
    for batch, shares in zip(alone, zip(*ranks, strict=True), strict=True):
        assert {tuple(share.batch) for share in shares} == {tuple(batch.mine)}
        assert [key for share in shares for key in share.mine] == list(batch.mine)


def test_wide_and_high_images_share_one_batch_of_a_window_at_most() -> None:
    def kinds(share: Share) -> int:
        return len({height > width for height, width in map(shape, share.batch)})

    batches = list(grouped(4, SORTED_BATCHES * 4 * 5))
    assert sum(kinds(share) > 1 for share in batches) <= 5


def test_the_order_stays_random() -> None:
    """Epochs differ, a batch has other company in each, and wide batches do not come in one piece."""
    first, second = ([tuple(share.batch) for share in grouped(4, 400, epoch=epoch)] for epoch in (1, 2))
    assert list(grouped(4, 400)) == list(grouped(4, 400)) != list(grouped(4, 400, seed=1))
    company = [{frozenset(index for _, _, index in keys) for keys in epoch} for epoch in (first, second)]
    assert not company[0] & company[1]
    wide = [shape(keys[0])[1] > shape(keys[0])[0] for keys in first]
    assert sum(one != other for one, other in pairwise(wide)) > 20


def test_images_of_one_shape_stay_as_the_order_has_them() -> None:
    """Nothing to group: the batches are those of no grouping, in another order."""
    square = EpochShares(0, 1, images=400, batch_size=4, shape=lambda _: (64, 64))
    plain = EpochShares(0, 1, images=400, batch_size=4)
    assert sorted(tuple(share.batch) for share in square) == sorted(tuple(share.batch) for share in plain)


def test_lengths_are_drawn_as_ever() -> None:
    """Grouping chooses company, not lengths: a sixth of the images has each."""
    lengths = [min(shape(key)) for share in grouped(4) for key in share.mine]
    counts = {length: lengths.count(length) / len(lengths) for length in ShortEdge().lengths}
    assert sum(counts.values()) == pytest.approx(1)
    assert all(share == pytest.approx(1 / 6, abs=0.02) for share in counts.values())
