"""A search through the real engine: proposed by Optuna, trained by Ray Tune, recorded in MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from ray.util import placement_group_table

from siod.cli.study_status import lines
from siod.tracking.mlflow import Store
from siod.tuning.running.run_config import RunConfig
from siod.tuning.running.runner import run_study
from siod.tuning.searching.best import best_of, tuned
from siod.tuning.space import Choice, Search
from siod.tuning.study import Arm, Study

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from siod.training.experiment import Experiment
    from siod.tuning.running.outcome import StudyOutcome

pytestmark = [pytest.mark.ray, pytest.mark.slow]
# The third learns nothing and is far behind after its first epoch; the fourth is infinite after its first step.
RATES = (4e-3, 2e-3, 1e-9, 1e30)


@pytest.fixture(scope="module")
def study(small: Experiment) -> Study:
    # Recall tells settings apart long before AP does.
    return Study(
        name="rates",
        question="Which rate?",
        base=small.with_changes({"recipe.epochs": 4}),
        arms=(Arm(name="base"),),
        baseline="base",
        objective="ar100_s0",
        space={"recipe.learning_rate": Choice(values=RATES)},
        search=Search(trials=4, sampler="grid", pruner="asha"),
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    new_store(folder)
    return folder


def run(study: Study, runs: Path) -> StudyOutcome:
    return run_study(
        study,
        RunConfig(
            runs_dir=runs, cache_dir=runs / "cache", store_uri=f"sqlite:///{runs / 'mlflow.db'}", max_concurrent=1
        ),
        progress=False,
    )


@pytest.fixture(scope="module")
def outcome(study: Study, runs: Path, ray_session: None) -> StudyOutcome:
    del ray_session
    return run(study, runs)


def test_the_arm_is_trained_at_its_best_once_the_search_is_over(
    study: Study, runs: Path, outcome: StudyOutcome
) -> None:
    assert (outcome.finished, outcome.failed, outcome.unfinished, outcome.abort_reason) == (["base/0"], {}, [], "")
    best = best_of(study, runs / "studies" / "rates")
    final = tuned(study, best)
    rate = final.experiment(final.arm("base"), 0).recipe.learning_rate
    assert rate == best["base"].changes["recipe.learning_rate"]
    store = Store(f"sqlite:///{runs / 'mlflow.db'}")
    (trial,) = store.read_study("rates").trials
    assert (trial.status, trial.params["recipe.learning_rate"]) == ("finished", str(rate))


def test_every_trial_of_the_search_is_recorded_in_the_state_it_ended_in(runs: Path, outcome: StudyOutcome) -> None:
    del outcome
    record = Store(f"sqlite:///{runs / 'mlflow.db'}").read_study("rates.search")
    by_rate = {float(trial.params["recipe.learning_rate"]): trial for trial in record.trials}
    assert {rate: trial.status for rate, trial in by_rate.items() if rate != 2e-3} == {
        4e-3: "finished",
        1e-9: "pruned",
        1e30: "failed",
    }
    pruned = by_rate[1e-9]
    assert 1 <= pruned.epoch < 4
    assert "nan" in by_rate[1e30].error or "inf" in by_rate[1e30].error
    assert {trial.params["seed"] for trial in record.trials} == {"100"}
    told = lines(record, runs / "trials")
    assert sum("pruned" in line for line in told) >= 1


def test_a_second_call_searches_and_trains_nothing(study: Study, runs: Path, outcome: StudyOutcome) -> None:
    del outcome
    again = run(study, runs)
    assert (again.reused, again.finished, again.failed) == (["base/0"], [], {})


def test_another_search_takes_finished_trials_from_the_first(study: Study, runs: Path, outcome: StudyOutcome) -> None:
    del outcome
    space = {"recipe.learning_rate": Choice(values=RATES[:2])}
    other = study.model_copy(
        update={"name": "fewer", "space": space, "search": Search(trials=2, sampler="grid", pruner="none")}
    )
    again = run(other, runs)
    trials = {
        t.params["recipe.learning_rate"]: t
        for t in Store(f"sqlite:///{runs / 'mlflow.db'}").read_study("fewer.search").trials
    }
    first = {
        t.params["recipe.learning_rate"]: t
        for t in Store(f"sqlite:///{runs / 'mlflow.db'}").read_study("rates.search").trials
    }
    assert trials["0.004"].identity == first["0.004"].identity
    assert trials["0.004"].metrics["ap_s"] == first["0.004"].metrics["ap_s"]
    assert again.failed == {}


def test_a_search_of_one_arm_fills_the_machine(
    small: Experiment,
    tmp_path: Path,
    ray_session: None,
    new_store: Callable[[Path], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    del ray_session
    study = Study(
        name="one",
        question="Which rate?",
        base=small.with_changes({"recipe.epochs": 1, "compute.cpus_per_worker": 0.5}),
        arms=(Arm(name="base"),),
        baseline="base",
        space={"recipe.learning_rate": Choice(values=(4e-3, 2e-3))},
        search=Search(trials=2, sampler="grid"),
    )
    run_study(study, RunConfig(runs_dir=tmp_path, cache_dir=tmp_path / "cache", store_uri=new_store(tmp_path)))
    said = capsys.readouterr().err
    assert "one.search: 2 trials at once, each 0.5 CPU; " in said
    assert "one: 1 trial at once, each 0.5 CPU; " in said


def test_a_study_whose_trials_all_fail_alike_is_given_up(small: Experiment, runs: Path, ray_session: None) -> None:
    del ray_session
    wild = small.with_changes({"recipe.learning_rate": 1e30})
    study = Study(
        name="wild", question="?", base=wild, arms=(Arm(name="base"),), baseline="base", seeds=tuple(range(8))
    )
    outcome = run(study, runs)
    assert outcome.abort_reason.startswith("5 trials in a row failed alike: loss term")
    assert len(outcome.failed) == 5
    assert len(outcome.unfinished) == 3


def test_a_pruned_trial_of_ray_train_lets_go_of_its_workers(
    small: Experiment, tmp_path: Path, ray_session: None, new_store: Callable[[Path], str]
) -> None:
    del ray_session
    new_store(tmp_path)
    # Recall leaves zero at the fourth epoch; the rest is long enough to hear of the end before it comes by itself.
    by_workers = {"recipe.epochs": 9, "recipe.batch_size": 2, "compute.carrier": "ray_train", "compute.workers": 2}
    study = Study(
        name="workers",
        question="Which rate?",
        base=small.with_changes(by_workers | {"compute.cpus_per_worker": 0.5}),
        arms=(Arm(name="base"),),
        baseline="base",
        objective="ar100_s0",
        space={"recipe.learning_rate": Choice(values=(4e-3, 1e-9))},
        search=Search(trials=2, sampler="grid", pruner="asha", grace_epochs=5),
    )
    outcome = run(study, tmp_path)
    assert (outcome.finished, outcome.failed) == (["base/0"], {})  # it had the workers of the pruned one
    record = Store(f"sqlite:///{tmp_path / 'mlflow.db'}").read_study("workers.search")
    assert {trial.params["recipe.learning_rate"]: trial.status for trial in record.trials} == {
        "0.004": "finished",
        "1e-09": "pruned",
    }
    assert {group["state"] for group in placement_group_table().values()} == {"REMOVED"}
