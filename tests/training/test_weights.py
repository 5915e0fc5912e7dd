"""Initial weights are what the experiment says, trained once, and refused when they do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from siod.detectors.zoo import build
from siod.errors import UserError
from siod.training import checkpoint
from siod.training.experiment import DigitClassifier, Experiment, FromCheckpoint, ImageNet, Packaged
from siod.training.weight_loading import load_initial_weights
from siod.training.weights import ensure

QUICK = DigitClassifier(crops=128, epochs=1, batch_size=32)


def test_a_digit_classifier_is_trained_once_and_loaded_into_the_backbone(small: Experiment, tmp_path: Path) -> None:
    experiment = small.with_changes({"weights": QUICK})
    told: list[int] = []
    file = ensure(experiment, tmp_path, progress=lambda epoch, epochs, accuracy: told.append(epoch))
    assert file is not None
    again = ensure(
        experiment.with_changes({"seed": 5, "dminer": None}),
        tmp_path,
        progress=lambda epoch, epochs, accuracy: told.append(epoch),
    )
    assert (again, told) == (file, [1])
    detector = build(experiment.detector, num_classes=5)
    load_initial_weights(detector, experiment.weights, file)
    expected = checkpoint.load(file)["model"]
    assert all(torch.equal(value, expected[name]) for name, value in detector.backbone.state_dict().items())


def test_the_digit_classifier_is_the_same_from_the_same_seed_with_any_number_of_threads(
    small: Experiment, tmp_path: Path
) -> None:
    experiment = small.with_changes({"weights": QUICK})
    threads = torch.get_num_threads()
    files = []
    for number in (1, 2):
        torch.set_num_threads(number)
        files.append(ensure(experiment, tmp_path / str(number)))
        assert torch.get_num_threads() == number
    torch.set_num_threads(threads)
    states = [checkpoint.load(file)["model"] for file in files if file is not None]
    assert len(states) == 2
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_another_backbone_or_other_crops_get_a_classifier_of_their_own(small: Experiment, tmp_path: Path) -> None:
    experiment = small.with_changes({"weights": QUICK})
    files = {
        ensure(experiment, tmp_path),
        ensure(experiment.with_changes({"weights.seed": 1}), tmp_path),
        ensure(experiment.with_changes({"detector.base_width": 8}), tmp_path),
    }
    assert len(files) == 3


def test_a_whole_detector_starts_from_a_checkpoint(small: Experiment, tmp_path: Path) -> None:
    torch.manual_seed(1)
    trained = build(small.detector, num_classes=5)
    checkpoint.save(tmp_path / "best.pt", {"model": trained.state_dict()})
    experiment = small.with_changes({"weights": FromCheckpoint(file=tmp_path / "best.pt")})
    detector = build(experiment.detector, num_classes=5)
    load_initial_weights(detector, experiment.weights, ensure(experiment, tmp_path))
    for name, value in detector.state_dict().items():
        assert torch.equal(value, trained.state_dict()[name])


def test_a_checkpoint_of_another_architecture_is_refused_by_name(small: Experiment, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "other.pt", {"model": build(small.detector, num_classes=7).state_dict()})
    weights = FromCheckpoint(file=tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other\.pt: its weights do not fit this detector \(size mismatch"):
        load_initial_weights(build(small.detector, num_classes=5), weights, tmp_path / "other.pt")


@pytest.mark.parametrize("kind", [ImageNet, FromCheckpoint])
def test_a_missing_file_of_weights_is_refused_before_training(
    small: Experiment, tmp_path: Path, kind: type[ImageNet | FromCheckpoint]
) -> None:
    experiment = small.with_changes({"weights": kind(file=tmp_path / "none.pth")})
    with pytest.raises(UserError, match=r"none\.pth: no such file; set weights\.file"):
        ensure(experiment, tmp_path)


def test_packaged_weights_that_no_package_has_are_refused_before_training(small: Experiment, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no package ships weights of backbone tiny_resnet18, only of"):
        ensure(small.with_changes({"weights": Packaged()}), tmp_path)
