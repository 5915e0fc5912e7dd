"""All workers go on from one checkpoint that is whole, whatever each of them sees of the folder."""

from __future__ import annotations

import gc
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from forked import run_ranks

from siod import files
from siod.data.source import PreparedData
from siod.errors import RunError, UserError
from siod.training import loop
from siod.training.checkpoint import CheckpointFolder, load
from siod.training.context import InProcess
from siod.training.experiment import Experiment
from siod.training.resume import last_state
from siod.training.stopping import Stopped, request_stop

CPU = torch.device("cpu")

ToldIn = Callable[[str], tuple[Path, list[str]]]


def saved(folder: Path, *epochs: int) -> CheckpointFolder:
    """A folder with a checkpoint of each of some epochs."""
    checkpoints = CheckpointFolder(folder, keep=9)
    for epoch in epochs:
        checkpoints.add(epoch, {"epoch": epoch}, is_best=epoch == 1)
    return checkpoints


def epoch_of(folder: CheckpointFolder) -> int | None:
    state = last_state(folder, InProcess(folder.folder, device=CPU))
    return None if state is None else int(state["epoch"])


def test_a_run_goes_on_from_its_last_epoch_or_starts(tmp_path: Path) -> None:
    assert epoch_of(saved(tmp_path / "none")) is None
    assert epoch_of(saved(tmp_path / "some", 1, 2, 3)) == 3


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_damaged_checkpoint_is_passed_over_and_named(
    tmp_path: Path, kept: float, caplog: pytest.LogCaptureFixture
) -> None:
    folder = saved(tmp_path, 1, 2, 3)
    newest = tmp_path / "epoch_0003.pt"
    content = newest.read_bytes()
    newest.write_bytes(content[: int(kept * len(content))])
    assert epoch_of(folder) == 2
    (warning,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith(f"skipped a checkpoint: {newest}: not a readable checkpoint")


def test_the_best_epoch_is_the_last_resort(tmp_path: Path) -> None:
    folder = saved(tmp_path, 1, 2, 3)
    (tmp_path / "epoch_0001.pt").unlink()
    for epoch in (2, 3):
        (tmp_path / f"epoch_{epoch:04d}.pt").write_bytes(b"")
    assert epoch_of(folder) == 1


def test_a_run_none_of_whose_checkpoints_is_whole_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path, 1, 2)
    for path in folder.newest_first():
        path.write_bytes(b"")
    with pytest.raises(
        UserError, match=r"none of epoch_0002\.pt, epoch_0001\.pt, best\.pt can be read; delete the fold"
    ):
        epoch_of(folder)


@pytest.mark.slow
def test_a_run_whose_last_checkpoint_was_lost_in_a_power_cut_ends_as_an_unbroken_one(
    small: Experiment, small_data: PreparedData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = small.with_changes({"recipe.epochs": 3})
    loop.run(experiment, small_data, InProcess(tmp_path / "unbroken", device=CPU))
    broken = InProcess(tmp_path / "broken", lambda epoch, _: stop_after(2, epoch, tmp_path / "broken"), device=CPU)
    with pytest.raises(Stopped, match="stopped after epoch 2 of 3"):
        loop.run(experiment, small_data, broken)
    (tmp_path / "broken" / "stop").unlink()
    (tmp_path / "broken" / "checkpoints" / "epoch_0002.pt").write_bytes(b"")
    told: list[int] = []
    again = InProcess(tmp_path / "broken", lambda epoch, _: told.append(epoch), device=CPU)
    loop.run(experiment, small_data, again)
    assert told == [1, 2, 3]
    assert "epoch_0002.pt: not a readable checkpoint" in caplog.text
    one, other = weights(tmp_path / "unbroken"), weights(tmp_path / "broken")
    assert len(one) == len(other) > 30
    assert all(torch.equal(one[name], other[name]) for name in one)


def stop_after(last: int, epoch: int, run_dir: Path) -> None:
    if epoch == last:
        request_stop(run_dir)


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    latest = CheckpointFolder(run_dir / "checkpoints").latest()
    assert latest is not None
    model: dict[str, torch.Tensor] = load(latest)["model"]
    return model


def _appear(files_: list[Path], folder: Path) -> threading.Thread:
    """Have files appear in a folder a while later, as a network file system shows what another machine wrote."""

    def appear() -> None:
        time.sleep(2)
        folder.mkdir(parents=True, exist_ok=True)
        for file in files_:
            shutil.copyfile(file, folder / f".{file.name}")
            (folder / f".{file.name}").rename(folder / file.name)

    thread = threading.Thread(target=appear)
    thread.start()
    return thread


def _look(rank: int, folder: Path) -> None:
    files.VISIBLE_SECONDS = 30.0
    for case, late in (("none", True), ("older", True), ("other", True), ("never", False), ("damaged", False)):
        first = folder / case / "0" / "epoch_0002.pt"
        appearing = _appear([first] if late else [], folder / case / "1")
        if not late:
            files.VISIBLE_SECONDS = 1.0
        (folder / f"{case}-{rank}").write_text(_told(CheckpointFolder(folder / case / str(rank)), rank))
        appearing.join()


def _told(folder: CheckpointFolder, rank: int) -> str:
    """The epoch that a worker goes on from, or what it says."""
    try:
        state = last_state(folder, InProcess(folder.folder, None, CPU, rank, 2))
    except (RunError, UserError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing" if state is None else str(state["epoch"])


@pytest.fixture(scope="module")
def told_in(tmp_path_factory: pytest.TempPathFactory) -> ToldIn:
    """The folders of a case, and what each of two workers tells that see different ones."""
    folder = tmp_path_factory.mktemp("cases")
    for case, behind in {"none": (), "older": (1,), "other": (1, 3), "never": (1,), "damaged": (1, 2)}.items():
        saved(folder / case / "0", 1, 2)
        saved(folder / case / "1", *behind)
    for path in CheckpointFolder(folder / "damaged" / "0").newest_first():
        path.write_bytes(b"")
    run_ranks(_look, args=(folder,), nprocs=2)
    return lambda case: (folder / case, [(folder / f"{case}-{rank}").read_text() for rank in range(2)])


@pytest.mark.parametrize("case", ["none", "older", "other"])
def test_a_worker_that_sees_other_checkpoints_takes_the_first_one_s(told_in: ToldIn, case: str) -> None:
    """It sees none, an older one, and one of which the first worker knows nothing."""
    assert told_in(case)[1] == ["2", "2"]


def test_a_file_that_a_worker_never_sees_ends_the_run_on_all_workers_in_one_sentence(told_in: ToldIn) -> None:
    folder, told = told_in("never")
    file = folder / "1" / "epoch_0002.pt"
    sentence = f"worker 1: {file}: does not appear on this machine; put it on storage all nodes share"
    assert told == 2 * [f"RunError: {sentence}"]


def test_that_no_checkpoint_of_the_first_worker_is_whole_is_said_by_all(told_in: ToldIn) -> None:
    folder, told = told_in("damaged")
    sentence = (
        "none of epoch_0002.pt, epoch_0001.pt, best.pt can be read; delete the folder of the run to start it anew"
    )
    assert told == 2 * [f"UserError: {folder / '0'}: {sentence}"]


def _train_and_resume(rank: int, experiment: Experiment, data: PreparedData, folder: Path) -> None:
    loop.run(experiment, data, InProcess(folder / "unbroken", None, CPU, rank, 2))
    broken = folder / "broken"
    with pytest.raises(Stopped):
        loop.run(experiment, data, InProcess(broken, lambda *_: request_stop(broken), CPU, rank, 2))
    # The second worker's machine knows nothing of the folder yet.
    seen = broken if rank == 0 else folder / "behind"
    late = _appear([broken / "checkpoints" / "epoch_0001.pt"], folder / "behind" / "checkpoints")
    loop.run(experiment, data, InProcess(seen, None, CPU, rank, 2))
    late.join()


def _states_in_memory() -> int:
    """Whole checkpoints that something still refers to."""
    found = [entry for entry in gc.get_objects() if type(entry) is dict]
    return sum("format" in entry and "optimiser" in entry and "schedule" in entry for entry in found)


@pytest.mark.slow
def test_a_resumed_run_does_not_keep_what_it_was_restored_from(
    small: Experiment, small_data: PreparedData, tmp_path: Path
) -> None:
    plain = small.with_changes({"dminer": None})
    with pytest.raises(Stopped):
        loop.run(plain, small_data, InProcess(tmp_path, lambda *_: request_stop(tmp_path), device=CPU))
    held: dict[int, int] = {}
    again = InProcess(tmp_path, lambda epoch, _: held.update({epoch: _states_in_memory()}), device=CPU)
    loop.run(plain, small_data, again)
    assert held == {1: 1, 2: 0}


@pytest.mark.slow
def test_a_run_goes_on_to_the_bit_when_a_worker_sees_its_checkpoint_late(
    small: Experiment, small_data: PreparedData, tmp_path: Path
) -> None:
    plain = small.with_changes({"dminer": None})
    run_ranks(_train_and_resume, args=(plain, small_data, tmp_path), nprocs=2)
    one, other = weights(tmp_path / "unbroken"), weights(tmp_path / "broken")
    assert all(torch.equal(one[name], other[name]) for name in one)
