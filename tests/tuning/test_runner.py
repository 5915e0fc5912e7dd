"""A study through the real runner: Ray Tune, training, and the MLflow store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from siod.errors import UserError
from siod.json_file import read_json
from siod.tracking.mlflow import Store
from siod.training.checkpoint_files import is_trimmed
from siod.training.machine import this_machine
from siod.training.stopping import Stopped, request_stop
from siod.tuning.planning.jobs import prepare_jobs
from siod.tuning.planning.plan import place_trials, plan
from siod.tuning.running.run_config import RunConfig
from siod.tuning.running.runner import run_study
from siod.tuning.running.single import train_one
from siod.tuning.study import Arm, Study
from siod.tuning.trials.execution import train_job

if TYPE_CHECKING:
    from collections.abc import Callable

    from siod.tracking.records import StudyRecord, TrialRecord
    from siod.tuning.running.outcome import StudyOutcome

pytestmark = [pytest.mark.ray, pytest.mark.slow]

MEASURED = ("train/images_per_second", "cost/epoch_seconds", "cost/peak_memory_mib")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"runs_dir": tmp_path_factory.mktemp("runs"), "cache_dir": tmp_path_factory.mktemp("cache")}


@pytest.fixture(scope="module")
def store(folders: dict[str, Path], new_store: Callable[[Path], str]) -> Store:
    return Store(new_store(folders["runs_dir"]))


@pytest.fixture(scope="module")
def with_a_failure(a_study: Study) -> Study:
    """Three arms that train, and one whose loss is soon not a number."""
    diverging = Arm(name="diverging", changes={"recipe.learning_rate": 1e30})
    return a_study.model_copy(update={"arms": (*a_study.arms, diverging), "seeds": (0,)})


@pytest.fixture(scope="module")
def outcome(with_a_failure: Study, folders: dict[str, Path], store: Store, ray_session: None) -> StudyOutcome:
    del ray_session
    return run_study(
        with_a_failure, RunConfig(**folders, store_uri=store.uri, command="siod study run small"), progress=False
    )


@pytest.fixture(scope="module")
def record(outcome: StudyOutcome, store: Store) -> StudyRecord:
    return store.read_study(outcome.study)


def trial_of(record: StudyRecord, arm: str) -> TrialRecord:
    (trial,) = record.trials_of(arm)
    return trial


def folder_of(folders: dict[str, Path], trial: TrialRecord) -> Path:
    return folders["runs_dir"] / "trials" / trial.identity


def result_in(folder: Path) -> dict[str, float]:
    """The final metrics of a run, without how fast it was."""
    result: dict[str, float] = json.loads((folder / "result.json").read_text())
    for name in MEASURED:
        assert result.pop(name) > 0
    return result


def artifacts_of(trial: TrialRecord) -> Path:
    return Path(trial.artifact_uri.removeprefix("file://"))


def test_a_failing_trial_fails_alone(outcome: StudyOutcome) -> None:
    assert outcome.finished == ["full/0", "base/0", "dminer/0"]
    assert list(outcome.failed) == ["diverging/0"]
    assert "nan" in outcome.failed["diverging/0"].lower()
    assert (outcome.reused, outcome.unfinished, outcome.unrecorded) == ([], [], {})


def test_a_failed_trial_is_recorded_with_its_error_and_without_a_score(record: StudyRecord) -> None:
    failed = trial_of(record, "diverging")
    assert failed.status == "failed"
    assert "nan" in failed.error.lower()
    assert "ap_s" not in failed.metrics
    assert "Traceback" in (artifacts_of(failed) / "traceback.txt").read_text()
    assert record.status == "failed"


def test_a_finished_trial_is_recorded_whole(record: StudyRecord, folders: dict[str, Path]) -> None:
    trial = trial_of(record, "dminer")
    result = result_in(folder_of(folders, trial))
    assert trial.status == "finished"
    assert {name: trial.metrics[name] for name in result} == pytest.approx(result)
    assert [step for step, _ in trial.history["ap_s"]] == [1, 2]
    assert {f"ap_s{threshold}" for threshold in range(10)} <= set(trial.metrics)
    assert {"train/loss", "mining/splg_per_image"} <= set(trial.history)
    assert trial.params["dminer.splg.min_similarity"] == "0.6"
    assert trial.params["recipe.epochs"] == "2"
    assert trial.tags["data_fingerprint"]
    artifacts = {path.name for path in artifacts_of(trial).iterdir()}
    expected = {
        "experiment.json",
        "detections.json.gz",
        "diagnosis.json",
        "annotations.json",
        "environment.json",
        "train.log",
        "gallery.json",
    } | {"predictions.png"}
    assert expected <= artifacts
    (arithmetic,) = read_json(artifacts_of(trial) / "environment.json")["arithmetic"]
    assert (arithmetic["precision"], arithmetic["workers"]) == ("fp32", 1)


def test_the_study_is_recorded_as_it_was_declared(record: StudyRecord, with_a_failure: Study) -> None:
    assert record.command == "siod study run small"
    assert [arm.label for arm in record.arms] == [arm.title for arm in with_a_failure.arms]
    assert record.baseline == "base"
    assert record.gallery is not None
    assert set(record.gallery_files) == {image.id for image in record.gallery.images}
    assert all(image.ground_truth for image in record.gallery.images)


def test_a_trial_learns_in_tune_what_it_learns_without(
    a_study: Study, record: StudyRecord, folders: dict[str, Path], tmp_path: Path
) -> None:
    experiment = a_study.experiment(a_study.arm("base"), 0)
    folder, _ = train_one(experiment, name="base", runs_dir=tmp_path, cache_dir=folders["cache_dir"], progress=False)
    assert folder.name == trial_of(record, "base").identity
    assert result_in(folder) == result_in(folder_of(folders, trial_of(record, "base")))


def test_a_second_run_trains_nothing_and_leaves_the_records_as_they_are(
    with_a_failure: Study, record: StudyRecord, folders: dict[str, Path], store: Store
) -> None:
    arms = ["full", "base", "dminer"]
    again = run_study(with_a_failure, RunConfig(**folders, store_uri=store.uri, arms=arms), progress=False)
    assert again.reused == ["full/0", "base/0", "dminer/0"]
    assert again.finished == []
    after = store.read_study(record.name)
    assert [trial_of(after, arm) for arm in arms] == [trial_of(record, arm) for arm in arms]


def test_a_lost_store_is_filled_again_from_the_folders_of_the_trials(
    with_a_failure: Study, record: StudyRecord, folders: dict[str, Path], tmp_path: Path
) -> None:
    other = Store(f"sqlite:///{tmp_path / 'other.db'}")
    again = run_study(with_a_failure, RunConfig(**folders, store_uri=other.uri, arms=["dminer"]), progress=False)
    assert (again.reused, again.unrecorded) == (["dminer/0"], {})
    old, new = trial_of(record, "dminer"), trial_of(other.read_study(record.name), "dminer")
    assert (new.metrics, new.history, new.params) == (old.metrics, old.history, old.params)


def test_another_study_reuses_what_it_declares_alike(
    a_study: Study, record: StudyRecord, folders: dict[str, Path], store: Store
) -> None:
    arms = (Arm(name="plain", label="another name"),)
    other = Study(name="other", question="?", base=a_study.base, arms=arms, baseline="plain")
    again = run_study(other, RunConfig(**folders, store_uri=store.uri), progress=False)
    assert again.reused == ["plain/0"]
    assert trial_of(store.read_study("other"), "plain").identity == trial_of(record, "base").identity


def test_an_interrupted_trial_continues_from_its_last_epoch(
    a_study: Study, record: StudyRecord, folders: dict[str, Path], store: Store
) -> None:
    folder = folder_of(folders, trial_of(record, "base"))
    expected = result_in(folder)
    shutil.rmtree(folder)
    study = a_study.model_copy(update={"name": "resumed", "seeds": (0,)})
    (trial,) = place_trials(plan(study, arms=["base"]), (this_machine(),))
    (job,) = prepare_jobs([trial], runs_dir=folders["runs_dir"], cache_dir=folders["cache_dir"], baseline="base")
    with pytest.raises(Stopped):
        train_job(job, lambda epoch, metrics: request_stop(folder))
    assert not (folder / "result.json").exists()
    again = run_study(study, RunConfig(**folders, store_uri=store.uri, arms=["base"]), progress=False)
    assert again.finished == ["base/0"]
    assert result_in(folder) == expected
    assert "resuming after epoch 1 of 2" in (folder / "train.log").read_text()
    assert [step for step, _ in trial_of(store.read_study("resumed"), "base").history["ap_s"]] == [1, 2]


def test_a_copied_folder_of_runs_goes_on_and_leaves_the_original_alone(
    with_a_failure: Study, record: StudyRecord, folders: dict[str, Path], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folders["runs_dir"], copy)
    base = trial_of(record, "base")
    (copy / "trials" / base.identity / "result.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in folders["runs_dir"].rglob("*")}
    store = Store(f"sqlite:///{copy / 'mlflow.db'}")
    config = RunConfig(runs_dir=copy, cache_dir=folders["cache_dir"], store_uri=store.uri, arms=["full", "base"])
    again = run_study(with_a_failure, config, progress=False)
    assert (again.reused, again.finished, again.unrecorded) == (["full/0"], ["base/0"], {})
    copied = trial_of(store.read_study(record.name), "base")
    assert (copied.metrics["ap_s"], copied.diagnosis) == (base.metrics["ap_s"], base.diagnosis)
    assert artifacts_of(copied).is_relative_to(copy)
    assert {path: path.stat().st_mtime_ns for path in folders["runs_dir"].rglob("*")} == before


def test_a_finished_trial_is_on_the_disk_once(record: StudyRecord, folders: dict[str, Path]) -> None:
    trial = trial_of(record, "dminer")
    folder = folder_of(folders, trial)
    for name in ("detections.json.gz", "predictions.png", "history.json"):
        assert (artifacts_of(trial) / name).samefile(folder / name)
    assert not (folder / "detections.json").exists()
    kept = list((folder / "checkpoints").iterdir())
    assert {path.name for path in kept} == {"best.pt", "epoch_0002.pt"}
    assert all(is_trimmed(path) for path in kept)


def test_fresh_trains_again(a_study: Study, record: StudyRecord, folders: dict[str, Path], store: Store) -> None:
    folder = folder_of(folders, trial_of(record, "full"))
    expected = result_in(folder)
    study = a_study.model_copy(update={"seeds": (0,)})
    again = run_study(study, RunConfig(**folders, store_uri=store.uri, arms=["full"], fresh=True), progress=False)
    assert again.finished == ["full/0"]
    assert result_in(folder) == expected


def test_workers_of_ray_train_report_their_epochs_through_tune(
    a_study: Study, folders: dict[str, Path], store: Store, ray_session: None, capsys: pytest.CaptureFixture[str]
) -> None:
    del ray_session
    base = a_study.base.with_changes({"compute": {"workers": 2, "cpus_per_worker": 0.5}, "seed": 3})
    study = Study(name="workers", question="?", base=base, arms=(Arm(name="base"),), baseline="base", seeds=(3,))
    outcome = run_study(study, RunConfig(**folders, store_uri=store.uri))
    assert (outcome.finished, outcome.failed) == (["base/3"], {})
    told = [line.split(",")[0] for line in capsys.readouterr().err.splitlines() if "epoch" in line]
    assert told == ["base/3: epoch 1/2", "base/3: epoch 2/2"]
    trial = trial_of(store.read_study("workers"), "base")
    assert [step for step, _ in trial.history["ap_s"]] == [1, 2]
    assert (folder_of(folders, trial) / "ray_train").is_dir()


def test_two_drivers_of_one_study_exclude_each_other(a_study: Study, folders: dict[str, Path], store: Store) -> None:
    folder = folders["runs_dir"] / "studies" / "small"
    folder.mkdir(parents=True, exist_ok=True)
    with (
        FileLock(folder / ".lock"),
        pytest.raises(UserError, match="small: another process is running this study; wait for it or stop it"),
    ):
        run_study(a_study, RunConfig(**folders, store_uri=store.uri), progress=False)


def test_a_trial_that_can_never_fit_is_refused_before_anything_trains(
    a_study: Study, folders: dict[str, Path], store: Store, ray_session: None
) -> None:
    del ray_session
    greedy = a_study.model_copy(
        update={
            "name": "greedy",
            "base": a_study.base.with_changes({"compute.gpus_per_worker": 64, "seed": 9}),
            "seeds": (9,),
        }
    )
    with pytest.raises(UserError, match="full/9 asks for a GPU, and there is none here"):
        run_study(greedy, RunConfig(**folders, store_uri=store.uri), progress=False)
    with pytest.raises(UserError, match="greedy"):  # nothing was recorded
        store.read_study("greedy")


def test_an_address_nobody_listens_on_is_refused_before_the_data_is_made(
    a_study: Study, tmp_path: Path, free_port: int
) -> None:
    with pytest.raises(UserError, match="nobody listens there"):
        run_study(
            a_study,
            RunConfig(
                runs_dir=tmp_path / "runs",
                cache_dir=tmp_path / "cache",
                store_uri="sqlite:///never.db",
                address=f"127.0.0.1:{free_port}",
            ),
            progress=False,
        )
    assert list(tmp_path.iterdir()) == []
