"""What resuming asks of a method: a short run that is stopped and taken up again."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from siod.data.annotation_sets import WholeImages
from siod.data.source import prepare
from siod.testing.method_steps import CLASSES, SCENES
from siod.testing.networks import eager
from siod.testing.requirement import require
from siod.training import checkpoint, loop
from siod.training.checkpoint import CheckpointFolder
from siod.training.context import InProcess
from siod.training.experiment import Compute, Experiment, FromCheckpoint
from siod.training.presets import digits_centernet
from siod.training.stopping import Stopped, request_stop

if TYPE_CHECKING:
    from siod.data.source import PreparedData
    from siod.detectors.detector import DetectorSpec
    from siod.methods.method import MethodSpec


def check_a_resumed_run_equals_an_unbroken_one(spec: MethodSpec, detector: DetectorSpec) -> None:
    """A run of two epochs, stopped after the first and taken up again, ends where an unbroken one does, to the bit.

    Args:
        spec: The settings.
        detector: What it works with.

    Raises:
        AssertionError: ``state_dict`` does not hold all that the method goes on from.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = folder / "start.pt"
        checkpoint.save(start, {"model": eager(detector, CLASSES).state_dict()})
        experiment = _run_of(spec, detector, start)
        data = prepare(experiment.data, experiment.annotations, folder / "cache")
        unbroken = _run(experiment, data, InProcess(folder / "a"), start)
        with suppress(Stopped):
            _run(experiment, data, InProcess(folder / "b", lambda *_: request_stop(folder / "b")), start)
        resumed = _run(experiment, data, InProcess(folder / "b"), start)
        one, other = _final(folder / "a"), _final(folder / "b")
    for part in ("model", "method"):
        require(
            _same_state(one[part], other[part]),
            f"the {part} of a resumed run differs from that of an unbroken one; state_dict must hold all that a method "
            "carries from step to step",
        )
    same = resumed.history[-1]["ap_s"] == unbroken.history[-1]["ap_s"]
    require(same, "a resumed run is judged otherwise than an unbroken one; judged must be the same detector")


def _same_state(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same_state(one[key], other[key]) for key in one)
    return bool(one == other)


def _run_of(spec: MethodSpec, detector: DetectorSpec, start: Path) -> Experiment:
    return digits_centernet().with_changes(
        {
            "data": SCENES,
            "annotations": WholeImages(),
            "weights": FromCheckpoint(file=start),
            "detector": detector,
            "method": spec,
            "recipe.epochs": 2,
            "recipe.batch_size": 4,
            "compute": Compute(cpus_per_worker=1, gpus_per_worker=0, loader_workers=0),
        }
    )


def _run(experiment: Experiment, data: PreparedData, context: InProcess, start: Path) -> loop.Trained:
    needs = experiment.method is not None and experiment.method.needs_teacher()
    return loop.run(experiment, data, context, initial_weights=start, teacher=start if needs else None)


def _final(run_dir: Path) -> dict[str, Any]:
    latest = CheckpointFolder(run_dir / "checkpoints").latest()
    require(latest is not None, "a run leaves no checkpoint")
    return checkpoint.load(latest) if latest is not None else {}
