"""The learning rate follows the declared schedule, step by step."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from torch import nn

from siod.training.experiment import SGD, Adam, AdamW, OneCycle, Recipe, StepDecay, WarmupStep
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


class Net(nn.Module):
    """A backbone and a head, each with a weight, and a factor that normalises."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head, self.norm = nn.Linear(2, 2, bias=False), nn.Linear(2, 2), nn.LayerNorm(2)


def test_the_backbone_learns_at_its_share_of_the_rate_throughout_the_schedule() -> None:
    recipe = Recipe(learning_rate=0.2, schedule=OneCycle(rising=0.3), optimiser=AdamW(), backbone_factor=0.1)
    model = Net()
    optimiser = build_optimiser(model, recipe)
    schedule = build_schedule(optimiser, recipe, steps_per_epoch=10, epochs=1)
    slow = next(group for group in optimiser.param_groups if group["params"][0] is model.backbone.weight)
    others = [group for group in optimiser.param_groups if group is not slow]
    for _ in range(10):
        assert all(slow["lr"] == pytest.approx(0.1 * group["lr"]) for group in others)
        optimiser.step()
        schedule.step()
    assert len(slow["params"]) == 1


def test_adamw_spares_biases_and_factors_of_normalisation() -> None:
    model = Net()
    optimiser = build_optimiser(model, Recipe(optimiser=AdamW(), learning_rate=0.5, weight_decay=0.1))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    for name, parameter in model.named_parameters():
        share = 0.95 if name in {"backbone.weight", "head.weight"} else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * share)


def test_one_rate_for_all_is_one_group_in_the_model_s_order() -> None:
    """As checkpoints of runs before there were groups have it."""
    model = Net()
    (group,) = build_optimiser(model, Recipe(weight_decay=0.1)).param_groups
    assert all(mine is other for mine, other in zip(group["params"], model.parameters(), strict=True))


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


def poisoned(*shapes: tuple[int, ...]) -> None:
    """Leave memory behind that is full of NaN, for whoever takes it next without writing to it."""
    blocks = [torch.full(shape, torch.nan) for shape in shapes for _ in range(8)]
    del blocks


def train_with_overflow(model: nn.Linear, recipe: Recipe, *, overflows: tuple[bool, ...]) -> torch.optim.Optimizer:
    """Take steps of fp16's scaled gradients, each 1; those that overflow are skipped."""
    optimiser, scaler = build_optimiser(model, recipe), torch.amp.GradScaler("cpu", init_scale=2.0)
    for overflow in overflows:
        poisoned(*(tuple(parameter.shape) for parameter in model.parameters()))
        optimiser.zero_grad()
        loss = model(torch.ones(1, 64)).sum() * (torch.inf if overflow else 1.0)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if recipe.clip_norm is not None:
            scaler.unscale_(optimiser)
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        scaler.step(optimiser)
        scaler.update()
    return optimiser


@pytest.mark.parametrize("optimiser", [SGD(momentum=0.9), SGD(momentum=0.0), Adam()])
@pytest.mark.parametrize("clip_norm", [None, 1e6])
def test_a_first_step_that_overflows_leaves_nothing_behind(optimiser: Adam | SGD, clip_norm: float | None) -> None:
    """The weights are those of a run that began with the second step; memory as it is found is never read."""
    recipe = Recipe(learning_rate=0.5, optimiser=optimiser, clip_norm=clip_norm)
    for _ in range(20):
        skipped, fresh = nn.Linear(64, 64), nn.Linear(64, 64)
        fresh.load_state_dict(skipped.state_dict())
        train_with_overflow(skipped, recipe, overflows=(True, False, False))
        train_with_overflow(fresh, recipe, overflows=(False, False))
        for mine, other in zip(skipped.parameters(), fresh.parameters(), strict=True):
            assert torch.equal(mine, other)


def bits(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    return [tensor.detach().contiguous().view(torch.int32) for tensor in tensors]


@pytest.mark.parametrize("decay", [0.0, 1e-4])
def test_sgd_begins_as_torch_s_own_to_the_bit_also_where_gradients_are_zero(decay: float) -> None:
    """A zero keeps its sign too: minus zero, to which momentum is added, changes nothing."""
    recipe = Recipe(learning_rate=0.1, weight_decay=decay, optimiser=SGD(momentum=0.9))
    ours, theirs = nn.Conv2d(4, 8, 3), nn.Conv2d(4, 8, 3)
    for model in (ours, theirs):
        model.load_state_dict(ours.state_dict())
        model.to(memory_format=torch.channels_last)
    own = build_optimiser(ours, recipe)
    published = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, weight_decay=decay, fused=True)
    draw = torch.Generator().manual_seed(0)
    for _ in range(3):
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            signs = torch.randint(-1, 2, mine.shape, generator=draw)
            mine.grad = torch.empty_like(mine).copy_(torch.randn(mine.shape, generator=draw) * signs)
            other.grad = mine.grad.clone()
        own.step()
        published.step()
        assert all(map(torch.equal, bits(ours.parameters()), bits(theirs.parameters())))
        moments = [[state["momentum_buffer"] for state in one.state.values()] for one in (own, published)]
        assert all(map(torch.equal, bits(moments[0]), bits(moments[1])))
