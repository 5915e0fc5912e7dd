"""Settings of RT-DETR and D-FINE: read and refused, with the extra and without."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from siod.detectors.query import DFINE, RTDETR, QuerySpec
from siod.detectors.zoo import DFINE_TINY, RTDETR_TINY, build
from siod.errors import UserError
from siod.studies.rtdetr_search import STUDY

with_extra = pytest.mark.skipif(find_spec("transformers") is None, reason="the extra transformers is not installed")


def test_a_configuration_is_read_from_its_folder_and_recorded_whole(tmp_path: Path) -> None:
    settings = {"model_type": "rt_detr_v2", "id2label": {"0": "cat"}, "num_queries": 50, "d_model": 64}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    spec = RTDETR(config=tmp_path)  # type: ignore[arg-type]  # read when it is validated
    assert spec.config == {"model_type": "rt_detr_v2", "num_queries": 50, "d_model": 64}
    assert spec.library_settings()["num_queries"] == 50
    assert spec.with_changes({"queries": 20}).library_settings()["num_queries"] == 20
    (tmp_path / "config.json").unlink()
    assert RTDETR.model_validate_json(spec.model_dump_json()) == spec


@with_extra
def test_each_detector_setting_that_the_search_tries_reaches_the_library() -> None:
    expected = {
        "detector.queries": ("num_queries", 30, 150),
        "detector.denoising": ("num_denoising", 0, 60),
        "detector.focal_alpha": ("focal_loss_alpha", 0.25, 0.9),
    }
    assert expected.keys() == {path for path in STUDY.space if path.startswith("detector.")}
    for path, (name, *ends) in expected.items():
        for end in ends:
            detector = build(STUDY.base.with_changes({path: end}).detector, num_classes=3)
            assert getattr(detector.config, name) == end


@with_extra
def test_configurations_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "d_fine"}))
    with pytest.raises(UserError, match="config is that of a d_fine, not of a rt_detr_v2"):
        RTDETR.parse({"config": str(tmp_path)}, source="settings")
    with pytest.raises(UserError, match=r"decoder_layers: .* greater than or equal to 2"):
        DFINE.parse({"decoder_layers": 1}, source="settings")
    with pytest.raises(UserError, match="num_feature_levels is 4; only detectors on 3 maps"):
        DFINE.parse({"config": {"num_feature_levels": 4}}, source="settings")
    with pytest.raises(UserError, match=r"config\.learn_initial_query is true, and the library cannot run"):
        DFINE.parse({"config": {"learn_initial_query": True}}, source="settings")
    (tmp_path / "config.json").write_text("no")
    with pytest.raises(UserError, match=r"config\.json is no configuration of a detector"):
        RTDETR.parse({"config": str(tmp_path)}, source="settings")
    with pytest.raises(UserError, match=r"unknown setting 'detector\.config\.d_modle'.*d_model"):
        build(RTDETR_TINY.with_changes({"config": {"d_modle": 64}}), num_classes=3)


@with_extra
@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"d_model": "64"}, r"expected int, got str \(value: '64'\)"),
        ({"d_model": 65}, "divisible"),
        ({"activation_function": "rleu"}, "rleu"),
    ],
    ids=str,
)
def test_what_the_library_cannot_build_is_one_sentence(config: dict[str, object], reason: str) -> None:
    for spec in (RTDETR_TINY, DFINE_TINY):
        with pytest.raises(UserError, match=rf"detector\.config: the library builds no \w+ of it \(.*{reason}") as told:
            build(spec.with_changes({"config": {**spec.config, **config}}), num_classes=3)
        assert "\n" not in str(told.value)


@with_extra
def test_a_model_of_the_hub_that_cannot_be_had_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        UserError, match=r"nobody/nothing is no folder.*config\.json of that model cannot be had"
    ) as told:
        RTDETR.parse({"config": "nobody/nothing"}, source="settings")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("spec", [RTDETR_TINY, DFINE_TINY], ids=["rt_detr", "d_fine"])
def test_without_the_extra_the_detector_is_refused_in_one_sentence_and_its_settings_are_not(
    spec: QuerySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "siod.detectors.networks.query", raising=False)
    for name in [name for name in sys.modules if name.split(".")[0] == "transformers"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert type(spec).model_validate_json(spec.model_dump_json()) == spec
    with pytest.raises(UserError, match=r"need transformers; pip install 'siod\[transformers\]'"):
        build(spec, num_classes=3)
