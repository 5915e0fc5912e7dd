"""A detector from outside the package keeps what training relies on, trains, mines and is judged as any other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
from toy_detector import Toy, ToyDetector

from siod.data.digits import Digits
from siod.data.source import PreparedData, prepare
from siod.detectors.centernet import CenterNet
from siod.detectors.detector import Detector
from siod.detectors.zoo import FAMILIES, add_family, build
from siod.dminer.dminer import DMiner
from siod.dminer.pgcl import PGCL
from siod.dminer.splg import SPLG
from siod.errors import UserError
from siod.registry import Kind
from siod.testing.detector import check_detector
from siod.training import loop
from siod.training.checkpoint import CheckpointFolder
from siod.training.context import InProcess
from siod.training.experiment import Experiment, Scratch
from siod.training.presets import digits_centernet
from siod.training.weight_loading import load_initial_weights
from siod.training.weights import ensure

TOY = Toy(backbone="tiny_resnet18", base_width=8)


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return digits_centernet().with_changes(
        {
            "data": Digits(train_images=16, val_images=4),
            "weights": Scratch(),
            "detector": TOY,
            "dminer": DMiner(splg=SPLG(), pgcl=PGCL(top_m=4)),
            "recipe.epochs": 2,
        }
    )


@pytest.fixture(scope="module")
def data(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return prepare(experiment.data, experiment.annotations, tmp_path_factory.mktemp("cache"))


def test_it_keeps_what_training_relies_on() -> None:
    check_detector(TOY)


def test_an_experiment_names_it_like_any_other(experiment: Experiment) -> None:
    assert isinstance(experiment.detector, Toy)
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment
    changed = experiment.with_changes({"detector.box_weight": 0.5})
    assert changed.identity("data") != experiment.identity("data")
    assert isinstance(build(changed.detector, num_classes=4), ToyDetector)


def test_it_trains_with_dminer_and_is_judged(experiment: Experiment, data: PreparedData, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    told: list[int] = []
    context = InProcess(tmp_path, lambda epoch, metrics: told.append(epoch), device=torch.device("cpu"))
    trained = loop.run(experiment, data, context)
    expected = {"train/heatmap", "train/box", "train/pgcl", "mining/splg_recall", "ap_s", "ap50_s0"}
    assert all(expected <= metrics.keys() for metrics in trained.history)
    assert trained.history[1]["train/loss"] < trained.history[0]["train/loss"]
    assert len(trained.detections.scores) > 0
    assert CheckpointFolder(tmp_path / "checkpoints").latest() is not None
    assert told == [1, 2]


def test_a_name_that_is_taken_is_refused() -> None:
    class Other(CenterNet):
        """Called as CenterNet is."""

    def detector(spec: Any, num_classes: int) -> Detector:
        return ToyDetector(spec, num_classes)

    with pytest.raises(ValueError, match="family 'centernet' is taken by CenterNet"):
        add_family(Other, detector)
    assert FAMILIES["centernet"].spec is CenterNet


class NamedToy(Toy):
    """A family whose published weights know categories by name."""

    published_by_name: ClassVar[bool] = True

    family: Literal["named_toy"] = "named_toy"  # type: ignore[assignment]  # of its own


class NamedToyDetector(ToyDetector):
    def load_published(
        self,
        file: Path | None = None,
        *,
        category_ids: Sequence[int] | None = None,  # noqa: ARG002  (found by name)
        category_names: Sequence[str] = (),
    ) -> None:
        assert file is not None
        known = torch.load(file)
        with torch.no_grad():
            for row, name in enumerate(category_names):
                self.heads.bias[row] = known[name]


def test_published_weights_of_its_own_are_for_any_categories_that_they_know_by_name(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(FAMILIES, "named_toy", Kind(NamedToy, NamedToyDetector))
    torch.save({"owl": 3.0, "cat": 5.0, "fox": 7.0}, tmp_path / "named.pth")
    published = {"weights": {"kind": "published", "file": str(tmp_path / "named.pth")}}
    named = experiment.with_changes({"detector": NamedToy(**TOY.model_dump(exclude={"family"})), **published})
    detector = build(named.detector, num_classes=2)
    load_initial_weights(detector, named.weights, ensure(named, tmp_path), category_names=("fox", "owl"))
    assert detector.get_submodule("heads").bias[:2].tolist() == [7.0, 3.0]
    with pytest.raises(UserError, match=r"weights\.kind published needs data with COCO's categories"):
        experiment.with_changes(published)
