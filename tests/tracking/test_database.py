"""What is read from the database itself is what MLflow's client would have told."""

from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from siod.tracking import mlflow, reading, trial_log
from siod.tracking.database import child_runs, engine_of
from siod.tracking.mlflow import Store
from siod.tracking.records import StudyHeader, StudyRecord
from siod.tracking.sqlite_file import SqliteFile
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


class Unreadable(SqliteFile):
    """As if the file could not be read as one."""

    def _connect(self) -> sqlite3.Connection:
        raise sqlite3.OperationalError("no such table: runs")


@pytest.fixture
def by(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has stores read from their file, from the database that MLflow opened, or as a server is read."""

    def choose(way: str) -> None:
        monkeypatch.setattr(mlflow, "SqliteFile", SqliteFile if way == "file" else Unreadable)
        for module in (mlflow, reading):
            monkeypatch.setattr(module, "engine_of", engine_of if way != "client" else lambda _: None)

    return choose


@pytest.mark.usefixtures("study")
def test_a_record_is_the_same_by_every_way(store: Store, by: Callable[[str], None]) -> None:
    records = {}
    for way in ("file", "database", "client"):
        by(way)
        records[way] = (store.list_studies(), store.pages(), store.read_study("demo"), store.read_study("other"))
    assert len(records["file"][2].trials) == 4
    assert repr(records["file"]) == repr(records["database"]) == repr(records["client"])
    assert records["file"][2].trials[0].history["ap_s"] == ((1, 0.1), (2, 0.2))


@pytest.mark.usefixtures("study")
@pytest.mark.parametrize("way", ["file", "database", "client"])
def test_where_trials_stand_is_read_with_no_more_than_was_asked_for(
    way: str, store: Store, by: Callable[[str], None]
) -> None:
    """Of a file nothing else is read; others tell all they have."""
    by(way)
    whole = store.read_study("demo", details=False)
    record = store.read_standing("demo", metrics=["cost/epoch_seconds"], params=["seed"])
    for trial, complete in zip(record.trials, whole.trials, strict=True):
        assert (trial.arm, trial.seed, trial.status, trial.error, trial.epoch) == (
            complete.arm, complete.seed, complete.status, complete.error, complete.epoch
        )  # fmt: skip
    figures = [{"ap_s": 0.2, "cost/epoch_seconds": 3.0}, {}, {"ap_s": 0.3, "cost/epoch_seconds": 4.0}, {}]
    if way == "file":
        assert [trial.metrics for trial in record.trials] == figures
        assert [trial.params for trial in record.trials] == [{"seed": str(seed)} for seed in (0, 1, 0, 1)]
    else:
        assert repr(record) == repr(whole)


@pytest.mark.usefixtures("study")
@pytest.mark.parametrize("way", ["file", "database", "client"])
def test_values_by_epoch_are_read_of_the_arms_asked_for_and_costs_of_all(
    way: str, store: Store, by: Callable[[str], None]
) -> None:
    by(way)
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


@pytest.mark.parametrize("way", ["file", "database"])
@pytest.mark.parametrize("times", [(1000, 2000), (1000, 1000)], ids=["later", "in_the_same_millisecond"])
def test_of_a_step_recorded_twice_the_last_counts_and_not_the_largest(
    times: tuple[int, int],
    way: str,
    store: Store,
    header: Header,
    *,
    by: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by(way)
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
    store: Store, header: Header, by: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    by("client")
    log = begin(store, store.start_study(header()), "base", 0)
    for time, value in ((1000, 0.5), (2000, 0.3)):
        monkeypatch.setattr(trial_log, "_now_ms", lambda time=time: time)
        log.log_epoch(2, {"ap_s": value})
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


@pytest.mark.usefixtures("study")
def test_a_file_is_read_without_mlflow(store: Store) -> None:
    program = f"""
import sys
from siod.tracking.mlflow import Store
store = Store({store.uri!r})
trials = store.read_study("demo").trials + store.read_standing("demo", metrics=(), params=()).trials
print(len(trials), sorted({{"mlflow", "sqlalchemy", "torch"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("8 []\n", "")


def test_reading_waits_for_who_writes_and_sees_what_was_written(store: Store, header: Header) -> None:
    begin(store, store.start_study(header()), "base", 0).log_epoch(1, {"ap_s": 0.1})
    assert store.database is not None
    writer = sqlite3.connect(store.database, check_same_thread=False)
    writer.execute("BEGIN EXCLUSIVE")
    writer.execute("UPDATE latest_metrics SET value = 0.4 WHERE key = 'ap_s'")
    writer.execute("UPDATE metrics SET value = 0.4 WHERE key = 'ap_s'")
    ending = threading.Timer(0.3, writer.commit)
    ending.start()
    (trial,) = store.read_study("demo").trials
    ending.join()
    writer.close()
    assert trial.metrics["ap_s"] == 0.4


@pytest.mark.usefixtures("study")
def test_artifacts_that_are_kept_elsewhere_are_asked_of_mlflow(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that somebody made with another place for its artifacts."""
    whole = store.read_study("demo")
    assert store.database is not None
    with sqlite3.connect(store.database) as database:
        database.execute("UPDATE runs SET artifact_uri = substr(artifact_uri, length('file://') + 1)")
    monkeypatch.setattr(reading.SqliteFile, "values_by_step", None)  # never reached
    read = store.read_study("demo")
    assert [trial.history for trial in read.trials] == [trial.history for trial in whole.trials]
