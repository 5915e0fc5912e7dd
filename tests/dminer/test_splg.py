"""SPLG: which positions get a pseudo label, and how strong."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from siod.dminer.mining.prototypes import annotated_classes
from siod.dminer.mining.splg import mine_pseudo_heatmap
from siod.dminer.splg import SPLG
from siod.errors import UserError

SEEDS = st.integers(0, 2**31)


def row(*vectors: tuple[float, ...]) -> torch.Tensor:
    """Features of an image of one row, one vector a position."""
    return torch.tensor(vectors).T[None, :, None, :]


def maps(*values: tuple[float, ...]) -> torch.Tensor:
    """Heatmap of an image of one row, one tuple a class."""
    return torch.tensor(values)[None, :, None, :]


def random_case(seed: int, *, batch: int = 2, classes: int = 4, side: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and a heatmap in which each image has 0 to 2 annotated classes."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, 3, side, side, generator=generator, dtype=torch.float64)
    heatmap = torch.zeros(batch, classes, side, side, dtype=torch.float64)
    for image in range(batch):
        # One row of the grid for each instance: two classes never have the same prototype.
        for y in torch.randperm(side, generator=generator)[: int(torch.randint(0, 3, (), generator=generator))]:
            label, x = (int(torch.randint(0, n, (), generator=generator)) for n in (classes, side - 1))
            heatmap[image, label, y, x] = 1
            heatmap[image, label, y, x + 1] = 0.4
    return features, heatmap


def test_a_position_takes_the_class_of_the_prototype_it_is_most_like() -> None:
    # Prototypes (1, 0) of class 0 and (0, 1) of class 2; the others are at cosine 0.8 and 0.6 of one and the other.
    features = row((2.0, 0.0), (0.0, 3.0), (0.8, 0.6), (3.0, 4.0), (-1.0, 0.1))
    heatmap = maps((1.0, 0.0, 0.0, 0.0, 0.0), (0.0,) * 5, (0.0, 1.0, 0.0, 0.0, 0.0))
    pseudo = mine_pseudo_heatmap(features, heatmap, min_similarity=0.6)[0, :, 0]
    expected = torch.tensor([[0.0, 0.0, 0.8, 0.0, 0.0], [0.0] * 5, [0.0, 0.0, 0.0, 0.8, 0.0]])
    torch.testing.assert_close(pseudo, expected)


def test_a_prototype_is_the_direction_of_the_heat_weighted_sum_of_unit_features() -> None:
    # (1, 0) weighs 1 and (0, 1), whatever its length, 0.75: the sum (1, 0.75) points to (0.8, 0.6).
    features = row((1.0, 0.0), (0.0, 9.0), (0.8, 0.6), (1.0, 0.0))
    pseudo = mine_pseudo_heatmap(features, maps((1.0, 0.75, 0.0, 0.0)), min_similarity=0.0)
    torch.testing.assert_close(pseudo.flatten(), torch.tensor([0.0, 0.0, 1.0, 0.8]))


def test_a_class_with_two_instances_has_one_prototype() -> None:
    features = row((1.0, 0.0), (0.0, 1.0), (1.0, 0.0))
    pseudo = mine_pseudo_heatmap(features, maps((1.0, 1.0, 0.0)), min_similarity=0.0)
    assert pseudo.flatten()[2].item() == pytest.approx(0.5**0.5)


def test_a_similarity_equal_to_the_threshold_suffices() -> None:
    features, heatmap = row((1.0, 0.0), (1.0, 0.0)), maps((1.0, 0.0))
    assert mine_pseudo_heatmap(features, heatmap, min_similarity=1.0).flatten().tolist() == [0, 1]


def test_positions_with_heat_of_any_class_are_left_alone() -> None:
    features = row((1.0, 0.0), (1.0, 0.0), (1.0, 0.0))
    heatmap = maps((1.0, 0.0, 0.0), (0.0, 0.1, 1.0))
    assert mine_pseudo_heatmap(features, heatmap, min_similarity=-1.0).abs().sum() == 0


@pytest.mark.parametrize(("scale", "expected"), [(0.5, 0.4), (1.0, 0.8), (2.0, 1.0)])
def test_the_scale_multiplies_the_similarity_up_to_one(scale: float, expected: float) -> None:
    features, heatmap = row((1.0, 0.0), (0.8, 0.6)), maps((1.0, 0.0))
    pseudo = mine_pseudo_heatmap(features, heatmap, min_similarity=0.8 - 1e-6, scale=scale)
    assert pseudo.flatten()[1].item() == pytest.approx(expected)


def test_a_dissimilar_position_never_gets_a_negative_label() -> None:
    features, heatmap = row((1.0, 0.0), (-1.0, 0.0)), maps((1.0, 0.0))
    assert mine_pseudo_heatmap(features, heatmap, min_similarity=-1.0).flatten().tolist() == [0, 0]


def test_an_image_without_annotations_gets_nothing() -> None:
    features, heatmap = torch.randn(2, 3, 4, 4), torch.zeros(2, 5, 4, 4)
    heatmap[1, 2, 0, 0] = 1
    pseudo = mine_pseudo_heatmap(features, heatmap, min_similarity=-1.0)
    assert pseudo[0].abs().sum() == 0
    assert (pseudo[1, 2] > 0).any()
    assert mine_pseudo_heatmap(features, torch.zeros(2, 5, 4, 4)).abs().sum() == 0


def test_features_of_no_length_are_like_nothing() -> None:
    features, heatmap = row((1.0, 0.0), (0.0, 0.0)), maps((1.0, 0.0))
    assert mine_pseudo_heatmap(features, heatmap, min_similarity=0.1).abs().sum() == 0


def test_no_gradient_reaches_the_features() -> None:
    features = row((1.0, 0.0), (1.0, 0.0)).requires_grad_()
    assert not mine_pseudo_heatmap(features, maps((1.0, 0.0))).requires_grad


@given(SEEDS)
def test_a_batch_of_two_is_two_batches_of_one(seed: int) -> None:
    features, heatmap = random_case(seed)
    whole = mine_pseudo_heatmap(features, heatmap, min_similarity=0.2)
    parts = [mine_pseudo_heatmap(features[i : i + 1], heatmap[i : i + 1], min_similarity=0.2) for i in range(2)]
    torch.testing.assert_close(whole, torch.cat(parts), rtol=1e-5, atol=1e-6)


@given(SEEDS, st.floats(-1, 1), st.floats(-1, 1))
def test_raising_the_threshold_never_adds_labels(seed: int, one: float, other: float) -> None:
    features, heatmap = random_case(seed)
    low, high = (mine_pseudo_heatmap(features, heatmap, min_similarity=t) for t in sorted((one, other)))
    assert torch.equal(torch.where(high > 0, low, 0.0), high)


@given(SEEDS, st.permutations(range(4)))
def test_renaming_the_classes_renames_the_labels(seed: int, order: list[int]) -> None:
    features, heatmap = random_case(seed)
    renamed = mine_pseudo_heatmap(features, heatmap[:, order], min_similarity=0.2)
    expected = mine_pseudo_heatmap(features, heatmap, min_similarity=0.2)[:, order]
    torch.testing.assert_close(renamed, expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=20)
@given(SEEDS, st.floats(0.01, 100))
def test_the_length_of_the_features_does_not_matter(seed: int, factor: float) -> None:
    features, heatmap = random_case(seed)
    plain = mine_pseudo_heatmap(features, heatmap, min_similarity=0.5)
    scaled = mine_pseudo_heatmap(features * factor, heatmap, min_similarity=0.5)
    settled = (plain > 0) == (scaled > 0)  # a similarity at the threshold may round to either side
    assert settled.float().mean() > 0.99
    torch.testing.assert_close(plain[settled], scaled[settled], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_under_autocast_are_compared_in_float32(dtype: torch.dtype) -> None:
    features, heatmap = random_case(7)
    heatmap[0, 0, 0, 0] = 1
    halved = (features * 100).to(dtype)  # 3 channels of 100^2 would overflow a sum of squares in float16
    with torch.autocast("cpu", dtype=dtype):
        pseudo = mine_pseudo_heatmap(halved, heatmap.float(), min_similarity=0.3)
    torch.testing.assert_close(pseudo, mine_pseudo_heatmap(halved.float(), heatmap.float(), min_similarity=0.3))
    assert (pseudo > 0).any()


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("shape", [(1, 2, 4, 5), (1, 2, 5, 4), (2, 2, 4, 4), (1, 2, 16)])
def test_maps_of_different_grids_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"heatmap must have the batch, height and width of features .* got \([12], 2"):
        mine_pseudo_heatmap(torch.zeros(1, 3, 4, 4), torch.zeros(shape))


@pytest.mark.usefixtures("unchecked_shapes")
def test_maps_of_no_grid_are_refused() -> None:
    with pytest.raises(ValueError, match="heatmap must have the batch, height and width of features"):
        mine_pseudo_heatmap(torch.zeros(1, 3, 4), torch.zeros(1, 2, 4))


def test_the_annotated_classes_of_the_caller_are_those_that_count() -> None:
    features, heatmap = row((1.0, 0.0), (0.8, 0.6)), maps((1.0, 0.0))
    annotated = annotated_classes([heatmap])[0]
    pseudo = mine_pseudo_heatmap(features, torch.zeros_like(heatmap), annotated=annotated)
    assert pseudo.flatten().tolist() == pytest.approx([0.0, 0.8])


def test_labels_have_the_precision_of_the_heatmap() -> None:
    features, heatmap = row((1.0, 0.0), (0.8, 0.6)), maps((1.0, 0.0)).double()
    pseudo = mine_pseudo_heatmap(features, heatmap)
    assert pseudo.dtype == torch.float64
    assert pseudo.flatten().tolist() == pytest.approx([0.0, 0.8])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_similarity": 1.1}, r"min_similarity must be in \[-1, 1\], got 1\.1"),
        ({"min_similarity": -1.1}, r"min_similarity must be in \[-1, 1\], got -1\.1"),
        ({"min_similarity": float("nan")}, r"min_similarity must be in \[-1, 1\], got nan"),
        ({"scale": 0.0}, r"scale must be above 0, got 0\.0"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mine_pseudo_heatmap(torch.zeros(1, 3, 4, 4), torch.zeros(1, 2, 4, 4), **change)
    with pytest.raises(UserError, match=next(iter(change))):
        SPLG.parse(change, source="splg")
