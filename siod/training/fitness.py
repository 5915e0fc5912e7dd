"""Refuse an experiment that cannot learn from its data, whoever is about to train it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siod.training.input_sizes import refuse_unfit_inputs, refuse_vanishing_images
from siod.training.scales import refuse_other_scale

if TYPE_CHECKING:
    from siod.data.source import PreparedData
    from siod.training.experiment import Experiment


def refuse_unfit(experiment: Experiment, data: PreparedData) -> None:
    """Refuse inputs a detector cannot take, images that vanish in them, and judging at another scale than training.

    Args:
        experiment: What is about to be trained.
        data: Its prepared files.

    Raises:
        UserError: It cannot train on these images, or would be judged at another scale.
    """
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
