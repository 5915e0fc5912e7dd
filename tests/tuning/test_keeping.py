"""What is in a folder of runs, what may go, and what is set right after a crash or a move."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from siod.json_file import write_json, write_packed_json
from siod.tracking.mlflow import Store
from siod.tracking.records import ArmRecord, StudyHeader
from siod.training import checkpoint
from siod.training.checkpoint import CheckpointFolder, Keep
from siod.training.checkpoint_files import is_trimmed
from siod.training.run_lock import locked
from siod.tuning.keeping.inventory import Inventory, take_inventory
from siod.tuning.keeping.pruning import find_removable, remove
from siod.tuning.keeping.repairing import repair

WEIGHTS, MOMENTS = 4_000, 200_000  # bytes


@pytest.fixture
def store(new_store: Callable[[Path], str], tmp_path: Path) -> Store:
    return Store(new_store(tmp_path))


def trained(runs: Path, name: str, *, epochs: int = 3, best: int = 1, keep: Keep = "best") -> Path:
    """The folder of a run as the loop leaves it before it has a result: two epochs and the best."""
    folder = runs / "trials" / name
    checkpoints = CheckpointFolder(folder / "checkpoints")
    for epoch in range(1, epochs + 1):
        state = {
            "model": {"weights": torch.full((WEIGHTS // 4,), float(epoch))},
            "optimiser": {"state": {0: {"exp_avg": torch.zeros(MOMENTS // 4)}}},
            "epoch": epoch,
        }
        checkpoints.add(epoch, state, is_best=epoch <= best)
    compute = {} if keep == "best" else {"keep_checkpoints": keep}
    write_json(folder / "experiment.json", {"identity": name, "experiment": {"compute": compute}})
    return folder


def finished(runs: Path, name: str, *, best: int = 1, keep: Keep = "best") -> Path:
    """The folder of a run that an earlier version has finished."""
    folder = trained(runs, name, best=best, keep=keep)
    write_packed_json(folder / "detections.json.gz", [{"image_id": 1}])
    write_json(folder / "result.json", {"ap_s": 0.5})
    return folder


def record(store: Store, **states: str) -> str:
    """A study whose trials have these identities and states."""
    arms = tuple(ArmRecord(name, name) for name in states)
    study = store.start_study(StudyHeader(name="demo", question="?", arms=arms, baseline=arms[0].name))
    for name, state in states.items():
        log = store.start_trial(study, arm=name, seed=0, identity=name, settings={})
        if state != "running":
            log.finish(state)  # type: ignore[arg-type]  (a loop forgets the literal)
    return study


def inventory_of(runs: Path, store: Store | None = None) -> Inventory:
    return take_inventory(runs, {} if store is None else store.trials())


def epochs_in(folder: Path) -> dict[str, int]:
    return {path.name: checkpoint.load(path)["epoch"] for path in (folder / "checkpoints").iterdir()}


def test_each_trial_is_listed_with_its_state_and_who_knows_it(tmp_path: Path, store: Store) -> None:
    finished(tmp_path, "done")
    for name in ("ended", "broken", "cut", "alone"):
        trained(tmp_path, name)
    record(store, done="finished", ended="pruned", broken="failed", cut="running")
    with locked(trained(tmp_path, "held"), None):
        found = {trial.folder.name: trial for trial in inventory_of(tmp_path, store).trials}
    assert {name: trial.state for name, trial in found.items()} == {
        "done": "finished",
        "ended": "pruned",
        "broken": "failed",
        "cut": "interrupted",
        "alone": "interrupted",
        "held": "running",
    }
    assert found["done"].names == ("demo: done/0",)
    assert found["alone"].names == ()


def test_bytes_are_counted_by_kind_and_a_file_of_two_names_once(tmp_path: Path) -> None:
    folder = finished(tmp_path, "done", best=3)
    (folder / "predictions.png").write_bytes(b"p" * 700)
    artifacts = tmp_path / "artifacts" / "demo" / "1" / "artifacts"
    artifacts.mkdir(parents=True)
    os.link(folder / "predictions.png", artifacts / "predictions.png")
    (artifacts / "train.log").write_bytes(b"l" * 90)
    (trial,) = (inventory := inventory_of(tmp_path)).trials
    assert trial.sizes["checkpoints"] == pytest.approx(2 * (WEIGHTS + MOMENTS), rel=0.05)  # best is the last epoch
    assert trial.sizes["pictures"] == 700
    assert trial.sizes["detections"] == (folder / "detections.json.gz").stat().st_size
    assert inventory.beside == {"artifacts": 90}
    assert inventory.bytes == sum(trial.sizes.values()) + 90


@pytest.mark.parametrize(
    ("keep", "best", "left"),
    [
        ("best", 1, {"best.pt": 1, "epoch_0003.pt": 3}),
        ("best", 3, {"best.pt": 3, "epoch_0003.pt": 3}),
        ("last", 1, {"epoch_0003.pt": 3}),
        ("all", 2, {"best.pt": 2, "epoch_0002.pt": 2, "epoch_0003.pt": 3}),
    ],
)
def test_a_finished_run_is_left_what_its_experiment_keeps_and_the_bytes_are_foretold(
    tmp_path: Path, keep: Keep, best: int, left: dict[str, int]
) -> None:
    folder = finished(tmp_path, "done", best=best, keep=keep)
    (found,) = find_removable(tmp_path, inventory_of(tmp_path))
    assert remove([found]) == pytest.approx(found.bytes, rel=0.02)
    assert epochs_in(folder) == left
    assert all(is_trimmed(path) for path in (folder / "checkpoints").iterdir())
    assert {"result.json", "experiment.json", "detections.json.gz"} <= {path.name for path in folder.iterdir()}
    assert find_removable(tmp_path, inventory_of(tmp_path)) == ()


def test_what_would_go_is_named_with_its_file_its_trial_and_why(tmp_path: Path, store: Store) -> None:
    finished(tmp_path, "done", best=1)
    record(store, done="finished")
    (found,) = find_removable(tmp_path, inventory_of(tmp_path, store))
    assert str(found).endswith(
        "MB  demo: done/0 in done: epoch_0002.pt, what epoch_0003.pt, best.pt would go on with "
        "(finished; no run goes on from these)"
    )


def test_what_can_go_on_keeps_all_it_has(tmp_path: Path, store: Store) -> None:
    folders = [trained(tmp_path, name) for name in ("cut", "broken", "alone")]
    record(store, cut="interrupted", broken="failed")
    before = {path: path.stat().st_size for folder in folders for path in folder.rglob("*")}
    assert find_removable(tmp_path, inventory_of(tmp_path, store)) == ()
    assert {path: path.stat().st_size for folder in folders for path in folder.rglob("*")} == before


def test_checkpoints_of_pruned_trials_go_and_those_of_failed_ones_when_they_are_asked_for(
    tmp_path: Path, store: Store
) -> None:
    ended, broken = trained(tmp_path, "ended"), trained(tmp_path, "broken")
    record(store, ended="pruned", broken="failed")
    inventory = inventory_of(tmp_path, store)
    assert [each.folder.name for each in find_removable(tmp_path, inventory)] == ["ended"]
    found = find_removable(tmp_path, inventory, failed=True)
    assert {each.folder.name: each.kind for each in found} == {"ended": "pruned", "broken": "failed"}
    remove(found)
    assert [path.exists() for path in (ended / "checkpoints", broken / "checkpoints")] == [False, False]
    assert (broken / "experiment.json").exists()


def test_a_pruned_trial_that_another_study_goes_on_with_keeps_its_checkpoints(tmp_path: Path, store: Store) -> None:
    trained(tmp_path, "shared")
    record(store, shared="pruned")
    arms = (ArmRecord("base", "base"),)
    other = store.start_study(StudyHeader(name="other", question="?", arms=arms, baseline="base"))
    store.start_trial(other, arm="base", seed=0, identity="shared", settings={}).finish("interrupted")
    assert find_removable(tmp_path, inventory_of(tmp_path, store)) == ()


def test_a_folder_in_which_a_process_trains_by_now_is_left_alone(tmp_path: Path, store: Store) -> None:
    folder = trained(tmp_path, "ended")
    record(store, ended="pruned")
    found = find_removable(tmp_path, inventory_of(tmp_path, store))
    with locked(folder, None):
        assert remove(found) == 0
    assert (folder / "checkpoints" / "epoch_0003.pt").exists()


def test_a_finished_run_whose_last_checkpoint_is_damaged_keeps_all_it_has(tmp_path: Path) -> None:
    folder = finished(tmp_path, "done")
    (folder / "checkpoints" / "epoch_0003.pt").write_bytes(b"damaged")
    assert find_removable(tmp_path, inventory_of(tmp_path)) == ()


def test_detections_that_are_there_packed_go_and_others_stay(tmp_path: Path) -> None:
    twice, once = finished(tmp_path, "twice"), finished(tmp_path, "once")
    for folder in (twice, once):
        write_json(folder / "detections.json", [{"image_id": 1}])
    (once / "detections.json.gz").unlink()
    remove([each for each in find_removable(tmp_path, inventory_of(tmp_path)) if each.kind == "detections"])
    assert not (twice / "detections.json").exists()
    assert (once / "detections.json").exists()


def test_rays_notes_go_unless_their_study_runs(tmp_path: Path) -> None:
    for name in ("ended", "running"):
        write_json(tmp_path / "studies" / name / "tune" / "state.json", {"a": 1})
        (tmp_path / "studies" / name / ".lock").touch()
        (tmp_path / "studies" / name / "optuna.db").write_bytes(b"search")
    with FileLock(tmp_path / "studies" / "running" / ".lock"):
        remove(find_removable(tmp_path, inventory_of(tmp_path)))
    assert [(tmp_path / "studies" / name / "tune").exists() for name in ("ended", "running")] == [False, True]
    assert (tmp_path / "studies" / "ended" / "optuna.db").read_bytes() == b"search"


def test_what_a_dead_process_left_running_is_marked_as_interrupted(tmp_path: Path, store: Store) -> None:
    record(store, cut="running", done="finished")
    (tmp_path / "studies" / "demo").mkdir(parents=True)
    (tmp_path / "studies" / "demo" / ".lock").touch()
    with FileLock(tmp_path / "studies" / "demo" / ".lock"):
        assert list(repair(tmp_path, store)) == []
    assert store.read_study("demo").status == "running"
    (said,) = repair(tmp_path, store)
    assert said == "study demo: no process runs it; marked as interrupted: cut/0, demo"
    study = store.read_study("demo")
    assert study.status == "interrupted"
    assert {trial.arm: trial.status for trial in study.trials} == {"cut": "interrupted", "done": "finished"}
    assert list(repair(tmp_path, store)) == []


def test_a_study_that_another_machine_may_run_is_left_as_it_is(tmp_path: Path, store: Store) -> None:
    record(store, cut="running")
    assert list(repair(tmp_path, store)) == []
    assert store.read_study("demo").trials[0].status == "running"


def unfinished(folder: Path, *, age_seconds: float = 0.0) -> Path:
    file = folder / f".epoch_0003.pt.{'0a' * 16}.tmp"
    file.write_bytes(b"half")
    os.utime(file, (time.time() - age_seconds,) * 2)
    return file


def test_files_that_were_never_finished_go_and_what_was_learnt_stays(tmp_path: Path, store: Store) -> None:
    folder = trained(tmp_path, "cut")
    file = unfinished(folder / "checkpoints")
    assert list(repair(tmp_path, store)) == [f"{file}: was never finished; deleted"]
    assert epochs_in(folder) == {"best.pt": 1, "epoch_0002.pt": 2, "epoch_0003.pt": 3}


def test_a_file_that_is_being_written_stays(tmp_path: Path, store: Store) -> None:
    folder, old = trained(tmp_path, "held"), trained(tmp_path, "old")
    young, aged = unfinished(folder / "checkpoints"), unfinished(old / "checkpoints", age_seconds=7200)
    with locked(folder, None):
        assert list(repair(tmp_path, store)) == [f"{aged}: was never finished; deleted"]
    assert young.exists()


def test_a_folder_in_which_nothing_was_learnt_goes(tmp_path: Path, store: Store) -> None:
    kept, done = trained(tmp_path, "cut"), finished(tmp_path, "done")
    empty = tmp_path / "trials" / "empty"
    write_json(empty / "experiment.json", {"identity": "empty"})
    (empty / ".lock").touch()
    assert list(repair(tmp_path, store)) == [f"{empty}: nothing was learnt here yet; deleted"]
    assert [path.exists() for path in (kept, done, empty)] == [True, True, False]
