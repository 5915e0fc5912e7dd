"""Refuse an experiment that cannot learn from its data, whoever is about to train it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siod.errors import UserError
from siod.training.input_sizes import refuse_unfit_inputs, refuse_vanishing_images
from siod.training.pseudo_labels import refuse_pseudo_labels
from siod.training.scales import refuse_other_scale
from siod.training.teachers import teachers_of

if TYPE_CHECKING:
    from siod.data.source import PreparedData
    from siod.training.experiment import Experiment


def refuse_unfit(experiment: Experiment, data: PreparedData) -> None:
    """Refuse what cannot train, or would be judged at another scale; so too of the teachers that it needs.

    Args:
        experiment: What is about to be trained.
        data: Its prepared files.

    Raises:
        UserError: A detector cannot take the inputs, images vanish in them, training and judging differ in scale, the
            annotations do not tell what the method is to find, or a teacher is such an experiment, or none at all.
    """
    _refuse_alone(experiment, data)
    try:
        for teacher in teachers_of(experiment):
            _refuse_alone(teacher, data)
    except UserError as error:
        raise UserError(f"method.teacher: {error}") from error


def _refuse_alone(experiment: Experiment, data: PreparedData) -> None:
    refuse_unfit_inputs(experiment)
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
