"""CenterNet: targets, losses, detections, and what a training loop relies on."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from siod.detectors.backbones.pixels import COCO_PIXELS
from siod.detectors.centernet import CenterNet
from siod.detectors.detector import normalise
from siod.detectors.networks.centernet import CenterNetDetector, CenterNetOutputs
from siod.detectors.networks.upsampling import LateralUpsampling, ModulatedDeformConv
from siod.detectors.zoo import CENTERNET_R18, CENTERNET_R101, CENTERNET_TINY, build
from siod.errors import UserError
from siod.ops.heatmap import peaks
from siod.testing.scenes import noise, target
from siod.types import Mined

# An architecture with every part of the paper's, small enough to run in a test.
SMALL = CenterNet(backbone="resnet18", base_width=8, upsampling_channels=(16, 16, 8), head_channels=8)


def blank(classes: int = 2, *, batch: int = 1, side: int = 8) -> CenterNetOutputs:
    """Outputs that say nothing: scores of 1/2, sizes and offsets of 0."""
    zeros = torch.zeros(batch, 2, side, side)
    scores = torch.full((batch, classes, side, side), 0.5)
    return CenterNetOutputs(torch.zeros(batch, 4, side, side), scores, zeros, zeros.clone())


def tiny(classes: int = 2) -> CenterNetDetector:
    torch.manual_seed(0)
    return CenterNetDetector(CENTERNET_TINY, classes)


def test_pixels_are_normalised_by_channel() -> None:
    means, deviations = COCO_PIXELS
    mean = torch.tensor(means).mul(255).round().byte().view(1, 3, 1, 1)
    assert normalise(mean).abs().max() < 0.01
    white = normalise(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)).flatten()
    assert white.tolist() == pytest.approx([(1 - m) / s for m, s in zip(means, deviations, strict=True)], rel=1e-5)


def test_targets_are_on_the_grid_of_stride_four() -> None:
    # 10..26 x 8..16 px is 2.5..6.5 x 2..4 on the grid: centre (4.5, 3), size 4 x 2.
    encoded = tiny().encode([target([], []), target([[10.0, 8.0, 26.0, 16.0]], [1])], blank(batch=2))
    assert encoded.heatmap.eq(1).nonzero().tolist() == [[1, 1, 3, 4]]
    assert encoded.image_index.tolist() == [1]
    assert encoded.positions.tolist() == [3 * 8 + 4]
    assert encoded.sizes.tolist() == [[4.0, 2.0]]
    assert encoded.offsets.tolist() == [[0.5, 0.0]]


def test_size_and_offset_losses_are_mean_absolute_errors_per_coordinate() -> None:
    detector = tiny()
    boxes = target([[10.0, 8.0, 26.0, 16.0], [0.0, 0.0, 8.0, 8.0]], [1, 0])
    encoded = detector.encode([boxes], blank())
    losses = detector.losses(blank(), encoded, [Mined()])
    assert losses["size"].mean() == (4 + 2 + 2 + 2) / 4
    assert losses["offset"].mean() == (0.5 + 0 + 0 + 0) / 4
    assert losses["size"].count == losses["offset"].count == 4
    assert losses["heatmap"].count == 2


def test_boxes_that_share_a_centre_teach_their_median() -> None:
    detector = tiny()
    boxes = target([[4.0, 4.0, 12.0, 12.0], [2.0, 2.0, 14.0, 14.0], [0.0, 0.0, 16.0, 16.0]], [0, 0, 1])
    encoded = detector.encode([boxes], blank())
    assert encoded.heatmap.eq(1).sum() == 2  # one peak a class
    outputs = blank()
    size = outputs.size.clone().requires_grad_()
    with torch.no_grad():
        size[:, :, 2, 2] = 3.0  # the median of 2, 3 and 4
    detector.losses(outputs._replace(size=size), encoded, [Mined()])["size"].total.backward()
    assert size.grad is not None
    assert size.grad.abs().sum() == 0


def test_pseudo_labels_soften_the_negatives_and_ignored_entries_leave_them() -> None:
    detector = tiny()
    outputs = blank()
    encoded = detector.encode([target([[10.0, 8.0, 26.0, 16.0]], [1])], outputs)
    pseudo, ignored = torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 8, dtype=torch.bool)
    pseudo[0, 0, 7, 7], ignored[0, 0, 7, 7] = 0.5, True
    plain, soft, without = (
        detector.losses(outputs, encoded, [mined])["heatmap"]
        for mined in (Mined(), Mined(pseudo=pseudo), Mined(ignored=ignored))
    )
    negative = 0.25 * math.log(2)
    assert (plain.total - soft.total).item() == pytest.approx(negative * (1 - 1 / 16), rel=1e-4)
    assert (plain.total - without.total).item() == pytest.approx(negative, rel=1e-4)


def test_detections_are_peaks_in_pixels_of_the_input() -> None:
    outputs = blank()._replace(scores=torch.full((1, 2, 8, 8), 0.1))
    outputs.scores[0, 1, 3, 4] = 0.9
    outputs.scores[0, 1, 3, 5] = 0.8  # beside the peak
    outputs.size[0, :, 3, 4] = torch.tensor([4.0, 2.0])
    outputs.offset[0, :, 3, 4] = torch.tensor([0.5, 0.0])
    (found,) = tiny().decode(outputs)
    assert found.boxes_xyxy[0].tolist() == [10.0, 8.0, 26.0, 16.0]
    assert found.labels[0] == 1
    assert found.scores[0].item() == pytest.approx(0.9)
    assert found.scores[1].item() == pytest.approx(0.1)


def test_only_peaks_are_detections_even_where_there_are_fewer_than_asked_for() -> None:
    ramp = torch.arange(64.0).view(1, 1, 8, 8) / 64
    (found,) = CenterNetDetector(CENTERNET_TINY, 1).decode(blank(1)._replace(scores=ramp))
    assert found.scores.tolist() == [63 / 64]


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), min_size=1, max_size=4, unique=True),
    st.integers(0, 2**31),
)
def test_decoding_encoded_boxes_gives_them_back(cells: list[tuple[int, int]], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Cells of 12 px, so that no two centres are neighbours on the grid of 4 px.
    corners = torch.tensor(cells).float() * 12 + torch.rand(len(cells), 2, generator=generator) * 2
    boxes = torch.cat([corners, corners + 1 + torch.rand(len(cells), 2, generator=generator) * 7], dim=1)
    labels = torch.randint(0, 3, (len(cells),), generator=generator)
    detector, outputs = tiny(3), blank(3, side=48)
    encoded = detector.encode([target(boxes.tolist(), labels.tolist())], outputs)
    outputs.size.flatten(2)[0, :, encoded.positions] = encoded.sizes.T
    outputs.offset.flatten(2)[0, :, encoded.positions] = encoded.offsets.T
    (found,) = detector.decode(outputs._replace(scores=encoded.heatmap))
    best = found.scores.argsort(descending=True)[: len(cells)]
    want, have = boxes[boxes[:, 0].argsort(stable=True)], found.boxes_xyxy[best]
    for box in want:
        assert (have - box).abs().amax(dim=1).min() < 1e-3


@pytest.mark.parametrize("spec", [CENTERNET_TINY, SMALL])
def test_outputs_have_stride_four_and_every_parameter_learns(spec: CenterNet) -> None:
    torch.manual_seed(0)
    detector = build(spec, num_classes=3)
    outputs = detector(noise(2, 64, 96))
    assert outputs.scores.shape == (2, 3, 16, 24)
    assert outputs.features.shape == (2, spec.upsampling_channels[-1], 16, 24)
    encoded = detector.encode([target([[8.0, 8.0, 40.0, 30.0]], [1]), target([], [])], outputs)
    losses = detector.losses(outputs, encoded, [Mined()])
    assert losses.keys() == detector.loss_weights.keys()
    torch.stack([term.mean() for term in losses.values()]).sum().backward()
    silent = [name for name, parameter in detector.named_parameters() if parameter.grad is None]
    assert silent == []


def test_a_batch_without_annotations_has_a_finite_loss_and_reaches_every_parameter() -> None:
    detector = tiny()
    outputs = detector(noise(2, 32, 32))
    losses = detector.losses(outputs, detector.encode([target([], [])] * 2, outputs), [Mined()])
    torch.stack([term.mean() for term in losses.values()]).sum().backward()
    assert losses["size"].mean() == 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters())


def test_a_fresh_detector_calls_a_tenth_of_all_positions_an_object() -> None:
    scores = tiny()(noise(2, 96, 96)).scores
    assert scores.mean().item() == pytest.approx(0.1, abs=0.06)


def test_images_of_an_odd_size_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 16, got 96x100"):
        tiny()(noise(1, 96, 100))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("spec", [CENTERNET_TINY, SMALL])
def test_under_autocast_scores_stay_float32_and_gradients_finite(spec: CenterNet, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    detector = build(spec, num_classes=2)
    with torch.autocast("cpu", dtype=dtype):
        outputs = detector(noise(2, 64, 64))
        encoded = detector.encode([target([[8.0, 8.0, 40.0, 30.0]], [1])] * 2, outputs)
        losses = detector.losses(outputs, encoded, [Mined()])
    assert outputs.scores.dtype == torch.float32
    assert {term.total.dtype for term in losses.values()} == {torch.float32}
    torch.stack([term.mean() for term in losses.values()]).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters())


def test_in_half_precision_a_map_has_the_peaks_it_has_in_float32() -> None:
    """Rounded to bfloat16 neighbours are alike, and both of two alike are peaks: more than three times as many."""
    detector = tiny().eval()
    whole = peaks(detector(noise(4, 96, 96)).scores).count_nonzero()
    detector.half_precision = torch.bfloat16
    half = peaks(detector(noise(4, 96, 96)).scores).count_nonzero()
    assert half.item() == pytest.approx(whole.item(), rel=0.02)


@pytest.mark.parametrize("norm", ["frozen", "group"])
def test_without_batch_statistics_the_terms_of_a_batch_are_those_of_its_images(norm: str) -> None:
    torch.manual_seed(0)
    detector = build(CENTERNET_TINY.with_changes({"norm": norm}), num_classes=2)
    pixels = noise(2, 32, 32)
    targets = [target([[2.0, 2.0, 20.0, 14.0]], [0]), target([[8.0, 8.0, 30.0, 30.0], [0.0, 0.0, 9.0, 9.0]], [1, 1])]

    def terms(chosen: slice) -> dict[str, tuple[float, float]]:
        outputs = detector(pixels[chosen])
        losses = detector.losses(outputs, detector.encode(targets[chosen], outputs), [Mined()])
        return {name: (term.total.item(), term.count.item()) for name, term in losses.items()}

    whole, first, second = terms(slice(0, 2)), terms(slice(0, 1)), terms(slice(1, 2))
    for name, (total, count) in whole.items():
        assert total == pytest.approx(first[name][0] + second[name][0], rel=1e-4)
        assert count == first[name][1] + second[name][1]


def test_a_state_dict_makes_an_equal_detector() -> None:
    torch.manual_seed(1)
    first, second = build(SMALL, num_classes=2).eval(), build(SMALL, num_classes=2).eval()
    second.load_state_dict(first.state_dict())
    pixels = noise(1, 64, 64)
    with torch.no_grad():
        for ours, theirs in zip(first(pixels), second(pixels), strict=True):
            assert torch.equal(ours, theirs)


def test_the_same_seed_builds_the_same_detector() -> None:
    first, second = tiny().state_dict(), tiny().state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_fresh_deformable_convolution_is_half_a_plain_one() -> None:
    torch.manual_seed(0)
    layer = ModulatedDeformConv(3, 5)
    features = torch.randn(2, 3, 6, 7)
    weight, bias = layer.convolution.weight, layer.convolution.bias
    plain = nn.functional.conv2d(features, weight, padding=1)
    # All nine taps are weighed sigmoid(0) = 1/2; the bias is not.
    torch.testing.assert_close(layer(features), plain / 2 + bias.view(-1, 1, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("spec", "backbone_millions", "channels"), [(CENTERNET_R18, 11.2, 512), (CENTERNET_R101, 42.5, 2048)]
)
def test_the_papers_detectors_have_the_weights_of_their_layers(
    spec: CenterNet, backbone_millions: float, channels: int
) -> None:
    with torch.device("meta"):
        detector = build(spec, num_classes=80)
    # Each stage: a deformable convolution of 9 taps with 27 channels that steer it, and a 4 x 4 convolution.
    pairs = ((channels, 256), (256, 128), (128, 64))
    upsampling = sum(before * (after + 27) * 9 + after * after * 16 for before, after in pairs)
    heads = 3 * 64 * 64 * 9 + 64 * (80 + 2 + 2)
    millions = sum(p.numel() for p in detector.parameters()) / 1e6
    assert millions == pytest.approx(backbone_millions + (upsampling + heads) / 1e6, abs=0.05)


def test_too_few_upsampling_stages_are_refused() -> None:
    with pytest.raises(UserError, match=r"upsampling_channels must have 3 entries for backbone resnet18.*stride 32"):
        CENTERNET_R18.with_changes({"upsampling_channels": (64, 32)})


def test_an_unknown_setting_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match="did you mean 'head_channels'"):
        CenterNet.parse({"head_channel": 64}, source="detector")


def test_a_detector_of_no_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        build(CENTERNET_TINY, num_classes=0)


def test_lateral_upsampling_adds_the_stage_of_each_resolution() -> None:
    upsampling = LateralUpsampling((1, 1, 1), (1, 1), lambda _: torch.nn.Identity())
    for convolution in (module for module in upsampling.modules() if isinstance(module, torch.nn.Conv2d)):
        torch.nn.init.zeros_(convolution.weight)
        convolution.weight.data[..., convolution.kernel_size[0] // 2, convolution.kernel_size[1] // 2] = 1.0
    stages = [torch.full((1, 1, 4, 4), 1.0), torch.full((1, 1, 2, 2), 10.0), torch.tensor([[[[100.0]]]])]
    stages[0][0, 0, 3, 0] = -200.0
    features = upsampling(stages)
    assert features.shape == (1, 1, 4, 4)
    assert features[0, 0, 0, 0] == 111.0
    assert features[0, 0, 3, 0] == 0.0


def test_a_lateral_centernet_learns_in_all_of_its_parts_and_judges_at_stride_4() -> None:
    spec = CenterNet(backbone="tiny_resnet18", base_width=8, upsampling="lateral", upsampling_channels=(12, 8))
    detector = CenterNetDetector(spec, num_classes=2)
    outputs = detector(torch.zeros(1, 3, 64, 96, dtype=torch.uint8))
    assert outputs.features.shape == (1, 8, 16, 24)
    sum(maps.square().sum() for maps in outputs).backward()
    assert [name for name, weight in detector.named_parameters() if weight.grad is None] == []
