from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from siod.data.source import CocoFolder
from siod.errors import UserError
from siod.training.experiment import Compute
from siod.training.placement import Node, Placement
from siod.tuning.planning.plan import (
    Capacity,
    Trial,
    confirm_cpu,
    long_trials_on_cpu,
    place_trials,
    plan,
    refuse_hours_without_gpus,
    refuse_uncomputable,
)
from siod.tuning.space import Float, Search

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.tuning.study import Study


def described(capacity: Capacity, trials: Sequence[Trial]) -> tuple[str, ...]:
    return capacity.describe(trials, capacity.slots(trials))


def test_a_plan_holds_every_arm_with_every_seed_one_seed_after_the_other(a_study: Study) -> None:
    trials = plan(a_study)
    assert [trial.name for trial in trials] == ["full/0", "base/0", "dminer/0", "full/1", "base/1", "dminer/1"]
    assert [trial.experiment.seed for trial in trials] == [0, 0, 0, 1, 1, 1]
    assert [trial.experiment.dminer is not None for trial in trials[:3]] == [False, False, True]


def test_all_trials_of_a_plan_learn_different_things(a_study: Study) -> None:
    identities = {trial.experiment.identity("the same data") for trial in plan(a_study)}
    assert len(identities) == 6


def test_an_arm_may_have_fewer_seeds_than_the_study(a_study: Study) -> None:
    arms = tuple(arm.with_changes({"seeds": 1}) if arm.name == "full" else arm for arm in a_study.arms)
    trials = plan(a_study.with_changes({"arms": arms}))
    assert [trial.name for trial in trials] == ["full/0", "base/0", "dminer/0", "base/1", "dminer/1"]


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
    assert Capacity([Node(2)]).slots(small) == 2
    assert Capacity([Node(8)]).slots((*small, *large)) == 2
    assert Capacity([Node(64)]).slots(small) == 3
    assert Capacity([Node(64)], limit=1).slots(small) == 1


def test_a_trial_that_can_never_fit_is_refused_with_what_it_asks_and_what_there_is(a_study: Study) -> None:
    trials = asking(plan(a_study), workers=2, gpus_per_worker=1)
    with pytest.raises(UserError) as caught:
        Capacity([Node(2, 1)]).slots(trials)
    assert str(caught.value) == (
        "full/0 asks for 2 workers of 1 GPU, 1 CPU, which can never fit here (1 node: 2 CPU, 1 GPU); "
        "lower compute.workers, compute.cpus_per_worker, compute.gpus_per_worker or compute.loader_workers"
    )


def test_a_gpu_that_nobody_has_is_refused_with_the_options_that_ask_for_one(a_study: Study) -> None:
    with pytest.raises(UserError) as caught:
        Capacity([Node(2), Node(4)]).slots(asking(plan(a_study), gpus_per_worker=1))
    assert str(caught.value) == (
        "full/0 asks for a GPU, and there is none here (2 nodes: 2 CPU, 0 GPU; 4 CPU, 0 GPU); leave out --device cuda "
        "and --gpus-per-worker, or set compute.gpus_per_worker to 0"
    )


def test_arithmetic_that_a_cpu_lacks_is_refused_before_anything_is_paid_for(a_study: Study) -> None:
    in_tf32 = a_study.model_copy(update={"base": a_study.base.with_changes({"recipe.precision": "tf32"})})
    trials = place_trials(plan(in_tf32), [Node(2)])
    with pytest.raises(UserError, match=r"recipe\.precision is tf32, which cpu does not compute in; set it to fp32"):
        refuse_uncomputable(trials, here=False)
    # What a GPU of another machine has is not known here.
    refuse_uncomputable(place_trials(asking(plan(in_tf32), gpus_per_worker=1), [Node(2, 1)]), here=False)


FOUR_GPUS = (Node(cpus=36, gpus=4),)


@pytest.fixture(scope="module")
def automatic(a_study: Study) -> tuple[Trial, ...]:
    """Trials that say nothing about where they run."""
    return tuple(
        Trial(trial.arm, trial.seed, trial.experiment.model_copy(update={"compute": Compute()}))
        for trial in plan(a_study)
    )


def test_all_trials_of_a_study_are_placed_once_for_the_machines(automatic: tuple[Trial, ...]) -> None:
    trials = place_trials(automatic, FOUR_GPUS)
    assert {Placement.of(trial.experiment.compute) for trial in trials} == {Placement(1, 9, 1, 8)}
    assert [trial.name for trial in trials] == [trial.name for trial in automatic]
    assert Capacity(FOUR_GPUS).slots(trials) == 4
    assert Capacity(FOUR_GPUS).describe(trials, 4) == (
        "4 trials at once, each 1 GPU, 9 CPU (8 loader processes); nothing idle",
    )


def test_each_kind_of_trial_is_told_with_its_arms(automatic: tuple[Trial, ...]) -> None:
    pairs = asking(automatic[2:3], workers=2)
    trials = place_trials((*automatic[:2], *pairs), FOUR_GPUS)
    # The pairs take two GPUs each, so that two trials run at once, also where they are single ones.
    assert described(Capacity(FOUR_GPUS), trials) == (
        "full, base: 2 trials at once, each 1 GPU, 9 CPU (8 loader processes); idle: 2 GPU, 18 CPU",
        "dminer: 2 trials at once, each 2 workers of 1 GPU, 9 CPU (8 loader processes); nothing idle",
    )


def test_a_limit_or_want_of_trials_leaves_gpus_idle_and_says_so(automatic: tuple[Trial, ...]) -> None:
    trials = place_trials(automatic, FOUR_GPUS)
    assert described(Capacity(FOUR_GPUS, limit=1), trials)[0].endswith("idle: 3 GPU, 27 CPU")
    assert described(Capacity(FOUR_GPUS), trials[:3])[0].startswith("3 trials at once")
    assert described(Capacity(FOUR_GPUS), trials[:3])[0].endswith("idle: 1 GPU, 9 CPU")


def test_a_search_fills_the_machines_though_it_has_one_arm(automatic: tuple[Trial, ...]) -> None:
    arm = place_trials(automatic[:1], FOUR_GPUS)
    assert Capacity(FOUR_GPUS).slots(arm, count=40) == 4
    assert Capacity(FOUR_GPUS).slots(arm, count=3) == 3
    assert Capacity(FOUR_GPUS, limit=2).slots(arm, count=40) == 2


def test_a_cluster_that_grows_refuses_nothing_and_runs_all_at_once(automatic: tuple[Trial, ...]) -> None:
    asked = asking(automatic, gpus_per_worker=1)
    with pytest.raises(UserError, match="asks for a GPU, and there is none here"):
        Capacity([Node(4)]).slots(place_trials(asked, [Node(4)]))
    trials = place_trials(asked, [Node(4)], autoscale=True)
    assert Capacity([Node(4)], autoscale=True).slots(trials) == 6
    assert Capacity([Node(4)], autoscale=True, limit=3).slots(trials) == 3
    assert described(Capacity([Node(4)], autoscale=True), trials) == (
        "6 trials at once, each 1 GPU, 4 CPU (3 loader processes); the autoscaler starts the machines",
    )


def test_a_cluster_that_grows_must_be_told_of_gpus_that_are_not_there_yet(automatic: tuple[Trial, ...]) -> None:
    with pytest.raises(UserError, match=r"no machine of the cluster has a GPU yet, .*--gpus-per-worker 1"):
        place_trials(automatic, [Node(4)], autoscale=True)
    # Those that are there say what the others will be.
    assert Placement.of(place_trials(automatic, FOUR_GPUS, autoscale=True)[0].experiment.compute).gpus == 1


def test_several_workers_on_a_cluster_that_grows_need_a_limit(automatic: tuple[Trial, ...]) -> None:
    trials = place_trials(asking(automatic, workers=2, gpus_per_worker=1), [Node(4)], autoscale=True)
    with pytest.raises(UserError, match=r"full/0 has several workers, .*--max-concurrent"):
        Capacity([Node(4)], autoscale=True).slots(trials)
    assert Capacity([Node(4)], autoscale=True, limit=2).slots(trials) == 2
    assert Capacity([Node(4)], autoscale=True).slots(trials[:1]) == 1


def test_a_search_limited_in_gpu_hours_is_refused_where_it_gets_no_gpu(a_study: Study) -> None:
    tuned = {
        "base": a_study.base.model_copy(update={"compute": Compute()}),
        "space": {"recipe.learning_rate": Float(low=1e-4, high=1e-2)},
        "search": Search(trials=2, gpu_hours=1),
    }
    study = type(a_study).model_validate({**dict(a_study), **tuned})
    refuse_hours_without_gpus(study, place_trials(plan(study), FOUR_GPUS))
    with pytest.raises(UserError, match=r"search\.gpu_hours: arm 'full' is given no GPU here; .*search\.hours instead"):
        refuse_hours_without_gpus(study, place_trials(plan(study), [Node(8)]))


@pytest.fixture
def large(automatic: tuple[Trial, ...], tmp_path: Path) -> Trial:
    """A trial of 1,000 epochs over 60 images at 512 px, 1.6e10 pixels, that says nothing about where it runs."""
    (tmp_path / "annotations").mkdir()
    for split in ("train", "val"):
        images = [{"id": number, "file_name": "x.png", "height": 8, "width": 8} for number in range(60)]
        (tmp_path / "annotations" / f"instances_{split}.json").write_text(json.dumps({"images": images}))
        (tmp_path / split).mkdir()
    changes = {"data": CocoFolder(root=tmp_path), "augmentation.input_size": (512, 512), "recipe.epochs": 1000}
    return Trial(automatic[0].arm, 0, automatic[0].experiment.with_changes(changes))


def test_somebody_has_to_say_yes_before_a_large_trial_trains_on_cpu_cores(large: Trial) -> None:
    on_cpu, on_gpu = place_trials([large], [Node(8)]), place_trials([large], FOUR_GPUS)
    asked: list[str] = []
    confirm_cpu(on_gpu, None)
    confirm_cpu(on_cpu, lambda question: asked.append(question) is None)
    assert asked == ["1 trial of COCO's size (1.6e+10 pixels of input; digits have 1e8) would train on CPU cores"]
    for no in (None, lambda question: False):
        with pytest.raises(UserError, match=r"would train on CPU cores; run it where a GPU is, .*--device cpu"):
            confirm_cpu(on_cpu, no)


def test_small_trials_and_files_that_do_not_read_ask_nothing(automatic: tuple[Trial, ...], large: Trial) -> None:
    assert long_trials_on_cpu(place_trials(automatic, [Node(8)])) is None
    (large.experiment.data.root / "annotations" / "instances_train.json").write_text("{")
    assert long_trials_on_cpu(place_trials([large], [Node(8)])) is None
