"""The optimiser and the learning rate of a phase."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, OneCycleLR

if TYPE_CHECKING:
    from torch import nn

    from siod.training.experiment import Recipe


def build_optimiser(model: nn.Module, recipe: Recipe, *, lr_factor: float = 1.0) -> torch.optim.Adam:
    """Adam over the trainable parameters, the paper's optimiser.

    Args:
        model: What to train.
        recipe: Learning rate and weight decay.
        lr_factor: Multiplies the learning rate (a tenth in the second stage of staged training).

    Returns:
        A fresh optimiser.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # One pass over all parameters instead of one operation for each tensor.
    return torch.optim.Adam(
        parameters, lr=recipe.learning_rate * lr_factor, weight_decay=recipe.weight_decay, fused=True
    )


def build_schedule(
    optimiser: torch.optim.Optimizer, recipe: Recipe, *, steps_per_epoch: int, epochs: int
) -> LRScheduler:
    """The learning rate per step; ``step()`` is called after every optimiser step.

    Args:
        optimiser: Carries the peak learning rate.
        recipe: Which schedule.
        steps_per_epoch: Optimiser steps in an epoch.
        epochs: Epochs of the phase.

    Returns:
        A scheduler counted in steps.
    """
    schedule = recipe.schedule
    if schedule.kind == "step":
        return MultiStepLR(optimiser, [epoch * steps_per_epoch for epoch in schedule.milestones], gamma=schedule.factor)
    return OneCycleLR(
        optimiser,
        max_lr=optimiser.param_groups[0]["lr"],
        total_steps=epochs * steps_per_epoch,
        pct_start=schedule.rising,
        cycle_momentum=False,
    )
