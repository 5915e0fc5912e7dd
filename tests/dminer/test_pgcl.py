"""PGCL: what is selected, the loss worked out by hand, and its gradient."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from siod.dminer.mining.pgcl import group_contrastive_loss, group_contrastive_terms
from siod.dminer.mining.prototypes import annotated_classes
from siod.dminer.pgcl import PGCL, Reduction
from siod.errors import UserError

SEEDS = st.integers(0, 2**31)
E1, E2 = (1.0, 0.0), (0.0, 1.0)


def row(*vectors: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(vectors).T[None, :, None, :]


def maps(*values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values)[None, :, None, :]


def random_case(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, scores and a heatmap of two images with 0 to 2 annotated classes of four."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 5, 6, 6, generator=generator, dtype=torch.float64)
    scores = torch.rand(2, 4, 6, 6, generator=generator, dtype=torch.float64)
    heatmap = torch.zeros(2, 4, 6, 6, dtype=torch.float64)
    for image in range(2):
        for _ in range(int(torch.randint(0, 3, (), generator=generator))):
            label, y, x = (int(torch.randint(0, n, (), generator=generator)) for n in (4, 6, 5))
            heatmap[image, label, y, x] = 1
            heatmap[image, label, y, x + 1] = heatmap[image, label, y, x + 1].clamp(min=0.4)
    return features, scores, heatmap


def selected_mask(scores: torch.Tensor, heatmap: torch.Tensor, top_m: int) -> list[list[int]]:
    _, selected = group_contrastive_terms(torch.randn_like(scores), scores, heatmap, top_m=top_m)
    batch, classes, height, width = heatmap.shape
    return selected.mask(annotated_classes([heatmap])[0], (batch, classes, height, width)).nonzero().tolist()


def test_a_query_with_two_selected_keys() -> None:
    # Query and prototype are e1, the keys e1 and e2, all of class 0: similarities 1, 0 and 1, Z = 2 e + 1.
    features, heatmap = row(E1, E1, E2), maps((1.0, 0.0, 0.0))
    log_z = math.log(2 * math.e + 1)
    authors = group_contrastive_loss(features, heatmap, heatmap, temperature=1.0)
    assert authors.item() == pytest.approx(log_z - 2 / 3, rel=1e-6)
    paper = group_contrastive_loss(features, heatmap, heatmap, temperature=1.0, reduction="paper")
    assert paper.item() == pytest.approx((2 * log_z - 1) / 2 + (log_z - 1), rel=1e-6)


def test_two_classes_contrast_with_each_other() -> None:
    # Class 0 at e1, class 1 at e2; the key e1 scores best as class 1, a false prediction.
    features, heatmap = row(E1, E2, E1), maps((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    scores = maps((0.0, 0.0, 0.3), (0.0, 0.0, 0.4))
    # Query e1: key 1, prototypes 1 and 0. Query e2: key 0, prototypes 0 and 1. Both share no other keys.
    log_z0, log_z1 = math.log(2 * math.e + 1), math.log(math.e + 2)
    own0, own1, false_key = log_z0 - 1, log_z1 - 1, log_z1
    authors = group_contrastive_loss(features, scores, heatmap, temperature=1.0)
    assert authors.item() == pytest.approx((own0 + (own1 + false_key) / 2) / 2, rel=1e-6)
    paper = group_contrastive_loss(features, scores, heatmap, temperature=1.0, reduction="paper")
    assert paper.item() == pytest.approx(false_key + (own0 + own1) / 2, rel=1e-6)


def test_the_temperature_divides_the_similarities() -> None:
    features, heatmap = row(E1, E2), maps((1.0, 0.0))
    loss = group_contrastive_loss(features, heatmap, heatmap, temperature=0.5)
    assert loss.item() == pytest.approx(math.log(math.exp(2) + 1) - 1, rel=1e-6)


def test_a_class_with_two_instances_asks_with_their_mean_direction() -> None:
    # Query and prototype are (e1 + e2) / sqrt 2, the key is e1: similarities 1/sqrt 2 and 1.
    features, heatmap = row(E1, E2, E1), maps((1.0, 1.0, 0.0))
    loss = group_contrastive_loss(features, heatmap, heatmap, temperature=1.0)
    half = 0.5**0.5
    assert loss.item() == pytest.approx(math.log(math.exp(half) + math.e) - (half + 1) / 2, rel=1e-6)


def test_the_centre_asks_and_the_weighted_neighbourhood_answers() -> None:
    # Query e1; prototype along 1 e1 + 0.75 e2 = (0.8, 0.6); the key e2.
    features, heatmap = row(E1, E2, E2), maps((1.0, 0.75, 0.0))
    loss = group_contrastive_loss(features, heatmap, heatmap, temperature=1.0)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(0.8)) - 0.4, rel=1e-6)


def test_a_class_asks_where_its_own_heat_is_greatest() -> None:
    features, scores = row(E1, E2, E1), maps((0.0, 0.0, 0.3), (0.0, 0.0, 0.4))
    lower = group_contrastive_loss(features, scores, maps((1.0, 0.0, 0.0), (0.0, 0.5, 0.0)), temperature=1.0)
    # Query e1: key 1, prototypes 1 and 0. Query e2, which the key is given to: key 0, prototypes 0 and 1.
    log_z0, log_z1 = math.log(2 * math.e + 1), math.log(math.e + 2)
    assert lower.item() == pytest.approx((log_z0 - 1 + (2 * log_z1 - 1) / 2) / 2, rel=1e-6)


def test_only_unlabelled_positions_and_annotated_classes_are_selected() -> None:
    heatmap = maps((1.0, 0.2, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0))
    scores = maps((0.9, 0.8, 0.1, 0.2), (0.9, 0.9, 0.9, 0.9))
    assert selected_mask(scores, heatmap, 1) == [[0, 0, 0, 3]]
    assert selected_mask(scores, heatmap, 100) == [[0, 0, 0, 2], [0, 0, 0, 3]]


def test_each_position_counts_for_its_best_annotated_class_alone() -> None:
    heatmap = maps((1.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    scores = maps((0.0, 0.3, 0.2), (0.0, 0.1, 0.4), (0.0, 0.9, 0.9))
    assert selected_mask(scores, heatmap, 100) == [[0, 0, 0, 1], [0, 1, 0, 2]]


def test_a_batch_without_annotations_has_no_loss_and_a_gradient_of_zero() -> None:
    features = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = group_contrastive_loss(features, torch.rand(2, 5, 4, 4), torch.zeros(2, 5, 4, 4))
    loss.backward()
    assert loss == 0
    assert features.grad is not None
    assert features.grad.abs().sum() == 0


def test_an_image_annotated_everywhere_leaves_the_prototype_alone() -> None:
    features = torch.randn(1, 3, 2, 2, requires_grad=True)
    heatmap = torch.full((1, 1, 2, 2), 0.5)
    heatmap[0, 0, 0, 0] = 1
    loss = group_contrastive_loss(features, torch.rand(1, 1, 2, 2), heatmap, top_m=3)
    loss.backward()
    assert loss == 0  # the prototype is the only key: -log 1
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_gradients_flow_into_the_features_alone() -> None:
    features, scores, heatmap = (tensor.requires_grad_() for tensor in random_case(3))
    group_contrastive_loss(features, scores, heatmap, top_m=4).backward()
    assert features.grad is not None
    assert features.grad.abs().sum() > 0
    assert scores.grad is None
    assert heatmap.grad is None


@pytest.mark.parametrize("reduction", ["authors", "paper"])
def test_the_gradient_is_the_slope_of_the_loss(reduction: str) -> None:
    features, scores, heatmap = random_case(3)
    assert (heatmap == 1).sum() > 1

    def loss(varied: torch.Tensor) -> torch.Tensor:
        return group_contrastive_loss(varied, scores, heatmap, top_m=4, temperature=0.5, reduction=reduction)  # type: ignore[arg-type]

    assert torch.autograd.gradcheck(loss, features.requires_grad_())


@pytest.mark.parametrize("reduction", ["authors", "paper"])
@given(seed=SEEDS)
def test_the_terms_of_a_batch_are_those_of_its_images_added_up(reduction: str, seed: int) -> None:
    features, scores, heatmap = random_case(seed)
    whole, *parts = (
        group_contrastive_terms(features[part], scores[part], heatmap[part], top_m=7, reduction=reduction)[0]  # type: ignore[arg-type]
        for part in (slice(0, 2), slice(0, 1), slice(1, 2))
    )
    assert whole.total.item() == pytest.approx(sum(part.total.item() for part in parts), rel=1e-9, abs=1e-9)
    assert whole.count == parts[0].count + parts[1].count


@given(SEEDS, st.permutations(range(4)))
def test_renaming_the_classes_changes_nothing(seed: int, order: list[int]) -> None:
    features, scores, heatmap = random_case(seed)
    plain = group_contrastive_loss(features, scores, heatmap, top_m=7)
    renamed = group_contrastive_loss(features, scores[:, order], heatmap[:, order], top_m=7)
    assert renamed.item() == pytest.approx(plain.item(), rel=1e-9, abs=1e-9)


@given(SEEDS, st.floats(0.01, 100))
def test_the_length_of_the_features_does_not_matter(seed: int, factor: float) -> None:
    features, scores, heatmap = random_case(seed)
    plain = group_contrastive_loss(features, scores, heatmap)
    assert group_contrastive_loss(features * factor, scores, heatmap).item() == pytest.approx(plain.item(), rel=1e-9)


@given(SEEDS)
def test_the_loss_is_never_negative(seed: int) -> None:
    assert group_contrastive_loss(*random_case(seed)) >= 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_under_autocast_has_finite_gradients(dtype: torch.dtype) -> None:
    features, scores, heatmap = random_case(3)
    halved = (features * 100).to(dtype)
    halved[:, :, 5, 5] = 0  # a position the network is silent about
    halved.requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        loss = group_contrastive_loss(halved, scores.to(dtype), heatmap.float())
    loss.backward()
    assert loss.dtype == torch.float32
    assert halved.grad is not None
    assert halved.grad.isfinite().all()
    expected = group_contrastive_loss(halved.detach().double(), scores.to(dtype).double(), heatmap)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_dead_feature_does_not_blow_up_the_gradient() -> None:
    features = row(E1, (0.0, 0.0), E2).requires_grad_()
    heatmap = maps((1.0, 0.0, 0.0))
    group_contrastive_loss(features, heatmap, heatmap).backward()
    assert features.grad is not None
    assert features.grad.abs().max() < 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top_m": 0}, "top_m must be at least 1, got 0"),
        ({"temperature": 0.0}, r"temperature must be above 0, got 0\.0"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        group_contrastive_loss(*random_case(0), **change)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=next(iter(change))):
        PGCL.parse(change, source="pgcl")


@pytest.mark.usefixtures("unchecked_shapes")
def test_scores_of_another_shape_are_refused() -> None:
    features, scores, heatmap = random_case(0)
    with pytest.raises(ValueError, match=r"scores must have the shape of heatmap \(2, 4, 6, 6\), got \(2, 3, 6, 6\)"):
        group_contrastive_terms(features, scores[:, :3], heatmap)


@pytest.mark.usefixtures("unchecked_shapes")
def test_features_of_another_grid_are_refused() -> None:
    features, scores, heatmap = random_case(0)
    with pytest.raises(ValueError, match="heatmap must have the batch, height and width of features"):
        group_contrastive_terms(features[:, :, :5], scores, heatmap)


def test_the_annotated_classes_of_the_caller_are_those_that_count() -> None:
    # The same query, prototype and key as without: similarities 1 and 0, Z = e + 1.
    features, heatmap = row(E1, E2), maps((1.0, 0.0))
    annotated = annotated_classes([heatmap])[0]
    term, _ = group_contrastive_terms(features, heatmap, heatmap * 0, temperature=1.0, annotated=annotated)
    assert term.mean().item() == pytest.approx(math.log(math.e + 1) - 0.5, rel=1e-6)


def test_by_default_128_keys_are_averaged_as_the_authors_do_at_a_temperature_of_0_07() -> None:
    # The query e1 is its prototype, at 1 / 0.07; 128 of the 130 unlabelled positions are keys, all at a right angle.
    features, heatmap = row(E1, *[E2] * 130), maps((1.0, *[0.0] * 130))
    log_z = math.log(math.exp(1 / 0.07) + 128)
    expected = pytest.approx(log_z - 1 / 0.07 / 129, rel=1e-6)
    assert group_contrastive_loss(features, heatmap, heatmap).item() == expected
    assert group_contrastive_terms(features, heatmap, heatmap)[0].mean().item() == expected


@pytest.mark.parametrize("reduction", ["authors", "paper"])
def test_loss_and_count_have_the_precision_of_the_features(reduction: Reduction) -> None:
    features, heatmap = row(E1, E2), maps((1.0, 0.0)).double()
    term, _ = group_contrastive_terms(features, heatmap, heatmap, reduction=reduction)
    assert term.total.dtype == term.count.dtype == torch.float32


def test_top_m_may_be_given_for_each_level() -> None:
    assert PGCL(top_m=(96, 64, 32)).top_m == (96, 64, 32)
    with pytest.raises(UserError, match="top_m"):
        PGCL.parse({"top_m": []}, source="pgcl")
