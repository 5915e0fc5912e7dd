"""Refuse an experiment that cannot learn from its data, whoever is about to train it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siod.errors import UserError
from siod.training.input_sizes import refuse_unfit_inputs, refuse_vanishing_images
from siod.training.phases import phases
from siod.training.pseudo_labels import refuse_pseudo_labels
from siod.training.scales import refuse_other_scale

if TYPE_CHECKING:
    from siod.data.source import PreparedData
    from siod.training.experiment import Experiment


def refuse_unfit(experiment: Experiment, data: PreparedData) -> None:
    """Refuse what cannot train, has a schedule that cannot be made, or would be judged at another scale.

    The same of the teachers that it needs.

    Args:
        experiment: What is about to be trained.
        data: Its prepared files.

    Raises:
        UserError: A detector cannot take the inputs, images vanish in them, training and judging differ in scale, the
            annotations do not tell what the method is to find, or a teacher is such an experiment, or none at all.
    """
    _refuse_alone(experiment, data)
    try:
        for teacher in experiment.teachers():
            _refuse_alone(teacher, data)
    except UserError as error:
        raise UserError(f"method.teacher: {error}") from error


def _refuse_alone(experiment: Experiment, data: PreparedData) -> None:
    refuse_unfit_inputs(experiment)
    refuse_short_schedule(experiment, images=training_images(data))
    refuse_vanishing_images(experiment, data.train_sizes, data.val_sizes + data.test_sizes)
    refuse_other_scale(
        experiment.augmentation,
        experiment.evaluation,
        data.train_sizes,
        data.val_sizes,
        longest_px=None if data.copies is None else data.copies.longest_px,
        can_shrink=experiment.data.kind != "digits",
    )
    refuse_pseudo_labels(experiment, data)


def training_images(data: PreparedData) -> int:
    """How many images there are to train on; 0 where their sizes were not recorded."""
    return sum(count for _, _, count in data.train_sizes)


def refuse_short_schedule(experiment: Experiment, *, images: int) -> None:
    """Refuse a one-cycle schedule that torch cannot make: where it rises for exactly one step torch divides by zero.

    Args:
        experiment: Its recipe and phases.
        images: It trains on, or more than these; 0 where that is not known, and nothing is refused.

    Raises:
        UserError: A phase has such a number of steps; says how many epochs would do.
    """
    schedule, batch = experiment.recipe.schedule, experiment.recipe.batch_size
    for phase in phases(experiment):
        if not _is_one_step(experiment, images, phase.epochs):
            continue
        field = "recipe.epochs" if phase.first_epoch == 1 else "dminer.staged.second_epochs"
        steps = phase.epochs * (images // batch)
        raise UserError(
            f"{field} {phase.epochs}: {images} images in batches of {batch} make {steps} steps, of which "
            f"recipe.schedule {schedule.model_dump(mode='json')} rises for one, as no schedule can; set {field} to "
            f"{phase.epochs + 1}"
        )


def _is_one_step(experiment: Experiment, images: int, epochs: int) -> bool:
    """Whether the rise of a one-cycle schedule over so many epochs is exactly one step."""
    schedule, steps = experiment.recipe.schedule, epochs * (images // experiment.recipe.batch_size)
    return schedule.kind == "one_cycle" and float(schedule.rising * steps) == 1


def fewest_epochs(experiment: Experiment, *, images: int) -> int:
    """The fewest epochs that can be trained: one, or two where the schedule cannot be made for one.

    Args:
        experiment: Its recipe.
        images: It trains on; 0 where that is not known.

    Returns:
        1 or 2.
    """
    return 2 if _is_one_step(experiment, images, 1) else 1
