"""RT-DETR and D-FINE: the library's losses and detections, noisy copies, and what was mined."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from siod.data.digits import Digits
from siod.data.source import prepare
from siod.detectors.detector import normalise
from siod.detectors.query import DFINE, RTDETR, QuerySpec
from siod.detectors.zoo import DFINE_TINY, RTDETR_TINY, build
from siod.errors import UserError
from siod.testing.networks import eager, fresh, noise_for
from siod.testing.scenes import noise, target
from siod.training import loop
from siod.training.context import InProcess
from siod.training.experiment import PublishedDetector, Scratch
from siod.training.phases import Phase
from siod.training.presets import DIGITS_FPN_DMINER, DIGITS_QUERY_RECIPE, digits_centernet
from siod.training.step import batch_loss
from siod.training.weight_loading import load_initial_weights
from siod.training.weights import ensure
from siod.types import Mined

pytest.importorskip("transformers", reason="the extra transformers is not installed")

from transformers import AutoConfig, AutoModelForObjectDetection, RTDetrImageProcessor

from siod.detectors.networks.annotated import annotated_boxes
from siod.detectors.networks.denoising import Noise, NoisyQueries, noisy_queries
from siod.detectors.networks.query import QueryDetector, QueryOutputs
from siod.detectors.networks.query_losses import Partners, Stage, kept_by_centre

RTDETR_1 = RTDETR_TINY.with_changes({"version": 1})
DFINE_LIBRARY = DFINE_TINY.with_changes({"losses": "library"})
VARIANTS = {"v1": RTDETR_1, "v2": RTDETR_TINY, "d_fine": DFINE_LIBRARY}
every_variant = pytest.mark.parametrize("spec", VARIANTS.values(), ids=VARIANTS)
OWN_BACKBONE = {
    "backbone_config": {
        "model_type": "rt_detr_resnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 16, 32, 64],
        "depths": [1, 1, 1, 1],
        "layer_type": "basic",
        "out_indices": [2, 3, 4],
    },
    "encoder_in_channels": [16, 32, 64],
}
# As many in each image: only then are the library's losses of copies those of its images.
TARGETS = [target([[10, 10, 40, 50], [50, 20, 90, 60]], [0, 1]), target([[5, 8, 44, 70], [30, 20, 80, 66]], [2, 2])]


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


def detector_of(spec: QuerySpec) -> QueryDetector:
    detector = eager(spec)
    assert isinstance(detector, QueryDetector)
    return detector


def outputs_of(detector: QueryDetector, targets: list[Any]) -> QueryOutputs:
    torch.manual_seed(3)
    outputs = detector(noise_for(detector, len(targets)), targets)
    assert isinstance(outputs, QueryOutputs)
    return outputs


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


def distances_gradient(spec: QuerySpec) -> list[float]:
    """How much the loss of distances says of each layer of the detector's own queries."""
    detector = detector_of(spec)
    outputs = outputs_of(detector, TARGETS)
    layers = [stage.distances for stage in outputs.stages if stage.distances is not None]
    for layer in layers:
        layer.retain_grad()
    term = detector.losses(outputs, detector.encode(TARGETS, outputs), [Mined()] * 3)["distances"]
    term.total.backward()  # type: ignore[no-untyped-call]
    return [0.0 if layer.grad is None else float(layer.grad.abs().sum()) for layer in layers]


def test_published_losses_teach_the_distances_of_every_layer() -> None:
    """The library's leave out the last layer, which detections are read from."""
    three_layers = {"decoder_layers": 3}
    published, library = (distances_gradient(spec.with_changes(three_layers)) for spec in (DFINE_TINY, DFINE_LIBRARY))
    assert len(published) == 3
    assert min(published) > 0
    assert len(library) == 2


def test_layers_are_compared_with_their_own_distances() -> None:
    """The library pairs the distances of a layer with the class scores and boxes of the one before."""
    published, library = (outputs_of(detector_of(spec), TARGETS).stages for spec in (DFINE_TINY, DFINE_LIBRARY))
    guess, first, last, _ = published
    their_last, their_first, _ = library
    assert guess.distances is None
    assert last.teacher is None
    assert first.distances is not None
    assert their_first.distances is not None
    torch.testing.assert_close(first.distances, their_first.distances)
    torch.testing.assert_close(guess.logits, their_first.logits)
    torch.testing.assert_close(last.logits, their_last.logits)
    assert not torch.allclose(first.logits, their_first.logits)


# What was mined.


def test_a_query_is_excused_by_what_was_mined_where_it_is_centred() -> None:
    fine, coarse = torch.ones(1, 2, 4, 4), torch.ones(1, 2, 2, 2)
    fine[0, 0, 1, 3], coarse[0, 0, 0, 1], coarse[0, 1, 1, 0] = 0.25, 0.5, 0.0
    boxes = torch.tensor([[[0.8, 0.3, 0.9, 0.9], [0.6, 0.1, 0.1, 0.1], [0.1, 1.0, 0.2, 0.2], [0.3, 0.3, 0.1, 0.1]]])
    kept = kept_by_centre(boxes, [fine, coarse])
    assert kept.tolist() == [[[0.25, 1.0], [0.5, 1.0], [1.0, 0.0], [1.0, 1.0]]]


def test_a_label_of_a_half_leaves_a_sixteenth_of_an_unmatched_query_and_all_of_a_matched_one() -> None:
    """Eq. 5: (1 - 0.5)^4."""
    detector = detector_of(RTDETR_TINY)
    outputs = outputs_of(detector, TARGETS)
    encoded = detector.encode(TARGETS, outputs)
    maps = [torch.full_like(heatmap, 0.5) for heatmap in encoded.heatmaps]
    plain = detector.losses(outputs, encoded, [Mined()] * 3)
    halved = detector.losses(outputs, encoded, [Mined(pseudo=each) for each in maps])
    ignored = detector.losses(outputs, encoded, [Mined(ignored=each.bool()) for each in maps])
    for name in ("class", "denoising_class"):
        without, sixteenth, nothing = (float(terms[name].total.detach()) for terms in (plain, halved, ignored))
        assert 0 < nothing < without
        assert sixteenth - nothing == pytest.approx((without - nothing) / 16, rel=1e-4)
    assert all(torch.equal(plain[name].total, halved[name].total) for name in plain if not name.endswith("class"))


def test_copies_that_are_not_to_be_objects_are_muted_within_a_pseudo_box_for_every_class() -> None:
    detector = detector_of(RTDETR_TINY)
    whole = [[0.0, 0.0, 96.0, 96.0]]
    annotated, pseudo = target([[10, 10, 40, 50], *whole], [0, 1]), torch.tensor([False, True])
    outputs = outputs_of(detector, [annotated])
    sums = []
    for known in (annotated, replace(annotated, pseudo=pseudo)):
        terms = detector.losses(outputs, detector.encode([known], outputs), [Mined()] * 3)
        sums.append({name: float(term.total.detach()) for name, term in terms.items()})
    assert sums[1]["denoising_class"] < sums[0]["denoising_class"]
    assert {name for name in sums[0] if sums[0][name] != sums[1][name]} == {"denoising_class"}


def test_pseudo_boxes_do_not_count_where_boxes_are_annotated() -> None:
    detector = detector_of(RTDETR_TINY)
    half = torch.tensor([False, True])
    for flags, counted in (((None, None), 4), ((half, None), 3), ((half, half), 2), ((half | True, half), 3)):
        targets = [replace(each, pseudo=flag) for each, flag in zip(TARGETS, flags, strict=True)]
        outputs = outputs_of(detector, targets)
        terms = detector.losses(outputs, detector.encode(targets, outputs), [Mined()] * 3)
        assert {float(term.count) for term in terms.values()} == {counted}


# Copies.

NOISE = Noise(copies=8, boxes=1.0, labels=0.5)


def copies_of(targets: list[Any], noise: Noise = NOISE, seeds: tuple[int, ...] = (1, 2)) -> NoisyQueries:
    lengths = [len(each.labels) for each in targets]
    side = torch.full((4,), 96.0)
    found = noisy_queries(annotated_boxes(targets), lengths, seeds, noise, num_classes=3, side=side)
    assert found is not None
    return found


def test_each_group_has_every_box_near_and_far() -> None:
    """Of 8 copies wanted 4 groups of 2 boxes, each copied twice, and 8 groups of one box."""
    copies = copies_of([TARGETS[0], target([[5, 8, 44, 70]], [2])])
    assert copies.group[0].tolist() == [group for group in range(4) for _ in range(4)]
    assert copies.partner[0].tolist() == [0, 1, 0, 1] * 4
    assert copies.positive[0].tolist() == [True, True, False, False] * 4
    assert copies.positive[1].tolist() == [True, False] * 8
    torch.testing.assert_close(copies.share, torch.tensor([1 / 4, 1 / 8]))


def test_near_copies_are_off_by_less_than_half_a_side_and_far_ones_by_more() -> None:
    box = torch.tensor([40.0, 40.0, 60.0, 56.0])
    copies = copies_of([target([box.tolist()], [0])], Noise(400, 0.5, 0.0), seeds=(5,))
    centres, sizes = copies.boxes[0].sigmoid().chunk(2, dim=1)
    corners = torch.cat([centres - sizes / 2, centres + sizes / 2], dim=1) * 96
    off = (corners - box).abs() / torch.tensor([20.0, 16.0, 20.0, 16.0])
    positive = copies.positive[0]
    assert off[positive].min() >= 0
    assert off[positive].max() <= 0.25 + 1e-4
    assert off[~positive].min() >= 0.25 - 1e-4
    assert off[~positive].max() <= 0.5 + 1e-4
    assert (corners[positive] < box).float().mean(dim=0).sub(0.5).abs().max() < 0.1


def test_half_as_many_labels_are_drawn_anew_as_the_noise_says() -> None:
    """A third of them come out as they were."""
    copies = copies_of([target([[40, 40, 60, 60]], [1])], Noise(3000, 1.0, 0.6), seeds=(5,))
    assert float((copies.labels == 1).float().mean()) == pytest.approx(1 - 0.3 * 2 / 3, abs=0.02)
    assert copies.labels.unique().tolist() == [0, 1, 2]


def test_copies_of_an_image_do_not_depend_on_the_others() -> None:
    alone = copies_of([TARGETS[0]], seeds=(1,))
    crowd = target([[10 + x, 10, 30 + x, 30] for x in range(5)], [0] * 5)
    together = copies_of([TARGETS[0], crowd, target([], [])], seeds=(1, 2, 3))
    places = alone.labels.shape[1]
    for name in ("labels", "boxes", "partner", "group", "positive"):
        assert torch.equal(getattr(together, name)[0, :places], getattr(alone, name)[0]), name
    assert not together.present[0, places:].any()
    assert not together.present[2].any()
    assert together.labels[2].unique().tolist() == [3]


def test_copies_see_their_group_and_are_seen_by_no_other() -> None:
    seen = copies_of([target([[5, 8, 44, 70]], [2])], NOISE._replace(copies=2), seeds=(1,)).may_see(1)[0, 0]
    assert seen.int().tolist() == [[1, 1, 0, 0, 1], [1, 1, 0, 0, 1], [0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 0, 0, 1]]


def test_without_boxes_or_copies_there_are_none() -> None:
    bare, side = annotated_boxes([target([], [])]), torch.ones(4)
    assert noisy_queries(bare, [0], [1], NOISE, num_classes=3, side=side) is None
    known = annotated_boxes(TARGETS)
    assert noisy_queries(known, [2, 2], [1, 1], NOISE._replace(copies=0), num_classes=3, side=side) is None


# Settings.


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


def test_a_configuration_is_read_from_its_folder_and_recorded_whole(tmp_path: Path) -> None:
    settings = {"model_type": "rt_detr_v2", "id2label": {"0": "cat"}, "num_queries": 50, "d_model": 64}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    spec = RTDETR(config=tmp_path)  # type: ignore[arg-type]  # read when it is validated
    assert spec.config == {"model_type": "rt_detr_v2", "num_queries": 50, "d_model": 64}
    assert spec.library_settings()["num_queries"] == 50
    assert spec.with_changes({"queries": 20}).library_settings()["num_queries"] == 20
    (tmp_path / "config.json").unlink()
    assert RTDETR.model_validate_json(spec.model_dump_json()) == spec


def test_configurations_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "d_fine"}))
    with pytest.raises(UserError, match="config is that of a d_fine, not of a rt_detr_v2"):
        RTDETR.parse({"config": str(tmp_path)}, source="settings")
    with pytest.raises(UserError, match=r"decoder_layers: .* greater than or equal to 2"):
        DFINE.parse({"decoder_layers": 1}, source="settings")
    with pytest.raises(UserError, match="num_feature_levels is 4; only detectors on 3 maps"):
        DFINE.parse({"config": {"num_feature_levels": 4}}, source="settings")
    (tmp_path / "config.json").write_text("no")
    with pytest.raises(UserError, match=r"config\.json is no configuration of a detector"):
        RTDETR.parse({"config": str(tmp_path)}, source="settings")
    with pytest.raises(UserError, match=r"unknown setting 'detector\.config\.d_modle'.*d_model"):
        build(RTDETR_TINY.with_changes({"config": {"d_modle": 64}}), num_classes=3)


def test_a_model_of_the_hub_that_cannot_be_had_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        UserError, match=r"nobody/nothing is no folder.*config\.json of that model cannot be had"
    ) as told:
        RTDETR.parse({"config": "nobody/nothing"}, source="settings")
    assert "\n" not in str(told.value)


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


@pytest.mark.parametrize("tiny", [RTDETR_TINY, DFINE_TINY], ids=["rt_detr", "d_fine"])
@torch.no_grad()
def test_weights_that_the_library_saved_give_what_it_finds(tiny: QuerySpec, tmp_path: Path) -> None:
    spec = tiny.with_changes({"config": {**tiny.config, **OWN_BACKBONE}})
    settings = spec.library_settings()
    labels = {0: "cat", 1: "Dog", 2: "fox", 3: "owl"}
    config = AutoConfig.for_model(spec.library_type(), id2label=labels, **settings)
    torch.manual_seed(1)
    library = AutoModelForObjectDetection.from_config(config).eval()
    for name, parameter in library.named_parameters():
        if parameter.dim() > 1 or name.endswith("norm.weight"):
            parameter.normal_(std=0.2)
    library.save_pretrained(tmp_path)
    named = type(spec).parse({**spec.model_dump(), "config": str(tmp_path)}, source="settings")
    detector = build(named, num_classes=4).eval()
    weights = PublishedDetector(file=tmp_path)
    file = ensure(digits_centernet().with_changes({"detector": named, "weights": weights}), tmp_path)
    load_initial_weights(detector, weights, file, category_names=("dog", "owl", "CAT", "fox"))
    pixels = noise(1, 96, 96)
    ours, found = detector(pixels).last, library(pixels / 255)
    torch.testing.assert_close(ours.boxes, found.pred_boxes, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.logits, found.logits[..., [1, 3, 0, 2]], rtol=1e-4, atol=1e-4)
    fresh_row, name = build(named, num_classes=2), "model.model.enc_score_head.weight"
    before = fresh_row.state_dict()[name][0].clone()
    load_initial_weights(fresh_row, weights, file, category_names=("newt", "fox"))
    after = fresh_row.state_dict()[name]
    assert torch.equal(after[0], before)
    assert torch.equal(after[1], library.state_dict()["model.enc_score_head.weight"][2])


def test_published_weights_that_cannot_be_had_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    experiment = digits_centernet().with_changes({"detector": RTDETR_TINY, "weights": {"kind": "published"}})
    with pytest.raises(UserError, match=r"weights\.model: nobody/nothing is no folder, and config\.json"):
        ensure(experiment.with_changes({"weights.model": "nobody/nothing"}), tmp_path)
    with pytest.raises(UserError, match=r"model\.safetensors: no such file; set weights\.file"):
        ensure(experiment.with_changes({"weights.file": str(tmp_path)}), tmp_path)
    with pytest.raises(UserError, match=r"set weights\.file to the folder of a model\.safetensors, or weights\.model"):
        load_initial_weights(fresh(RTDETR_TINY), PublishedDetector(), None, category_names="abc")
    (tmp_path / "model.safetensors").write_text("no")
    with pytest.raises(UserError, match=r"no detector that transformers can load \("):
        load_initial_weights(fresh(RTDETR_TINY), PublishedDetector(), tmp_path / "model.safetensors")


class Killed(InProcess):
    """A run whose process dies when its first epoch is saved."""

    def report(self, epoch: int, metrics: dict[str, float]) -> None:
        if epoch == 1:
            raise KeyboardInterrupt
        super().report(epoch, metrics)


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


@pytest.mark.parametrize("spec", [RTDETR_TINY, DFINE_TINY], ids=["rt_detr", "d_fine"])
def test_without_the_extra_the_detector_is_refused_in_one_sentence_and_its_settings_are_not(
    spec: QuerySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "siod.detectors.networks.query")
    for name in [name for name in sys.modules if name.split(".")[0] == "transformers"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert type(spec).model_validate_json(spec.model_dump_json()) == spec
    with pytest.raises(UserError, match=r"need transformers; pip install 'siod\[transformers\]'"):
        build(spec, num_classes=3)


def test_partners_are_those_of_the_least_cost() -> None:
    """One query on each box, a third one elsewhere."""
    detector = detector_of(RTDETR_TINY)
    boxes = [[10.0, 10.0, 40.0, 50.0], [50.0, 20.0, 90.0, 60.0]]
    outputs = outputs_of(detector, [target(boxes, [0, 1])])
    encoded = detector.encode([target(boxes, [0, 1])], outputs)
    found = torch.tensor([[[70, 40, 40, 40], [10, 90, 10, 10], [25, 30, 30, 40]]]) / 96
    partners = detector.criterion.matched(Stage(torch.zeros(1, 3, 3), found), encoded.wanted)
    assert isinstance(partners, Partners)
    assert partners.slots.tolist() == [[1, -1, 0]]
    sums = detector.criterion.sums(Stage(torch.zeros(1, 3, 3), found), partners, encoded.wanted, None)
    # Perfect boxes; of scores of a half two are to be 1 and seven to be 0, which weigh 0.75 / 4.
    assert float(sums["box"]) == pytest.approx(0, abs=1e-6)
    assert float(sums["overlap"]) == pytest.approx(0, abs=1e-5)
    assert float(sums["class"]) == pytest.approx((2 + 7 * 0.75 / 4) * 0.6931, rel=1e-3)
