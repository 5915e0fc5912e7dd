"""RT-DETR and D-FINE: the library's loss and detections, how they begin, and that they resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from query_detectors import DFINE_LIBRARY, OWN_BACKBONE, RTDETR_1, TARGETS, detector_of, outputs_of
from torch import Tensor, nn
from transformers import RTDetrImageProcessor

from siod.data.digits import Digits
from siod.data.source import prepare
from siod.detectors.detector import normalise
from siod.detectors.networks.denoising import NoisyQueries
from siod.detectors.networks.query import QueryDetector
from siod.detectors.query import QuerySpec
from siod.detectors.zoo import DFINE_TINY, RTDETR_TINY
from siod.testing.networks import fresh, noise_for
from siod.testing.scenes import noise, target
from siod.training import loop
from siod.training.context import InProcess
from siod.training.experiment import Scratch
from siod.training.phases import Phase
from siod.training.presets import DIGITS_FPN_DMINER, DIGITS_QUERY_RECIPE, digits_centernet
from siod.training.step import batch_loss

VARIANTS = {"v1": RTDETR_1, "v2": RTDETR_TINY, "d_fine": DFINE_LIBRARY}
every_variant = pytest.mark.parametrize("spec", VARIANTS.values(), ids=VARIANTS)


class TheirBackbone(nn.Module):
    """Our backbone as the library calls its own."""

    def __init__(self, detector: QueryDetector) -> None:
        super().__init__()
        self.detector = (detector,)

    def forward(self, pixels: Tensor, _: Tensor) -> list[tuple[Tensor, None]]:
        return [(found, None) for found in self.detector[0].backbone.stages(pixels)]


def theirs(detector: QueryDetector) -> Any:
    """The library's detector of the same weights."""
    library = detector.model
    library.model.backbone = TheirBackbone(detector)
    return library


def as_the_library_makes_them(copies: NoisyQueries, monkeypatch: pytest.MonkeyPatch, library: Any) -> None:
    """Let the library take our copies for its own."""

    def made(*, num_queries: int, class_embed: nn.Module, **_: Any) -> tuple[Any, ...]:
        about = {
            "dn_positive_idx": [row.nonzero().squeeze(1) for row in copies.positive],
            "dn_num_group": round(1 / float(copies.share[0])),
            "dn_num_split": [copies.labels.shape[1], num_queries],
        }
        return class_embed(copies.labels), copies.boxes, copies.may_see(num_queries), about

    module = __import__(type(library).__module__, fromlist=["_"])
    monkeypatch.setattr(module, "get_contrastive_denoising_training_group", made)


@every_variant
def test_the_loss_is_the_library_s(spec: QuerySpec, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = detector_of(spec)
    outputs = outputs_of(detector, TARGETS)
    ours = batch_loss(detector, outputs, TARGETS, Phase(1, 1)).total()
    library = theirs(detector)
    assert outputs.noisy is not None
    as_the_library_makes_them(outputs.noisy, monkeypatch, library)
    low_high = [each.boxes_xyxy.view(-1, 2, 2) / 96 for each in TARGETS]
    labels = [
        {"class_labels": each.labels, "boxes": torch.cat([corners.mean(dim=1), corners.diff(dim=1)[:, 0]], dim=1)}
        for each, corners in zip(TARGETS, low_high, strict=True)
    ]
    torch.manual_seed(3)
    found = library(normalise(noise_for(detector, 2), detector.pixels), labels=labels)
    torch.testing.assert_close(ours, found.loss, rtol=1e-6, atol=0)


@every_variant
@torch.no_grad()
def test_detections_are_the_library_s(spec: QuerySpec) -> None:
    detector = detector_of(spec).eval()
    pixels = noise_for(detector, 2)
    ours = detector.decode(detector(pixels))
    found = theirs(detector)(normalise(pixels, detector.pixels))
    processed = RTDetrImageProcessor().post_process_object_detection(found, threshold=0.0, target_sizes=[(96, 96)] * 2)
    for one, other in zip(ours, processed, strict=True):
        torch.testing.assert_close(one.scores, other["scores"])
        torch.testing.assert_close(one.boxes_xyxy, other["boxes"], rtol=1e-5, atol=1e-4)
        assert torch.equal(one.labels, other["labels"])


def test_factors_of_normalisation_begin_at_one() -> None:
    """The library would draw them from a normal distribution of deviation 0.01."""
    for spec in (RTDETR_1, RTDETR_TINY, DFINE_TINY):
        detector = fresh(spec)
        norms = [module for module in detector.modules() if isinstance(module, nn.BatchNorm2d)]
        assert len(norms) > 20
        assert all(bool((norm.weight == 1).all()) for norm in norms)
        assert isinstance(detector, QueryDetector)
        head = detector.model.model.enc_score_head
        torch.testing.assert_close(head.bias.sigmoid(), torch.full((3,), 0.25))


def test_the_decoder_computes_in_float32_under_half_precision() -> None:
    detector = detector_of(DFINE_TINY)
    seen: list[torch.dtype] = []
    for layer in (
        detector.model.model.encoder_input_proj[0][0],
        detector.model.model.decoder.layers[0].self_attn.q_proj,
    ):
        layer.register_forward_hook(lambda _, __, found: seen.append(found.dtype))
    detector.half_precision = torch.bfloat16
    detector(noise_for(detector, 1))
    assert seen == [torch.bfloat16, torch.float32]


def test_the_library_s_own_backbone_takes_pixels_as_they_are() -> None:
    spec = RTDETR_TINY.with_changes({"config": {**RTDETR_TINY.config, **OWN_BACKBONE}})
    assert spec.strides_px() == (8, 16, 32)
    assert spec.size_divisor() == 32
    detector = fresh(spec)
    outputs = detector(noise(1, 96, 64), [target([[10, 10, 40, 50]], [0])])
    assert outputs.grids == ((12, 8), (6, 4), (3, 2))
    assert detector.backbone.out_channels == 64
    assert spec.pixel_statistics().deviation == (1.0, 1.0, 1.0)
    assert spec.backbone_identity() != RTDETR_TINY.backbone_identity()


class Killed(InProcess):
    """A run whose process dies when its first epoch is saved."""

    def report(self, epoch: int, metrics: dict[str, float]) -> None:
        if epoch == 1:
            raise KeyboardInterrupt
        super().report(epoch, metrics)


@pytest.mark.parametrize("spec", [RTDETR_TINY, DFINE_TINY], ids=["rt_detr", "d_fine"])
@torch.no_grad()
def test_a_small_input_has_a_query_at_each_position(spec: QuerySpec) -> None:
    """8 x 8, 4 x 4 and 2 x 2 positions for 100 queries; the next input has them all again."""
    detector = detector_of(spec).eval()
    found = [detector.decode(detector(noise(1, side, side)))[0].labels for side in (32, 96)]
    assert [len(labels) for labels in found] == [84, 100]


@torch.no_grad()
def test_what_the_library_computes_ahead_for_one_size_is_not_used_for_another() -> None:
    ahead = RTDETR_TINY.with_changes({"config": {**RTDETR_TINY.config, "anchor_image_size": [96, 96]}})
    with_it, without = (detector_of(spec).eval() for spec in (ahead, RTDETR_TINY))
    pixels = noise(1, 64, 96)
    assert torch.equal(with_it(pixels).last.boxes, without(pixels).last.boxes)


def test_the_decoder_takes_as_many_channels_as_the_encoder_gives() -> None:
    config = {"d_model": 32, "encoder_hidden_dim": 48, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
    detector = fresh(RTDETR_TINY.with_changes({"config": config}))
    assert detector(noise_for(detector, 1)).memory.shape[2] == 32


@pytest.mark.slow
@pytest.mark.parametrize("spec", [RTDETR_TINY, DFINE_TINY], ids=["rt_detr", "d_fine"])
def test_a_resumed_run_ends_as_one_that_was_never_interrupted(spec: QuerySpec, tmp_path: Path) -> None:
    changes = {
        "data": Digits(train_images=12, val_images=2),
        "weights": Scratch(),
        "detector": spec,
        "recipe": DIGITS_QUERY_RECIPE.with_changes({"batch_size": 4}),
        "dminer": DIGITS_FPN_DMINER,
    }
    experiment = digits_centernet().with_changes(changes)
    data, cpu = prepare(experiment.data, experiment.annotations, tmp_path / "cache"), torch.device("cpu")
    whole = loop.run(experiment, data, InProcess(tmp_path / "whole", device=cpu))
    with pytest.raises(KeyboardInterrupt):
        loop.run(experiment, data, Killed(tmp_path / "parts", device=cpu))
    again = loop.run(experiment, data, InProcess(tmp_path / "parts", device=cpu))
    for one, other in zip(whole.history, again.history, strict=True):
        same = {name for name in one if name.startswith(("train/", "mining/", "ap")) and "per_second" not in name}
        assert {name: one[name] for name in same} == {name: other[name] for name in same}
