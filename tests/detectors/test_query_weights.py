"""Published weights of RT-DETR and D-FINE: what transformers saved, class layers by the names of categories."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from query_detectors import OWN_BACKBONE
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForObjectDetection

from siod.detectors.query import QuerySpec
from siod.detectors.zoo import DFINE_TINY, RTDETR_TINY, build
from siod.errors import UserError
from siod.testing.networks import fresh
from siod.testing.scenes import noise
from siod.training.experiment import PublishedDetector
from siod.training.presets import digits_centernet
from siod.training.weight_loading import load_initial_weights
from siod.training.weights import ensure


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


def test_files_that_do_not_fill_the_detector_beside_them_are_refused(tmp_path: Path) -> None:
    """A layer that is not there, or of another shape, would be learnt from random weights, unsaid."""
    spec = RTDETR_TINY.with_changes({"config": {**RTDETR_TINY.config, **OWN_BACKBONE}})
    config = AutoConfig.for_model(spec.library_type(), num_labels=3, **spec.library_settings())
    AutoModelForObjectDetection.from_config(config).save_pretrained(tmp_path)
    file, name = tmp_path / "model.safetensors", "model.enc_score_head.weight"
    whole, detector = load_file(file), build(spec, num_classes=3)
    for wrong in ({}, {name: torch.zeros(7, 64)}):
        save_file({key: layer for key, layer in whole.items() if key != name} | wrong, file, metadata={"format": "pt"})
        with pytest.raises(UserError, match=rf"model\.safetensors: it has no {name} of the shape that the config"):
            detector.load_published(file, category_names="abc")
    with pytest.raises(UserError, match=r"best\.safetensors: weights of transformers are called model\.safetensors"):
        detector.load_published(file.rename(tmp_path / "best.safetensors"), category_names="abc")


def test_a_folder_of_links_is_read_as_the_hub_keeps_its_models(tmp_path: Path) -> None:
    """Links called by the names of files, to blobs that are called by their digests."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    for folder in (blobs, snapshot):
        folder.mkdir()
    spec = RTDETR_TINY.with_changes({"config": {**RTDETR_TINY.config, **OWN_BACKBONE}})
    config = AutoConfig.for_model(spec.library_type(), num_labels=3, **spec.library_settings())
    AutoModelForObjectDetection.from_config(config).save_pretrained(blobs)
    for digest, name in enumerate(("config.json", "model.safetensors")):
        (snapshot / name).symlink_to((blobs / name).rename(blobs / f"{digest}"))
    weights = PublishedDetector(file=snapshot)
    file = ensure(digits_centernet().with_changes({"detector": spec, "weights": weights}), tmp_path)
    detector = build(spec, num_classes=3)
    load_initial_weights(detector, weights, file, category_names=("LABEL_0", "LABEL_1", "LABEL_2"))
    ours, read = detector.state_dict(), load_file(snapshot / "model.safetensors")
    assert torch.equal(ours["model.model.enc_score_head.weight"], read["model.enc_score_head.weight"])
