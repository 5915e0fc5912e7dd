from __future__ import annotations

import json
import math
import pickle
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from siod.errors import RunError, UserError
from siod.tracking import connection
from siod.tracking.mlflow import Store
from siod.tracking.records import (
    Annotations,
    BoxCounts,
    Diagnosis,
    FoundBox,
    Gallery,
    GalleryImage,
    StudyHeader,
    TrueBox,
)
from siod.tracking.trial_log import TrialLog

Header = Callable[..., StudyHeader]


def begin(store: Store, study: str, arm: str = "base", seed: int = 0, identity: str = "1d") -> TrialLog:
    return store.start_trial(
        study,
        arm=arm,
        seed=seed,
        identity=identity,
        settings={"recipe": {"epochs": 2}, "seed": seed},
        tags={"git_commit": "abc", "data_fingerprint": "f00d"},
    )


def test_a_trial_is_read_back_as_it_was_recorded(store: Store, header: Header) -> None:
    study = store.start_study(header())
    log = begin(store, study)
    log.log_epoch(1, {"ap_s": 0.1, "train/loss": 3.0})
    log.log_epoch(2, {"ap_s": 0.2, "train/loss": 2.0})
    log.finish("finished", metrics={"ap_s": 0.2, "best_ap_s": 0.2})
    store.finish_study(study, "finished")

    record = store.read_study("demo")
    (trial,) = record.trials
    assert record.status == "finished"
    assert (record.question, record.baseline, record.seeds) == ("Does it help?", "base", (0, 1))
    assert [(arm.name, arm.label) for arm in record.arms] == [("base", "SIOD (base)"), ("dminer", "DMiner")]
    assert record.experiment == {"recipe": {"epochs": 2}}
    assert (trial.arm, trial.seed, trial.identity, trial.status, trial.epoch) == ("base", 0, "1d", "finished", 2)
    assert trial.metrics == {"ap_s": 0.2, "train/loss": 2.0, "best_ap_s": 0.2}
    assert trial.history == {
        "ap_s": ((1, 0.1), (2, 0.2)),
        "train/loss": ((1, 3.0), (2, 2.0)),
        "best_ap_s": ((2, 0.2),),
    }
    assert trial.params == {"recipe.epochs": "2", "seed": "0"}
    assert (trial.tags["git_commit"], trial.tags["data_fingerprint"]) == ("abc", "f00d")
    assert trial.started_ms is not None
    assert trial.ended_ms is not None
    assert trial.ended_ms >= trial.started_ms


def test_trials_come_in_the_order_of_the_arms_then_of_the_seeds(store: Store, header: Header) -> None:
    study = store.start_study(header())
    for arm, seed in (("dminer", 1), ("base", 1), ("gone", 0), ("dminer", 0), ("base", 0)):
        begin(store, study, arm, seed)
    assert [(trial.arm, trial.seed) for trial in store.read_study("demo").trials] == [
        ("base", 0),
        ("base", 1),
        ("dminer", 0),
        ("dminer", 1),
        ("gone", 0),
    ]


def test_starting_again_adds_to_the_same_runs(store: Store, header: Header) -> None:
    study = store.start_study(header())
    first = begin(store, study)
    first.log_epoch(1, {"ap_s": 0.1})
    first.finish("interrupted")
    assert store.read_study("demo").trials[0].status == "interrupted"

    assert store.start_study(header()) == study
    second = begin(store, study)
    assert second.run_id == first.run_id
    assert second.epochs() == {1}
    assert [trial.status for trial in store.read_study("demo").trials] == ["running"]
    assert store.read_study("demo").trials[0].ended_ms is None


def test_an_epoch_that_is_repeated_counts_once(store: Store, header: Header) -> None:
    log = begin(store, store.start_study(header()))
    log.log_epoch(1, {"ap_s": 0.1})
    log.log_epoch(2, {"ap_s": 0.9})
    log.log_epoch(2, {"ap_s": 0.2})
    assert store.read_study("demo").trials[0].history["ap_s"] == ((1, 0.1), (2, 0.2))


def test_values_that_are_no_numbers_are_kept(store: Store, header: Header) -> None:
    log = begin(store, store.start_study(header()))
    log.log_epoch(1, {"train/loss": math.nan, "train/size": math.inf})
    history = store.read_study("demo").trials[0].history
    assert math.isnan(history["train/loss"][0][1])
    assert history["train/size"] == ((1, math.inf),)


def test_a_failed_trial_keeps_its_error_until_it_is_started_again(store: Store, header: Header) -> None:
    study = store.start_study(header())
    begin(store, study).finish("failed", error="the loss is nan")
    (failed,) = store.read_study("demo").trials
    assert (failed.status, failed.error) == ("failed", "the loss is nan")
    begin(store, study)
    (again,) = store.read_study("demo").trials
    assert (again.status, again.error) == ("running", "")


def test_a_trial_of_another_identity_takes_the_place_of_the_old_one(store: Store, header: Header) -> None:
    study = store.start_study(header())
    old = begin(store, study, identity="old")
    old.finish("finished", metrics={"ap_s": 0.1})
    assert store.finished_trials(study) == {("base", 0, "old")}
    new = begin(store, study, identity="new")
    assert new.run_id != old.run_id
    assert [trial.identity for trial in store.read_study("demo").trials] == ["new"]
    assert store.finished_trials(study) == frozenset()
    back = begin(store, study, identity="old")
    assert back.run_id == old.run_id
    assert [trial.identity for trial in store.read_study("demo").trials] == ["old"]


def test_a_setting_keeps_the_value_it_was_recorded_with(store: Store, header: Header) -> None:
    log = begin(store, store.start_study(header()))
    log.log_params({"recipe": {"epochs": 9}, "new": 1})
    assert store.read_study("demo").trials[0].params == {"recipe.epochs": "2", "seed": "0", "new": "1"}


def test_a_log_goes_to_another_process_by_pickle(store: Store, header: Header) -> None:
    log = begin(store, store.start_study(header()))
    copy = pickle.loads(pickle.dumps(log))  # noqa: S301  (our own)
    copy.log_epoch(1, {"ap_s": 0.5})
    assert log.epochs() == {1}


def test_artifacts_lie_beside_the_database_wherever_a_process_works(
    store: Store, header: Header, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    log = begin(store, store.start_study(header()))
    log.log_text("train.log", "epoch 1")
    place = tmp_path / "runs" / "artifacts" / "demo" / log.run_id / "artifacts"
    assert (place / "train.log").read_text() == "epoch 1"
    assert (place / "experiment.json").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_relative_address_means_the_same_after_a_change_of_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Store("sqlite:///runs/mlflow.db").uri == f"sqlite:///{tmp_path}/runs/mlflow.db"


def test_trials_are_nested_and_named_for_mlflows_pages(store: Store, header: Header) -> None:
    study = store.start_study(header())
    log = begin(store, study, "dminer", 1)
    client = MlflowClient(store.uri)
    run = client.get_run(log.run_id)
    assert run.info.run_name == "dminer/1"
    assert run.data.tags["mlflow.parentRunId"] == study
    assert run.data.tags["mlflow.source.git.commit"] == "abc"
    assert client.get_experiment(run.info.experiment_id).name == "demo"
    assert client.get_run(study).info.run_name == "demo"


def test_the_gallery_comes_back_with_the_first_finished_seed_of_each_arm(
    store: Store, header: Header, tmp_path: Path
) -> None:
    study = store.start_study(header())
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.JPG").write_bytes(b"a picture")
    shown = Gallery(("zero",), (GalleryImage(7, "images/a.JPG", 96, 64, (TrueBox(1, 2, 3, 4, 0),)),))
    store.log_gallery(study, shown, tmp_path)
    for seed, status in ((0, "failed"), (1, "finished"), (2, "finished")):
        log = begin(store, study, "base", seed)
        log.log_json("gallery.json", {"7": [[1, 2, 3, 4, 0.5, 0]]})
        log.finish(status)  # type: ignore[arg-type]  (a loop forgets the literal)

    record = store.read_study("demo")
    assert record.gallery == Gallery(("zero",), (GalleryImage(7, "7.jpg", 96, 64, (TrueBox(1, 2, 3, 4, 0),)),))
    assert record.gallery_files == {7: b"a picture"}
    assert [trial.found for trial in record.trials] == [None, {7: (FoundBox(1, 2, 3, 4, 0.5, 0),)}, None]


def test_diagnosis_annotations_and_environment_come_back_unless_only_figures_are_asked_for(
    store: Store, header: Header
) -> None:
    study = store.start_study(header())
    told = {"right": [1, 2], "wrong": [3, 0], "scores": [0.5, 1.5], "precision": {"0.50": [1.0]}, "categories": {}}
    for seed in (0, 1):
        log = begin(store, study, "base", seed)
        log.log_epoch(1, {"ap_s": 0.1})
        log.log_json("diagnosis.json", told)
        log.log_json("annotations.json", {"categories": {"cat": {"kept": 3, "hidden": 2, "judged": 1}}})
        log.log_json("environment.json", {"python": f"3.{seed}"})
        log.finish("failed" if seed == 0 else "finished")

    record = store.read_study("demo")
    diagnosis = Diagnosis((1, 2), (3, 0), (0.5, 1.5), {"0.50": (1.0,)}, {})
    assert [trial.diagnosis for trial in record.trials] == [None, diagnosis]
    assert [trial.annotations for trial in record.trials] == [None, Annotations({"cat": BoxCounts(3, 2, 1)})]
    assert record.environment == {"python": "3.1"}
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/#/experiments/\d+", record.address)
    brief = store.read_study("demo", details=False)
    assert [(trial.metrics["ap_s"], dict(trial.history), trial.diagnosis) for trial in brief.trials] == [
        (0.1, {}, None),
        (0.1, {}, None),
    ]


def test_studies_are_listed(store: Store, header: Header) -> None:
    assert store.list_studies() == ()
    store.start_study(header("one"))
    store.start_study(header("two"))
    assert set(store.list_studies()) == {"one", "two"}


def test_a_studys_page_shows_its_present_trials_grouped_by_arm(store: Store, header: Header) -> None:
    study = store.start_study(header())
    begin(store, study, "base", 0, identity="old")
    now = [begin(store, study, arm, 0).run_id for arm in ("base", "dminer")]
    (page,) = store.pages().values()
    client = MlflowClient(store.uri)
    experiment = client.get_experiment_by_name("demo")
    assert page == f"/#/experiments/{experiment.experiment_id}/runs?viewStateShareKey=arms"
    view = json.loads(experiment.tags["mlflow.sharedViewState.arms"])
    found = client.search_runs([experiment.experiment_id], view["searchFilter"])
    assert {run.info.run_id for run in found} == set(now)
    assert view["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "arm"}]
    assert view["selectedColumns"][:3] == ["tags.`seed`", "metrics.`ap_s`", "metrics.`ap_s0`"]


def test_an_unknown_study_is_answered_with_the_closest_name(store: Store, header: Header) -> None:
    store.start_study(header("digits_modules"))
    with pytest.raises(UserError, match=r"no study 'digit_modules'.*did you mean 'digits_modules'\?"):
        store.read_study("digit_modules")


def test_reading_does_not_make_a_store(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run it first with 'siod study run'"):
        Store(f"sqlite:///{tmp_path}/none/mlflow.db").read_study("demo")
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_was_deleted_in_mlflow_says_how_to_bring_it_back(store: Store, header: Header) -> None:
    store.start_study(header())
    client = MlflowClient(store.uri)
    experiment = client.get_experiment_by_name("demo")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    with pytest.raises(UserError, match=f"mlflow experiments restore -x {experiment.experiment_id}"):
        store.start_study(header())


@pytest.mark.parametrize("uri", ["mlruns", "./mlruns", "file:///tmp/mlruns"])
def test_a_folder_is_refused_as_a_store(uri: str) -> None:
    with pytest.raises(UserError, match="write sqlite:///"):
        Store(uri)


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_database_without_a_file_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match="names no file"):
        Store(uri)


def test_a_file_that_is_no_database_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("these are my notes, not a database" * 100)
    with pytest.raises(UserError, match="is no SQLite database, or damaged") as caught:
        Store(f"sqlite:///{tmp_path}/mlflow.db").prepare()
    assert "\n" not in str(caught.value)


def test_a_place_that_cannot_hold_a_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/mlflow\.db: cannot be made"):
        Store(f"sqlite:///{tmp_path}/file/mlflow.db").prepare()


def test_a_server_that_is_not_there_is_named_with_a_remedy(free_port: int) -> None:
    with pytest.raises(UserError, match=rf"127\.0\.0\.1:{free_port}: does not answer .*start it with 'mlflow server"):
        Store(f"http://127.0.0.1:{free_port}").prepare()


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SERVER_SECONDS", 0.2)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with pytest.raises(UserError, match="does not answer"):
            Store(f"http://127.0.0.1:{listener.getsockname()[1]}").prepare()


def test_a_failing_write_is_told_in_one_sentence(store: Store) -> None:
    with pytest.raises(RunError, match=r"tracking store sqlite:.*nothere") as caught:
        TrialLog(store.uri, "nothere").log_epoch(1, {"ap_s": 0.1})
    assert "\n" not in str(caught.value)


def test_passwords_are_not_shown() -> None:
    assert connection.without_password("postgresql://me:secret@host/runs") == "postgresql://me:***@host/runs"


def test_the_module_loads_no_mlflow_before_it_is_used() -> None:
    program = "import sys, siod.tracking.mlflow; print('mlflow' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.slow
def test_processes_that_make_a_store_at_the_same_time_all_succeed(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    program = f"from siod.tracking.mlflow import Store; Store({uri!r}).prepare()"
    started = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    said = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    assert said == [(b"", b"")] * 3
