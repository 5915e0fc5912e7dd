"""A method from outside the package: one file, and experiments, checkpoints and resuming know it.

What stands here above the tests is the whole of what a new method needs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from siod.data.source import PreparedData
from siod.data.transforms import Geometry
from siod.detectors.detector import Detector
from siod.detectors.zoo import FCOS_TINY
from siod.methods.csd import CSD
from siod.methods.method import Criterion, Method, Moment, Objective, View, Views
from siod.methods.spec import MethodSpec
from siod.methods.steps.strong import moved
from siod.methods.zoo import METHODS, add_method
from siod.training import loop
from siod.training.checkpoint import CheckpointFolder, load
from siod.training.context import InProcess, request_stop
from siod.training.experiment import Experiment
from siod.types import Batch

CPU = torch.device("cpu")


class MirrorToo(MethodSpec):
    """Learn the mirror image of every image as well."""

    kind: Literal["mirror_too"] = "mirror_too"
    weight: float = 1.0


class MirrorTooMethod(Method):
    def __init__(self, spec: MirrorToo, detector: Detector) -> None:
        super().__init__(detector)
        self.spec = spec
        self.updates = 0

    def views(self, batch: Batch, moment: Moment) -> Views:
        size = (batch.images.shape[2], batch.images.shape[3])
        geometry = Geometry(size, size, (0, 0), flip=True, input_size=size)
        targets = moved(batch.targets, [geometry] * len(batch.targets))
        return Views((View(batch.images, batch.targets), View(batch.images.flip(3), targets)), batch, moment)

    def objective(self, views: Views, outputs: Any, criterion: Criterion) -> Objective:
        mirrored = self.judge(views, 1, outputs, criterion, prefix="mirrored_", weight=self.spec.weight)
        return Objective({**self.judge(views, 0, outputs, criterion), **mirrored})

    def after_update(self, moment: Moment) -> None:
        del moment
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]


add_method(MirrorToo, MirrorTooMethod)


@pytest.fixture(scope="module")
def experiment(siod_run: Experiment) -> Experiment:
    return siod_run.with_changes({"method": MirrorToo(), "detector": FCOS_TINY, "detector.norm": "group"})


def test_an_experiment_names_it_like_any_other(experiment: Experiment) -> None:
    assert isinstance(experiment.method, MirrorToo)
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment
    assert experiment.with_changes({"method.weight": 0.5}).identity("data") != experiment.identity("data")


def test_it_trains_stops_and_goes_on_from_its_state(
    experiment: Experiment, prepared: Callable[[Experiment], PreparedData], tmp_path: Path
) -> None:
    data = prepared(experiment)
    with pytest.raises(loop.Stopped):
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
