"""What a study needs of a machine besides cores and GPUs: room on the disk, and shared memory for its batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from siod.training.placement import Placement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.training.experiment import Experiment
    from siod.tuning.planning.plan import Trial

MOMENTS = {"adam": 2, "adamw": 2, "sgd": 1}
"""How many numbers an optimiser keeps for each weight."""
RESUMABLE_FILES = 3  # the last two epochs, and the best where that is another
CLASSES = 80  # as many as COCO has: the data need not be there yet
# Of torch's loader: batches that each process makes ahead.
PREFETCHED = 2
CHANNELS = 3
UNKNOWN_PX = (640, 640)
"""The size of an image that keeps its own, as large as COCO's."""


@dataclass(frozen=True)
class Room:
    """What a study needs at most.

    Args:
        left_bytes: Checkpoints that all its trials leave when they have finished.
        running_bytes: Checkpoints of those that run at once, from which they could go on.
        shared_bytes: Shared memory for the batches of those that run at once.
    """

    left_bytes: int
    running_bytes: int
    shared_bytes: int

    @property
    def disk_bytes(self) -> int:
        """What has to be free before the study begins."""
        return self.left_bytes + self.running_bytes


def room_for(trials: Sequence[Trial], slots: int) -> Room:
    """Count what a study needs; its detectors are built, its data are not looked at.

    Args:
        trials: Placed.
        slots: How many run at once.
    """
    weights: dict[str, int] = {}
    for trial in trials:
        detector = trial.experiment.detector
        key = detector.model_dump_json()
        if key not in weights:
            weights[key] = _weight_bytes(trial.experiment)
    sizes = [weights[trial.experiment.detector.model_dump_json()] for trial in trials]
    left = [_left_bytes(trial.experiment, size) for trial, size in zip(trials, sizes, strict=True)]
    running = [_running_bytes(trial.experiment, size) for trial, size in zip(trials, sizes, strict=True)]
    shared = [_shared_bytes(trial.experiment) for trial in trials]
    return Room(sum(left), sum(sorted(running)[-slots:]), sum(sorted(shared)[-slots:]))


def _weight_bytes(experiment: Experiment) -> int:
    from siod.detectors.zoo import build  # noqa: PLC0415  (loads torch)

    state = build(experiment.detector, num_classes=CLASSES).state_dict()
    return sum(each.numel() * each.element_size() for each in state.values())


def _learnt_bytes(experiment: Experiment, weights: int) -> int:
    """A method may keep a second detector: the average of the first, or one beside it."""
    return weights if experiment.method is None else 2 * weights


def _left_bytes(experiment: Experiment, weights: int) -> int:
    files = {"last": 1, "best": 2, "all": experiment.recipe.epochs}[experiment.compute.keep_checkpoints]
    return files * _learnt_bytes(experiment, weights)


def _running_bytes(experiment: Experiment, weights: int) -> int:
    moments = MOMENTS[experiment.recipe.optimiser.kind] * weights
    return RESUMABLE_FILES * (_learnt_bytes(experiment, weights) + moments)


def _shared_bytes(experiment: Experiment) -> int:
    """Batches that wait in shared memory: those of a training set's processes, or of a validation set's."""
    placement = Placement.of(experiment.compute)
    height, width = experiment.augmentation.input_size or UNKNOWN_PX
    judged_height, judged_width = experiment.evaluation.input_size or UNKNOWN_PX
    training = experiment.recipe.batch_size / placement.workers * height * width
    judging = experiment.evaluation.batch_size * judged_height * judged_width
    ahead = placement.workers * placement.loader_workers * PREFETCHED
    return int(ahead * CHANNELS * max(training, judging))
