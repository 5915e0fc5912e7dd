"""A run of two epochs against one that was stopped after the first and resumed; two unbroken runs are the control.

On a GPU even unbroken runs differ: some kernels add in no fixed order. A resumed run may be no further away.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from scenes import TINY_DEFORMABLE, Files, jpeg_folder

from siod.data.annotation_sets import Keep
from siod.data.transforms import Augmentation
from siod.training import checkpoint, loop
from siod.training.context import InProcess
from siod.training.experiment import Evaluation, Experiment, Recipe, StepDecay
from siod.training.stopping import Stopped, request_stop

if TYPE_CHECKING:
    from pathlib import Path

    from reporting import Report, Setting
    from torch import Tensor

    from siod.data.source import PreparedData

MOST = 1.5
"""How far the resumed run may be from the nearer unbroken one, over how far these are apart."""
FAMILY = TINY_DEFORMABLE["centernet_deformable"]


def check(setting: Setting, report: Report) -> None:
    """Train four times on files."""
    files = setting.size(Files(256, 32, 96, 96, distinct=64), Files(8, 4, 96, 96, distinct=8))
    data = jpeg_folder(files, setting.work, classes=5)
    experiment = Experiment(
        annotations=Keep(k=1, seed=0),
        detector=FAMILY.mining,
        dminer=FAMILY.dminer,
        augmentation=Augmentation(input_size=(96, 96), flip=0.5),
        recipe=Recipe(
            epochs=2, batch_size=setting.size(16, 4), learning_rate=1e-3, schedule=StepDecay(milestones=(1,))
        ),
        evaluation=Evaluation(batch_size=16),
    )
    device = torch.device(setting.device)
    ends = []
    for name in ("one", "other"):
        folder = setting.work / name
        loop.run(experiment, data, InProcess(folder, device=device))
        ends.append(_weights(folder))
    folder = setting.work / "resumed"
    _stop_after_the_first(experiment, data, folder, device, report)
    loop.run(experiment, data, InProcess(folder, device=device))
    control = _distance(*ends)
    resumed = min(_distance(_weights(folder), end) for end in ends)
    report.figures(control=control, resumed=resumed)
    sentence = f"the resumed run is {resumed:.3g} from an unbroken one, two of which are {control:.3g} apart"
    report.require(resumed <= MOST * control, sentence)


def _stop_after_the_first(
    experiment: Experiment, data: PreparedData, folder: Path, device: torch.device, report: Report
) -> None:
    stopping = InProcess(folder, lambda epoch, metrics: request_stop(folder), device=device)
    try:
        loop.run(experiment, data, stopping)
    except Stopped:
        return
    report.require(holds=False, sentence="the run did not stop when it was asked to")


def _weights(folder: Path) -> Tensor:
    latest = checkpoint.CheckpointFolder(folder / "checkpoints").latest()
    if latest is None:
        raise FileNotFoundError(f"no checkpoint in {folder}")
    return torch.cat([value.flatten().double() for value in checkpoint.load(latest)["model"].values()])


def _distance(one: Tensor, other: Tensor) -> float:
    """Of two sets of weights, relative to their length; infinite if one is not finite."""
    distance = float((one - other).norm() / one.norm())
    return distance if math.isfinite(distance) else math.inf
