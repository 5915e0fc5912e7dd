"""A study's cost is added up from what runs of the same shape took."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from siod.data.annotation_sets import Full
from siod.training.experiment import Experiment
from siod.training.placement import Node, placed
from siod.training.presets import DIGITS_DMINER, digits_centernet
from siod.tuning.planning.estimate import Measured, estimate, measure_runs, shape_of

MIB = 2**20


def left_behind(runs: Path, name: str, experiment: Experiment, epochs: list[dict[str, float]]) -> None:
    folder = runs / "trials" / name
    folder.mkdir(parents=True)
    (folder / "experiment.json").write_text(json.dumps({"experiment": experiment.model_dump(mode="json")}))
    (folder / "history.json").write_text(json.dumps(epochs))
    (folder / "result.json").write_text(json.dumps({"ap_s": 0.1}))


def cost(seconds: float, memory: float) -> dict[str, float]:
    return {"cost/epoch_seconds": seconds, "cost/peak_memory_mib": memory, "ap_s": 0.1}


def job(name: str, experiment: Experiment, *, done: bool = False) -> Any:
    return SimpleNamespace(name=name, experiment=experiment, result=lambda: {"ap_s": 0.1} if done else None)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 3},
        {"recipe.epochs": 9},
        {"recipe.learning_rate": 0.1},
        {"annotations": Full()},
        {"compute.max_failures": 4},
        {"evaluation.every_epochs": 5},
    ],
)
def test_what_costs_nothing_does_not_change_the_shape(small: Experiment, changes: dict[str, Any]) -> None:
    assert shape_of(small.with_changes(changes)) == shape_of(small)


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe.batch_size": 8},
        {"recipe.precision": "bf16"},
        {"evaluation.precision": "bf16"},
        {"detector.base_width": 8},
        {"dminer": DIGITS_DMINER},
        {"data.train_images": 32},
        {"compute.cpus_per_worker": 2.0},
    ],
)
def test_what_costs_changes_the_shape(small: Experiment, changes: dict[str, Any]) -> None:
    assert shape_of(small.with_changes(changes)) != shape_of(small)


def test_runs_from_before_anything_was_automatic_are_found_by_their_shape(small: Experiment) -> None:
    # As the version before wrote it: a core, no GPU, no loader process.
    written = digits_centernet().model_dump(mode="json")
    written["compute"] |= {"cpus_per_worker": 1.0, "gpus_per_worker": 0.0, "loader_workers": 0}
    before = shape_of(Experiment.model_validate(written))
    assert shape_of(placed(digits_centernet(), [Node(8)])) == before
    assert shape_of(placed(digits_centernet(), [Node(8, 1)])) != before
    loading = small.with_changes({"compute.loader_workers": 2})
    assert shape_of(loading) != shape_of(small)


def test_a_miners_settings_cost_nothing_but_its_absence_does(small: Experiment) -> None:
    mined = small.with_changes({"dminer": DIGITS_DMINER})
    assert shape_of(mined.with_changes({"dminer.splg.min_similarity": 0.9})) == shape_of(mined)
    assert shape_of(mined.with_changes({"dminer.pgcl": None})) != shape_of(mined)


def test_runs_of_one_shape_are_averaged_and_old_ones_passed_over(small: Experiment, tmp_path: Path) -> None:
    left_behind(tmp_path, "a", small, [cost(2, 100), cost(4, 150)])
    left_behind(tmp_path, "b", small.with_changes({"seed": 1}), [cost(5, 120)])
    left_behind(tmp_path, "c", small.with_changes({"recipe.batch_size": 8}), [{"ap_s": 0.1}])
    left_behind(tmp_path, "d", small.with_changes({"recipe.batch_size": 16}), [{"cost/epoch_seconds": 2.0}])
    (measured,) = measure_runs(tmp_path).values()
    # Means of the runs: 3 and 5 seconds.
    assert (measured.runs, measured.judged_seconds, measured.memory_mib) == (2, 4.0, 150.0)
    sizes = [sum(path.stat().st_size for path in (tmp_path / "trials" / name).iterdir()) for name in "ab"]
    assert measured.disk_bytes == sum(sizes) / 2


def test_runs_of_twelve_epochs_tell_what_thirty_six_will_take(small: Experiment, tmp_path: Path) -> None:
    # Judged after epochs 5, 10 and 12: 7 seconds; the others take 4.
    twelve = small.with_changes({"recipe.epochs": 12, "evaluation.every_epochs": 5})
    plain = {name: number for name, number in cost(4, 100).items() if name != "ap_s"}
    left_behind(tmp_path, "a", twelve, [cost(7, 100) if epoch in (5, 10, 12) else plain for epoch in range(1, 13)])
    (measured,) = measure_runs(tmp_path).values()
    assert (measured.judged_seconds, measured.plain_seconds) == (7.0, 4.0)
    assert measured.seconds(twelve) == 3 * 7 + 9 * 4
    # After 5, 10, ..., 35 and 36, and after the last alone.
    assert measured.seconds(twelve.with_changes({"recipe.epochs": 36})) == 8 * 7 + 28 * 4
    assert measured.seconds(twelve.with_changes({"recipe.epochs": 36, "evaluation.every_epochs": 99})) == 7 + 35 * 4


def test_where_every_epoch_was_judged_none_is_thought_to_take_less(small: Experiment, tmp_path: Path) -> None:
    left_behind(tmp_path, "a", small, [cost(7, 100)])
    (measured,) = measure_runs(tmp_path).values()
    assert measured.seconds(small.with_changes({"recipe.epochs": 4, "evaluation.every_epochs": 2})) == 4 * 7


def test_a_folder_of_runs_that_is_not_there_has_measured_nothing(tmp_path: Path) -> None:
    assert measure_runs(tmp_path / "runs") == {}


def test_the_figures_of_a_study_are_sums_over_what_is_left(small: Experiment) -> None:
    # 10 s an epoch: two epochs are 20 s, three are 30 s. Two slots: 20 + 20 beside 30 is 40 s.
    longer = small.with_changes({"recipe.epochs": 3})
    jobs = [job("a/0", small), job("b/0", longer), job("a/1", small), job("done/0", small, done=True)]
    found = estimate(jobs, {shape_of(small): Measured(1, 10.0, 10.0, 300.0, 5 * MIB)}, slots=2)
    assert found.waiting == ("a/0", "b/0", "a/1")
    assert (found.unknown, found.wall_seconds) == ((), 40.0)
    assert found.cpu_hours == pytest.approx(70 / 3600)
    assert (found.gpu_hours, found.memory_mib, found.disk_bytes) == (0.0, 600.0, 15 * MIB)


def test_workers_count_in_hours_and_memory(small: Experiment) -> None:
    wide = small.with_changes({"compute.workers": 2, "compute.gpus_per_worker": 1})
    found = estimate([job("a/0", wide)], {shape_of(wide): Measured(1, 1800.0, 1800.0, 300.0, 1.0)}, slots=1)
    # Two epochs of half an hour on two workers: 2 worker-hours, a GPU each.
    assert (found.cpu_hours, found.gpu_hours, found.memory_mib) == (2.0, 2.0, 600.0)


def test_what_was_never_measured_is_named_and_left_out(small: Experiment) -> None:
    strange = small.with_changes({"recipe.batch_size": 8})
    jobs = [job("a/0", small), job("b/0", strange)]
    found = estimate(jobs, {shape_of(small): Measured(1, 10.0, 10.0, 300.0, 1.0)}, slots=1)
    assert (found.waiting, found.unknown, found.wall_seconds) == (("a/0", "b/0"), ("b/0",), 20.0)
