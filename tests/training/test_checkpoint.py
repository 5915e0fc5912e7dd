"""Checkpoints are whole, readable without running code, and few."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest
import torch

from siod.errors import RunError, UserError
from siod.training.checkpoint import CheckpointFolder, Keep, load, refuse_trimmed, save, trim, trimmed_bytes
from siod.training.checkpoint_files import is_trimmed


class _Exploit:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("owned",)


def test_a_saved_state_is_read_back_equal(tmp_path: Path) -> None:
    save(tmp_path / "a.pt", {"weights": torch.arange(3.0), "epoch": 2, "history": [{"ap_s": 0.25}]})
    state = load(tmp_path / "a.pt")
    assert torch.equal(state["weights"], torch.tensor([0.0, 1.0, 2.0]))
    assert state["epoch"] == 2
    assert state["history"] == [{"ap_s": 0.25}]


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(_Exploit(), tmp_path / "bad.pt")
    with pytest.raises(UserError, match=r"bad\.pt: not a readable checkpoint"):
        load(tmp_path / "bad.pt")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04broken"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.pt: not a readable checkpoint"):
        load(tmp_path / "broken.pt")


def test_a_block_that_the_disk_has_lost_is_noticed(tmp_path: Path) -> None:
    save(tmp_path / "a.pt", {"weights": torch.ones(100_000)})
    content = bytearray((tmp_path / "a.pt").read_bytes())
    content[200_000:204_096] = bytes(4096)
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.pt: not a readable checkpoint \(parts of it are lost\)"):
        load(tmp_path / "a.pt")


def test_a_missing_file_and_a_foreign_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such checkpoint"):
        load(tmp_path / "none.pt")
    torch.save({"state_dict": {}}, tmp_path / "foreign.pt")
    with pytest.raises(UserError, match="not a checkpoint of siod"):
        load(tmp_path / "foreign.pt")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    save(tmp_path / "a.pt", {"epoch": 1})
    with pytest.raises(Exception, match="pickle"):
        save(tmp_path / "a.pt", {"epoch": lambda: 2})
    assert load(tmp_path / "a.pt")["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_a_disk_without_room_is_told_with_what_is_free(tmp_path: Path) -> None:
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, usual[1]))  # a file may not grow further, as on a full disk
    try:
        with pytest.raises(RunError, match=r"a\.pt: cannot be written \(\d+ MiB are free there\); free some"):
            save(tmp_path / "a.pt", {"weights": torch.zeros(2**20)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert list(tmp_path.iterdir()) == []


def test_the_last_two_epochs_and_the_best_stay(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    for epoch, is_best in ((1, True), (2, True), (3, False), (4, False)):
        folder.add(epoch, {"epoch": epoch}, is_best=is_best)
    assert [epoch for epoch, _ in folder.epochs()] == [3, 4]
    assert load(folder.best)["epoch"] == 2
    latest = folder.latest()
    assert latest is not None
    assert load(latest)["epoch"] == 4


def test_without_hard_links_the_best_epoch_is_a_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    folder = CheckpointFolder(tmp_path, keep=1)
    for epoch in (1, 2, 3):
        folder.add(epoch, {"epoch": epoch}, is_best=epoch < 3)
    assert load(folder.best)["epoch"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "epoch_0003.pt"]


def test_a_run_that_fell_back_keeps_what_it_saves_and_drops_what_it_could_not_read(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    for epoch in (2, 8, 9):
        save(tmp_path / f"epoch_{epoch:04d}.pt", {"epoch": epoch})
    folder.add(3, {"epoch": 3}, is_best=False)
    assert [epoch for epoch, _ in folder.epochs()] == [2, 3]


def test_an_empty_folder_has_no_latest(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path / "checkpoints").latest() is None


MOMENTS = torch.zeros(50_000)


def train_three(folder: CheckpointFolder, best: int) -> CheckpointFolder:
    """Three epochs, as a loop saves them."""
    for epoch in (1, 2, 3):
        state = {
            "model": {"weights": torch.full((1000,), float(epoch))},
            "method": {"teacher": {"weights": torch.full((1000,), -float(epoch))}},
            "optimiser": {"state": {0: {"exp_avg": MOMENTS, "step": 3}}, "param_groups": [{"lr": 0.1}]},
            "schedule": {"last_epoch": epoch},
            "scaler": {},
            "epoch": epoch,
        }
        folder.add(epoch, state, is_best=epoch <= best)
    return folder


@pytest.mark.parametrize(
    ("keep", "best", "kept"),
    [
        ("best", 2, {"best.pt": 2, "epoch_0003.pt": 3}),
        ("best", 3, {"best.pt": 3, "epoch_0003.pt": 3}),
        ("last", 2, {"epoch_0003.pt": 3}),
        ("all", 1, {"best.pt": 1, "epoch_0001.pt": 1, "epoch_0002.pt": 2, "epoch_0003.pt": 3}),
    ],
)
def test_a_finished_run_keeps_the_weights_that_were_asked_for_and_no_optimiser(
    tmp_path: Path, keep: Keep, best: int, kept: dict[str, int]
) -> None:
    train_three(CheckpointFolder(tmp_path, keep_finished=keep), best).finish()
    states = {path.name: load(path) for path in tmp_path.iterdir()}
    assert {name: state["epoch"] for name, state in states.items()} == kept
    for state in states.values():
        assert {"optimiser", "schedule", "scaler"} & set(state) == set()
        assert torch.equal(state["model"]["weights"], torch.full((1000,), float(state["epoch"])))
        assert torch.equal(state["method"]["teacher"]["weights"], torch.full((1000,), -float(state["epoch"])))
    assert all(path.stat().st_size < 20_000 for path in tmp_path.iterdir())  # two tensors of 4,000 bytes


def test_the_best_epoch_takes_no_room_of_its_own_where_another_file_is_the_same(tmp_path: Path) -> None:
    folder = train_three(CheckpointFolder(tmp_path), best=3)
    folder.finish()
    assert folder.best.samefile(tmp_path / "epoch_0003.pt")


def test_a_run_goes_on_from_its_last_two_epochs_also_where_all_are_kept(tmp_path: Path) -> None:
    folder = train_three(CheckpointFolder(tmp_path, keep_finished="all"), best=1)
    assert [is_trimmed(path) for _, path in folder.epochs()] == [True, False, False]
    assert not is_trimmed(folder.best)


def test_finishing_twice_changes_nothing_more(tmp_path: Path) -> None:
    folder = train_three(CheckpointFolder(tmp_path), best=2)
    folder.finish()
    once = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    folder.finish()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == once


def test_what_trimming_takes_is_told_beforehand(tmp_path: Path) -> None:
    folder = train_three(CheckpointFolder(tmp_path), best=2)
    (_, first), (_, last) = folder.epochs()
    before = last.stat().st_size
    assert trimmed_bytes(last) == MOMENTS.numel() * 4
    trim(last, load(last))
    assert before - last.stat().st_size == pytest.approx(MOMENTS.numel() * 4, rel=0.02)
    assert trimmed_bytes(last) == 0
    assert not is_trimmed(first)


def test_none_goes_on_from_what_was_kept_of_a_finished_run(tmp_path: Path) -> None:
    folder = train_three(CheckpointFolder(tmp_path), best=2)
    (_, first), (_, last) = folder.epochs()
    refuse_trimmed(load(first))
    trim(last, load(last))
    with pytest.raises(UserError, match=r"epoch 3 was kept of a finished run, and none can go on from it; delete the"):
        refuse_trimmed(load(last))


def test_a_run_whose_last_checkpoint_is_damaged_keeps_all_it_has(tmp_path: Path) -> None:
    folder = train_three(CheckpointFolder(tmp_path), best=2)
    (tmp_path / "epoch_0003.pt").write_bytes(b"damaged")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    folder.finish()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_damaged_best_checkpoint_does_not_keep_a_run_from_finishing(tmp_path: Path) -> None:
    folder = train_three(CheckpointFolder(tmp_path), best=1)
    folder.best.write_bytes(b"damaged")
    folder.finish()
    assert folder.best.read_bytes() == b"damaged"
    assert [is_trimmed(path) for _, path in folder.epochs()] == [True]
