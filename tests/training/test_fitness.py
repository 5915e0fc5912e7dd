"""A one-cycle schedule that torch cannot make is refused wherever its length becomes known; no other is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from siod.data.source import PreparedData
from siod.errors import UserError
from siod.training import loop
from siod.training.context import InProcess
from siod.training.experiment import Experiment, OneCycle
from siod.training.fitness import fewest_epochs, refuse_short_schedule
from siod.training.optim import build_optimiser, build_schedule
from siod.training.presets import DIGITS_DMINER
from siod.training.run import train


def with_rising(small: Experiment, rising: float, epochs: int) -> Experiment:
    """In batches of four."""
    return small.with_changes({"recipe.schedule": OneCycle(rising=rising), "recipe.epochs": epochs})


@pytest.mark.parametrize(
    ("rising", "epochs", "images", "fewest"),
    [
        (0.1, 2, 20, 3),  # 2 x 5 steps: 0.1 * 10 is 1
        (0.5, 2, 4, 3),
        (0.25, 4, 4, 5),
        (0.05, 4, 20, 5),
    ],
)
def test_a_schedule_without_a_step_to_rise_in_is_refused_with_what_would_do(
    small: Experiment, rising: float, epochs: int, images: int, fewest: int
) -> None:
    experiment = with_rising(small, rising, epochs)
    with pytest.raises(UserError, match=rf"^recipe\.epochs {epochs}: .*; set recipe\.epochs to {fewest}$"):
        refuse_short_schedule(experiment, images=images)
    refuse_short_schedule(with_rising(small, rising, fewest), images=images)


@pytest.mark.parametrize("rising", [0.1, 0.25, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("steps_per_epoch", [1, 2, 4, 7, 10])
def test_what_is_not_refused_is_made_however_short(small: Experiment, rising: float, steps_per_epoch: int) -> None:
    """Tiny runs to try something out begin past the peak, and train."""
    experiment = with_rising(small, rising, 1)
    fewest = fewest_epochs(experiment, images=4 * steps_per_epoch)
    assert fewest == (2 if rising * steps_per_epoch == 1 else 1)
    refuse_short_schedule(with_rising(small, rising, fewest), images=4 * steps_per_epoch)
    optimiser = build_optimiser(nn.Linear(1, 1), experiment.recipe)
    build_schedule(optimiser, experiment.recipe, steps_per_epoch=steps_per_epoch, epochs=fewest)


def test_torch_divides_by_zero_where_it_is_refused() -> None:
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ZeroDivisionError):
        OneCycleLR(optimiser, max_lr=1.0, total_steps=10, pct_start=0.1)


def test_other_schedules_and_unknown_numbers_of_images_are_not_refused(small: Experiment) -> None:
    refuse_short_schedule(small.with_changes({"recipe.schedule": {"kind": "step"}, "recipe.epochs": 1}), images=4)
    refuse_short_schedule(with_rising(small, 0.1, 1), images=0)
    refuse_short_schedule(with_rising(small, 0.1, 1), images=3)  # fewer than a batch are refused elsewhere


def test_the_second_stage_of_staged_training_has_a_schedule_of_its_own(small: Experiment) -> None:
    staged = small.with_changes(
        {
            "recipe.schedule": OneCycle(rising=0.25),
            "dminer": DIGITS_DMINER.with_changes({"staged": {"second_epochs": 4}}),
        }
    )
    with pytest.raises(UserError, match=r"^dminer\.staged\.second_epochs 4: 4 images in batches of 4 make 4 steps, "):
        refuse_short_schedule(staged.with_changes({"recipe.epochs": 9}), images=4)


def test_training_is_refused_before_its_folder_is_made_and_at_the_latest_in_the_loop(
    small: Experiment, small_data: PreparedData, tmp_path: Path, cache_dir: Path
) -> None:
    """Sixteen images in batches of four: 0.25 of four steps is one."""
    experiment = with_rising(small, 0.25, 1)
    with pytest.raises(UserError, match=r"16 images in batches of 4 make 4 steps"):
        train(experiment, small_data, tmp_path / "run", cache_dir=cache_dir)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match=r"16 images in batches of 4 make 4 steps"):
        loop.run(experiment, replace(small_data, train_sizes=()), InProcess(tmp_path, device=torch.device("cpu")))
