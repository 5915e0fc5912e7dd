from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from siod.errors import UserError
from siod.training.placement import Node
from siod.tuning.plan import Trial, concurrency, plan

if TYPE_CHECKING:
    from siod.tuning.study import Study


def test_a_plan_holds_every_arm_with_every_seed_one_seed_after_the_other(a_study: Study) -> None:
    trials = plan(a_study)
    assert [trial.name for trial in trials] == ["full/0", "base/0", "dminer/0", "full/1", "base/1", "dminer/1"]
    assert [trial.experiment.seed for trial in trials] == [0, 0, 0, 1, 1, 1]
    assert [trial.experiment.dminer is not None for trial in trials[:3]] == [False, False, True]


def test_all_trials_of_a_plan_learn_different_things(a_study: Study) -> None:
    identities = {trial.experiment.identity("the same data") for trial in plan(a_study)}
    assert len(identities) == 6


def test_a_part_of_a_study_keeps_the_order_of_the_whole(a_study: Study) -> None:
    assert [trial.name for trial in plan(a_study, arms=["dminer", "full"], seeds=[1])] == ["full/1", "dminer/1"]


def test_an_unknown_arm_is_answered_with_the_closest(a_study: Study) -> None:
    with pytest.raises(UserError, match=r"study 'small' has no arm 'dmner'; did you mean 'dminer'\?"):
        plan(a_study, arms=["dmner"])


def test_a_seed_outside_the_study_is_refused(a_study: Study) -> None:
    with pytest.raises(UserError, match="study 'small' has no seed 5; its seeds are 0, 1"):
        plan(a_study, seeds=[0, 5])


def test_an_empty_choice_is_refused(a_study: Study) -> None:
    with pytest.raises(UserError, match="no trial is left"):
        plan(a_study, arms=[])


def asking(trials: tuple[Trial, ...], **compute: float) -> tuple[Trial, ...]:
    settings = {f"compute.{name}": value for name, value in compute.items()}
    return tuple(Trial(trial.arm, trial.seed, trial.experiment.with_changes(settings)) for trial in trials)


def test_as_many_trials_run_at_once_as_the_largest_allows(a_study: Study) -> None:
    trials = plan(a_study)
    small, large = trials[:3], asking(trials[3:], workers=2, cpus_per_worker=2)
    assert concurrency(small, [Node(2)]) == 2
    assert concurrency((*small, *large), [Node(8)]) == 2
    assert concurrency(small, [Node(64)]) == 3
    assert concurrency(small, [Node(64)], limit=1) == 1


def test_a_trial_that_can_never_fit_is_refused_with_what_it_asks_and_what_there_is(a_study: Study) -> None:
    trials = asking(plan(a_study), workers=2, gpus_per_worker=1)
    with pytest.raises(UserError) as caught:
        concurrency(trials, [Node(2)])
    assert str(caught.value) == (
        "full/0 asks for 2 workers of 1 GPU, 1 CPU, which can never fit here (1 node: 2 CPU, 0 GPU); "
        "lower compute.workers, compute.cpus_per_worker, compute.gpus_per_worker or compute.loader_workers"
    )
