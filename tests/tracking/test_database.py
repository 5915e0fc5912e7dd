"""What is read from the database itself is what MLflow's client would have told."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from siod.tracking import mlflow, reading, trial_log
from siod.tracking.database import child_runs, engine_of
from siod.tracking.mlflow import Store
from siod.tracking.records import StudyHeader, StudyRecord
from siod.tracking.trial_log import TrialLog

Header = Callable[..., StudyHeader]


@pytest.fixture(name="study")
def study_of_all_kinds(store: Store, header: Header) -> str:
    """A study with a trial of every kind, beside another study; its run."""
    study = store.start_study(header())
    finished, failed, pruned, _, deleted = (
        begin(store, study, arm, seed)
        for arm, seed in (("base", 0), ("base", 1), ("dminer", 0), ("dminer", 1), ("é", 2))
    )
    finished.log_epoch(1, {"ap_s": 0.1, "train/loss": math.inf, "train/learning_rate": 0.1, "cost/epoch_seconds": 2.0})
    finished.log_epoch(2, {"ap_s": 0.2, "train/loss": math.nan, "train/learning_rate": 0.2, "cost/epoch_seconds": 3.0})
    finished.finish("finished", metrics={"ap_s": 0.2})
    failed.finish("failed", error="the loss is nan")
    pruned.log_epoch(1, {"ap_s": 0.3, "train/loss": -math.inf, "cost/epoch_seconds": 4.0})
    pruned.finish("pruned")
    MlflowClient(store.uri).delete_run(deleted.run_id)
    begin(store, store.start_study(header("other")), "base", 0).log_epoch(1, {"ap_s": 0.9, "cost/epoch_seconds": 9.0})
    return study


def begin(store: Store, study: str, arm: str, seed: int) -> TrialLog:
    settings = {"recipe": {"epochs": 2}, "seed": seed}
    return store.start_trial(study, arm=arm, seed=seed, identity=f"{arm}{seed}", settings=settings, tags={"a": "ü"})


def test_runs_are_those_the_client_finds(store: Store, study: str) -> None:
    client = MlflowClient(store.uri)
    engine = engine_of(client)
    assert engine is not None
    above = client.get_run(study)
    found = client.search_runs([above.info.experiment_id], f"tags.mlflow.parentRunId = '{study}'")
    expected = {run.info.run_id: (dict(run.info), run.data.to_dictionary()) for run in found}
    own = {run.info.run_id: (dict(run.info), run.data.to_dictionary()) for run in child_runs(engine, study)}
    assert len(own) == 4
    assert repr(sorted(own.items())) == repr(sorted(expected.items()))


@pytest.mark.usefixtures("study")
def test_a_record_is_the_same_by_either_way(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    direct = store.read_study("demo")
    for module in (mlflow, reading):
        monkeypatch.setattr(module, "engine_of", lambda _: None)
    assert repr(store.read_study("demo")) == repr(direct)
    assert direct.trials[0].history["ap_s"] == ((1, 0.1), (2, 0.2))


@pytest.mark.usefixtures("study")
@pytest.mark.parametrize("by_client", [False, True])
def test_values_by_epoch_are_read_of_the_arms_asked_for_and_costs_of_all(
    by_client: object, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_client:
        for module in (mlflow, reading):
            monkeypatch.setattr(module, "engine_of", lambda _: None)
    base, _, dminer, _ = store.read_study("demo", curves=lambda _: {"dminer"}).trials
    assert base.history == {"cost/epoch_seconds": ((1, 2.0), (2, 3.0))}
    assert dminer.history == {
        "ap_s": ((1, 0.3),), "cost/epoch_seconds": ((1, 4.0),), "train/loss": ((1, -math.inf),)
    }  # fmt: skip
    assert base.metrics["ap_s"] == 0.2


@pytest.mark.usefixtures("study")
def test_the_arms_asked_for_are_chosen_from_the_record(store: Store) -> None:

    def best(record: StudyRecord) -> set[str]:
        return {max(record.trials, key=lambda trial: trial.metrics.get("ap_s", 0.0)).arm}

    base, _, dminer, _ = store.read_study("demo", curves=best).trials
    assert ("ap_s" in base.history, "ap_s" in dminer.history) == (False, True)


@pytest.mark.parametrize("times", [(1000, 2000), (1000, 1000)], ids=["later", "in_the_same_millisecond"])
def test_of_a_step_recorded_twice_the_last_counts_and_not_the_largest(
    times: tuple[int, int], store: Store, header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = begin(store, store.start_study(header()), "base", 0)
    for time, values in zip(
        times, ({"ap_s": 0.5, "train/loss": 2.0}, {"ap_s": 0.3, "train/loss": math.nan}), strict=True
    ):
        monkeypatch.setattr(trial_log, "_now_ms", lambda time=time: time)
        log.log_epoch(2, values)
    (trial,) = store.read_study("demo").trials
    assert (trial.metrics["ap_s"], trial.history["ap_s"]) == (0.3, ((2, 0.3),))
    assert math.isnan(trial.metrics["train/loss"])
    assert math.isnan(trial.history["train/loss"][0][1])
    (told,) = store.read_study("demo", details=False).trials  # what siod study status shows
    assert told.metrics["ap_s"] == 0.3


def test_a_server_that_tells_a_history_in_any_order_is_read_by_time(
    store: Store, header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = begin(store, store.start_study(header()), "base", 0)
    for time, value in ((1000, 0.5), (2000, 0.3)):
        monkeypatch.setattr(trial_log, "_now_ms", lambda time=time: time)
        log.log_epoch(2, {"ap_s": value})
    for module in (mlflow, reading):
        monkeypatch.setattr(module, "engine_of", lambda _: None)
    by_value = MlflowClient.get_metric_history
    monkeypatch.setattr(
        MlflowClient,
        "get_metric_history",
        lambda client, run, name: sorted(by_value(client, run, name), key=lambda metric: metric.value),
    )
    (trial,) = store.read_study("demo").trials
    assert (trial.metrics["ap_s"], trial.history["ap_s"]) == (0.3, ((2, 0.3),))


def test_a_server_is_asked_by_the_client(tmp_path: Path) -> None:
    assert engine_of(MlflowClient("http://127.0.0.1:9")) is None
    assert engine_of(MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")) is not None
