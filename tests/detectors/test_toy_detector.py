"""A detector from outside the package keeps what training relies on, trains, mines and is judged as any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
from siod.testing.detector import check_detector
from siod.training import loop
from siod.training.checkpoint import CheckpointFolder
from siod.training.context import InProcess
from siod.training.experiment import Experiment, Scratch
from siod.training.presets import digits_centernet

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
