"""A store that is moved or copied keeps its pictures, and a copy never looks into the store it was copied from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from siod.errors import UserError
from siod.tracking.mlflow import Store
from siod.tracking.records import Gallery, GalleryImage, StudyHeader, StudyRecord, TrueBox
from siod.tracking.trial_log import TrialLog

Header = Callable[..., StudyHeader]
PICTURE = b"a picture"


def begin(store: Store, study: str, seed: int = 0) -> TrialLog:
    return store.start_trial(study, arm="base", seed=seed, identity=f"{seed}d", settings={"seed": seed})


@pytest.fixture
def recorded(store: Store, header: Header, tmp_path: Path) -> str:
    """A study with one finished trial and a picture in its gallery; the id of the trial's run."""
    study = store.start_study(header())
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(PICTURE)
    shown = Gallery(("zero",), (GalleryImage(7, "images/a.jpg", 96, 64, (TrueBox(1, 2, 3, 4, 0),)),))
    store.log_gallery(study, shown, tmp_path)
    log = begin(store, study)
    log.log_json("environment.json", {"python": "3.11"})
    log.log_json("gallery.json", {"7": [[1, 2, 3, 4, 0.5, 0]]})
    log.finish("finished", metrics={"ap_s": 0.5})
    store.finish_study(study, "finished")
    return log.run_id


def what_files_hold(record: StudyRecord) -> tuple[object, ...]:
    (trial,) = record.trials
    return record.gallery_files, trial.found, record.environment


def store_in(folder: Path) -> Store:
    return Store(f"sqlite:///{folder / 'mlflow.db'}")


def test_a_moved_store_shows_what_it_showed(store: Store, recorded: str, tmp_path: Path) -> None:
    before = store.read_study("demo")
    moved = tmp_path / "an other place" / "runs"
    moved.parent.mkdir()
    (tmp_path / "runs").rename(moved)
    after = store_in(moved).read_study("demo")
    assert what_files_hold(after) == what_files_hold(before)
    assert after.gallery_files == {7: PICTURE}
    assert after.trials[0].artifact_uri == (moved / "artifacts" / "demo" / recorded / "artifacts").as_uri()


def test_a_copy_shows_its_own_files_and_not_those_of_the_original(store: Store, recorded: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "runs", copy)
    (picture,) = copy.glob("artifacts/demo/*/artifacts/gallery/images/7.jpg")
    picture.write_bytes(b"of the copy")
    assert store_in(copy).read_study("demo").gallery_files == {7: b"of the copy"}
    assert store.read_study("demo").gallery_files == {7: PICTURE}
    shutil.rmtree(copy / "artifacts" / "demo" / recorded)
    assert store_in(copy).read_study("demo").environment == {}  # the original still has it


def test_a_copy_is_written_to_and_the_original_is_not(
    store: Store, recorded: str, header: Header, tmp_path: Path
) -> None:
    del store, recorded
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "runs", copy)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")}
    (tmp_path / "log.txt").write_text("epoch 1")
    copied = store_in(copy)
    study = copied.start_study(header())
    for log in (begin(copied, study), begin(copied, study, seed=1)):
        log.log_file(tmp_path / "log.txt", "logs")
        log.log_text("note.txt", "of the copy")
        place = copy / "artifacts" / "demo" / log.run_id / "artifacts"
        assert (place / "logs" / "log.txt").read_text() == "epoch 1"
        assert (place / "note.txt").read_text() == "of the copy"
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")} == before


def test_a_repaired_copy_is_shown_by_mlflow_itself(store: Store, recorded: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "runs", copy)
    copied = store_in(copy)
    assert copied.repair() == 2  # the study's run and the trial's
    assert copied.repair() == 0
    client = MlflowClient(copied.uri)
    run = client.get_run(recorded)
    assert run.info.artifact_uri == (copy / "artifacts" / "demo" / recorded / "artifacts").as_uri()
    assert client.get_experiment(run.info.experiment_id).artifact_location == (copy / "artifacts" / "demo").as_uri()
    assert MlflowClient(store.uri).get_run(recorded).info.artifact_uri.startswith((tmp_path / "runs").as_uri())


@pytest.mark.parametrize("folder", ["runs", "my runs", "50%", "what?", "läufe"])
def test_a_store_where_it_was_made_needs_no_repair(
    new_store: Callable[[Path], str], header: Header, tmp_path: Path, folder: str
) -> None:
    new_store(tmp_path / folder)
    store = Store(f"sqlite:///{str(tmp_path / folder / 'mlflow.db').replace('%', '%25').replace('?', '%3F')}")
    begin(store, store.start_study(header()))
    assert store.repair() == 0


def test_addresses_that_siod_did_not_choose_are_left_alone(store: Store, recorded: str, tmp_path: Path) -> None:
    del recorded
    client, place = MlflowClient(store.uri), (tmp_path / "big" / "artifacts" / "own").as_uri()
    own = client.create_experiment("somebody's", artifact_location=place)
    run = client.create_run(own).info
    assert store.repair() == 0
    client = MlflowClient(store.uri)
    assert client.get_experiment(own).artifact_location == place
    assert client.get_run(run.run_id).info.artifact_uri == f"{place}/{run.run_id}/artifacts"


def test_a_database_that_was_moved_alone_says_what_is_missing(store: Store, recorded: str, tmp_path: Path) -> None:
    del store, recorded
    (tmp_path / "alone").mkdir()
    (tmp_path / "runs" / "mlflow.db").rename(tmp_path / "alone" / "mlflow.db")
    with pytest.raises(
        UserError, match=r"alone/artifacts/demo/.*lacks the study's study\.json.*put the folder artifacts"
    ):
        store_in(tmp_path / "alone").read_study("demo")


def test_a_linked_artifact_takes_no_room_of_its_own_and_keeps_its_content(
    store: Store, header: Header, tmp_path: Path
) -> None:
    log = begin(store, store.start_study(header()))
    (tmp_path / "found.json").write_text("[1]")
    (tmp_path / "train.log").write_text("epoch 1\n")
    log.log_file(tmp_path / "found.json", link=True)
    log.log_file(tmp_path / "train.log")
    place = tmp_path / "runs" / "artifacts" / "demo" / log.run_id / "artifacts"
    assert (place / "found.json").samefile(tmp_path / "found.json")
    with (tmp_path / "train.log").open("a") as more:
        more.write("epoch 2\n")
    assert (place / "train.log").read_text() == "epoch 1\n"
