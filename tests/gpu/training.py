"""A detector in training, one step at a time, as the training loop takes it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch

from siod.data.transforms import Augmentation
from siod.methods.method import Moment
from siod.methods.zoo import build_method
from siod.training import loop
from siod.training.arithmetic import matmul_precision
from siod.training.epoch_log import EpochLog
from siod.training.experiment import SGD, Adam, Experiment, Recipe
from siod.training.optim import build_optimiser, build_schedule
from siod.training.phases import phases
from siod.training.step import refuse_nonfinite

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from siod.detectors.detector import Detector
    from siod.detectors.spec import DetectorSpec
    from siod.dminer.dminer import DMiner
    from siod.methods.spec import MethodSpec
    from siod.types import Batch

STEPS = 1000
"""Of the epoch that a step pretends to belong to."""
EPOCH = 2
"""That epoch: from the second on, teachers that follow the student label."""
FIRST_SCALE = 2.0**8
"""Of gradients in fp16. At torch's own of 2^16 the first steps of a run may all overflow, until it has come down."""


def declared(
    spec: DetectorSpec,
    *,
    precision: str = "fp32",
    learning_rate: float = 1e-6,
    dminer: DMiner | None = None,
    method: MethodSpec | None = None,
) -> Experiment:
    """An experiment with the optimiser that the family is trained with; its data and its input size are not read.

    Args:
        spec: The detector.
        precision: As in a recipe.
        learning_rate: So small by default that a random detector stays what it is.
        dminer: The miners.
        method: The method.
    """
    optimiser = Adam() if spec.family == "centernet" else SGD()
    recipe = Recipe(epochs=2 * EPOCH, optimiser=optimiser, learning_rate=learning_rate)
    return Experiment(
        detector=spec,
        dminer=dminer,
        method=method,
        augmentation=Augmentation(input_size=(512, 512)),
        recipe=recipe.with_changes({"precision": precision}),
    )


def kernels(precision: str, device: str) -> AbstractContextManager[None]:
    """Leave oneDNN out of fp16 on a CPU that is checked in place of a GPU, where torch's own kernels take a fifth.

    Args:
        precision: As in a recipe.
        device: That is checked.
    """
    slow = precision == "fp16" and device == "cpu"
    return torch.backends.mkldnn.flags(enabled=False) if slow else nullcontext()


class Trainee:
    """A detector with its optimiser, its method and its logs.

    Args:
        detector: What learns.
        experiment: How.
        device: Where; the detector is moved there.
    """

    def __init__(self, detector: Detector, experiment: Experiment, device: str) -> None:
        self.experiment = experiment
        self.device = torch.device(device)
        self.detector = detector.to(self.device).to(memory_format=torch.channels_last).train()
        method = build_method(experiment.method, self.detector)
        if experiment.method is not None and experiment.method.needs_teacher():
            method.receive_teacher(self.detector.state_dict())
        (self.phase,) = phases(experiment)
        optimiser = build_optimiser(self.detector, experiment.recipe)
        schedule = build_schedule(optimiser, experiment.recipe, steps_per_epoch=STEPS, epochs=experiment.recipe.epochs)
        half = experiment.recipe.precision == "fp16"
        scaler = torch.amp.GradScaler(self.device.type, init_scale=FIRST_SCALE, enabled=half)
        self.learner = loop.Learner(self.detector, method, self.detector, optimiser, schedule, scaler)
        self.log = EpochLog()
        self.steps = 0

    def rescale(self, scale: float = FIRST_SCALE) -> None:
        """Let gradients in fp16 be scaled by another number from here on."""
        scaler = self.learner.scaler
        scaler.scale(torch.zeros((), device=self.device))  # before its first use it has no scale to change
        scaler.update(scale)

    def step(self, batch: Batch) -> None:
        """One step of the training loop, from the batch on the host to the log."""
        recipe = self.experiment.recipe
        moment = Moment(seed=0, epoch=EPOCH, step=self.steps, steps=STEPS, epochs=recipe.epochs)
        with matmul_precision(self.detector, recipe.precision), kernels(recipe.precision, self.device.type):
            numbers = loop.train_step(
                self.learner,
                batch.to(self.device),
                moment,
                phase=self.phase.at(EPOCH),
                recipe=recipe,
                epoch_log=self.log,
            )
        self.steps += 1
        refuse_nonfinite(numbers, epoch=EPOCH, step=self.steps, last_good="none")

    def found(self) -> Mapping[str, float]:
        """What miners and method found in all steps so far, as in the log of an epoch."""
        return self.log.metrics(world_size=1)
