"""The learning rate follows the declared schedule, step by step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from siod.training.experiment import SGD, OneCycle, Recipe, StepDecay, WarmupStep
from siod.training.optim import build_optimiser, build_schedule


def rates(recipe: Recipe, *, steps_per_epoch: int, epochs: int, lr_factor: float = 1.0) -> list[float]:
    model = nn.Linear(1, 1)
    optimiser = build_optimiser(model, recipe, lr_factor=lr_factor)
    schedule = build_schedule(optimiser, recipe, steps_per_epoch=steps_per_epoch, epochs=epochs)
    seen = []
    for _ in range(steps_per_epoch * epochs):
        seen.append(optimiser.param_groups[0]["lr"])
        model(torch.ones(1, 1)).sum().backward()
        optimiser.step()
        schedule.step()
    return seen


def test_step_decay_falls_tenfold_at_each_milestone() -> None:
    recipe = Recipe(learning_rate=1.0, schedule=StepDecay(milestones=(1, 3), factor=0.1))
    assert rates(recipe, steps_per_epoch=2, epochs=4) == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_the_paper_decays_after_epochs_90_and_120() -> None:
    seen = rates(Recipe(learning_rate=5e-4), steps_per_epoch=1, epochs=140)
    assert seen[89] == pytest.approx(5e-4)
    assert seen[90] == pytest.approx(5e-5)
    assert seen[119] == pytest.approx(5e-5)
    assert seen[120] == pytest.approx(5e-6)


def test_one_cycle_peaks_at_the_learning_rate_and_ends_near_zero() -> None:
    seen = rates(Recipe(learning_rate=0.2, schedule=OneCycle(rising=0.3)), steps_per_epoch=10, epochs=2)
    assert max(seen) == pytest.approx(0.2)
    assert seen.index(max(seen)) == 5  # 0.3 * 20 steps - 1
    assert seen[-1] < 1e-4


def test_the_second_stage_learns_at_a_tenth() -> None:
    recipe = Recipe(learning_rate=1.0, schedule=StepDecay(milestones=(9,)))
    assert rates(recipe, steps_per_epoch=1, epochs=2, lr_factor=0.1) == pytest.approx([0.1, 0.1])


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    optimiser = build_optimiser(model, Recipe())
    assert [len(group["params"]) for group in optimiser.param_groups] == [1]


def test_a_warm_up_rises_in_a_line_and_decays_at_its_milestones() -> None:
    """Worked by hand: from a half to the whole in 4 steps, then a tenth after epoch 2 of 3 steps each."""
    schedule = WarmupStep(steps=4, share=0.5, milestones=(2,))
    recipe = Recipe(learning_rate=1.0, schedule=schedule)
    wanted = [0.5, 0.625, 0.75, 0.875, 1, 1, 0.1, 0.1, 0.1]
    assert rates(recipe, steps_per_epoch=3, epochs=3) == pytest.approx(wanted)
    constant = recipe.with_changes({"schedule.warmup": "constant"})
    assert rates(constant, steps_per_epoch=3, epochs=3) == pytest.approx([0.5] * 4 + wanted[4:])


def test_sgd_takes_the_steps_of_its_definition() -> None:
    """Two steps on the gradient 1: velocities 1 and 1.9, so the weight falls by 0.1 and by 0.19."""
    model = nn.Linear(1, 1, bias=False)
    before = model.weight.item()
    optimiser = build_optimiser(model, Recipe(learning_rate=0.1, optimiser=SGD(momentum=0.9)))
    for _ in range(2):
        optimiser.zero_grad()
        model(torch.ones(1, 1)).sum().backward()
        optimiser.step()
    assert before - model.weight.item() == pytest.approx(0.29, abs=1e-6)
