"""The optimiser and the learning rate of a phase."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, MultiStepLR, OneCycleLR

if TYPE_CHECKING:
    from torch import nn

    from siod.training.experiment import Recipe, WarmupStep


def build_optimiser(model: nn.Module, recipe: Recipe, *, lr_factor: float = 1.0) -> torch.optim.Optimizer:
    """The recipe's optimiser over the trainable parameters.

    Args:
        model: What to train.
        recipe: Which optimiser, learning rate and weight decay.
        lr_factor: Multiplies the learning rate (a tenth in the second stage of staged training).

    Returns:
        A fresh optimiser.
    """
    rate, decay = recipe.learning_rate * lr_factor, recipe.weight_decay
    groups = _groups(model, recipe, rate)
    # Fused: one pass over all parameters instead of one operation for each tensor.
    if recipe.optimiser.kind == "adam":
        return torch.optim.Adam(groups, lr=rate, weight_decay=decay, fused=True)
    if recipe.optimiser.kind == "adamw":
        return torch.optim.AdamW(groups, lr=rate, weight_decay=decay, fused=True)
    momentum = recipe.optimiser.momentum
    optimiser = torch.optim.SGD(groups, lr=rate, momentum=momentum, weight_decay=decay, fused=True)
    if momentum > 0:
        _begin_momentum(optimiser, [parameter for group in groups for parameter in group["params"]])
    return optimiser


def _groups(model: nn.Module, recipe: Recipe, rate: float) -> list[dict[str, Any]]:
    """The parameters that learn, by rate and decay; one group where all have the same."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            slower = recipe.backbone_factor != 1 and name.startswith("backbone.")
            decays = recipe.optimiser.kind != "adamw" or parameter.dim() > 1
            groups.setdefault((slower, decays), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": rate * (recipe.backbone_factor if slower else 1.0),
            **({} if decays else {"weight_decay": 0.0}),
        }
        for (slower, decays), parameters in groups.items()
    ]


def _begin_momentum(optimiser: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> None:
    """Give each parameter its momentum before the first step.

    torch makes it in the first step, of memory as it is found, for that step to write into. If the gradients of that
    step overflow, the step is skipped, and what was found is taken for momentum in the next one.
    """
    for parameter in parameters:
        # Minus zero is what a sum begins with: adding it changes no number, not even a zero's sign.
        optimiser.state[parameter]["momentum_buffer"] = torch.full_like(parameter, -0.0)


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
    if schedule.kind == "warmup_step":
        return LambdaLR(optimiser, lambda step: _warmup_step(schedule, step, steps_per_epoch))
    return OneCycleLR(
        optimiser,
        max_lr=[group["lr"] for group in optimiser.param_groups],
        total_steps=epochs * steps_per_epoch,
        pct_start=schedule.rising,
        cycle_momentum=False,
    )


def _warmup_step(schedule: WarmupStep, step: int, steps_per_epoch: int) -> float:
    """The share of the learning rate after ``step`` optimiser steps."""
    share = 1.0
    if step < schedule.steps:
        risen = step / schedule.steps if schedule.warmup == "linear" else 0.0
        share = schedule.share + (1 - schedule.share) * risen
    return share * schedule.factor ** sum(step >= epoch * steps_per_epoch for epoch in schedule.milestones)
