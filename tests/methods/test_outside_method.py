"""A method from outside the package keeps what training relies on; experiments, checkpoints and resuming know it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mirror_method import MirrorToo, MirrorTooMethod

from siod.data.source import PreparedData
from siod.detectors.zoo import FCOS_TINY
from siod.methods.csd import CSD
from siod.methods.zoo import METHODS, add_method
from siod.testing.method import check_method
from siod.training import loop
from siod.training.checkpoint import CheckpointFolder, load
from siod.training.context import InProcess
from siod.training.experiment import Experiment
from siod.training.stopping import Stopped, request_stop

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def experiment(siod_run: Experiment) -> Experiment:
    return siod_run.with_changes({"method": MirrorToo(), "detector": FCOS_TINY, "detector.norm": "group"})


def test_it_keeps_what_training_relies_on() -> None:
    check_method(MirrorToo())


def test_an_experiment_names_it_like_any_other(experiment: Experiment) -> None:
    assert isinstance(experiment.method, MirrorToo)
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment
    assert experiment.with_changes({"method.weight": 0.5}).identity("data") != experiment.identity("data")


def test_it_trains_stops_and_goes_on_from_its_state(
    experiment: Experiment, prepared: Callable[[Experiment], PreparedData], tmp_path: Path
) -> None:
    data = prepared(experiment)
    with pytest.raises(Stopped):
        loop.run(experiment, data, InProcess(tmp_path, lambda epoch, metrics: request_stop(tmp_path), device=CPU))
    history = loop.run(experiment, data, InProcess(tmp_path, device=CPU)).history
    latest = CheckpointFolder(tmp_path / "checkpoints").latest()
    assert latest is not None
    assert load(latest)["method"] == {"updates": 4}
    assert {"train/class", "train/mirrored_class", "ap_s"} <= history[-1].keys()


def test_a_name_that_is_taken_is_refused() -> None:
    class Other(CSD):
        """Called as CSD is."""

    with pytest.raises(ValueError, match="method 'csd' is taken by CSD"):
        add_method(Other, MirrorTooMethod)
    assert METHODS["csd"].spec is CSD
