"""What a study needs of disk and shared memory, counted by hand beside what is told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from siod.detectors.zoo import build
from siod.methods.mean_teacher import MeanTeacher
from siod.training.experiment import SGD, Recipe
from siod.tuning.planning.plan import Trial, plan
from siod.tuning.planning.room import MOMENTS, Room, room_for

if TYPE_CHECKING:
    from typing import Any

    from siod.training.experiment import Experiment
    from siod.tuning.study import Study


def room(study: Study, slots: int = 1, **changes: Any) -> Room:
    """Of the two seeds of the base arm, with some settings changed."""
    trials = plan(study, arms=["base"])
    return room_for([replace(each, experiment=each.experiment.with_changes(changes)) for each in trials], slots)


@pytest.fixture(scope="module")
def weights(small: Experiment) -> int:
    """Bytes of the detector's weights and running statistics, with a head for COCO's categories."""
    return sum(each.nbytes for each in build(small.detector, num_classes=80).state_dict().values())


def test_trials_leave_weights_and_hold_three_checkpoints_with_adams_two_moments(a_study: Study, weights: int) -> None:
    assert weights > 10**6
    found = room(a_study)
    assert found.left_bytes == 2 * 2 * weights  # of two trials, the last and the best epoch
    assert found.running_bytes == 3 * 3 * weights  # of one: two epochs and the best, three numbers a weight
    assert found.disk_bytes == 13 * weights
    assert room(a_study, slots=2).running_bytes == 2 * 3 * 3 * weights


@pytest.mark.parametrize(("keep", "files"), [("last", 1), ("best", 2), ("all", 5)])
def test_what_is_kept_decides_what_is_left(a_study: Study, weights: int, keep: str, files: int) -> None:
    found = room(a_study, **{"compute.keep_checkpoints": keep, "recipe.epochs": 5})
    assert found.left_bytes == 2 * files * weights


def test_momentum_is_one_number_a_weight_and_a_method_has_a_second_detector(a_study: Study, weights: int) -> None:
    assert room(a_study, **{"recipe.optimiser": SGD()}).running_bytes == 3 * 2 * weights
    taught = room(a_study, method=MeanTeacher())
    assert (taught.left_bytes, taught.running_bytes) == (2 * 2 * 2 * weights, 3 * (2 + 2) * weights)


def test_batches_that_are_made_ahead_lie_in_shared_memory(a_study: Study) -> None:
    assert room(a_study).shared_bytes == 0  # no loader processes
    sizes = {"augmentation.input_size": (96, 64), "evaluation.input_size": (32, 32), "evaluation.batch_size": 2}
    found = room(a_study, slots=2, **{**sizes, "compute.loader_workers": 3})
    assert found.shared_bytes == 2 * 3 * 2 * 4 * 3 * 96 * 64  # trials, processes, ahead, images, channels, pixels


def test_trials_are_told_apart_by_their_detector(a_study: Study, weights: int) -> None:
    (trial, *_) = plan(a_study, arms=["base"])
    larger = trial.experiment.with_changes({"detector.base_width": 64})
    assert room_for([trial, Trial(trial.arm, 1, larger)], 1).left_bytes > 4 * weights


def test_every_optimiser_is_counted() -> None:
    declared = Recipe.model_json_schema()["properties"]["optimiser"]["discriminator"]["mapping"]
    assert set(MOMENTS) == set(declared)
