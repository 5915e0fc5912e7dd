"""Checkpoints are whole, readable without running code, and few."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest
import torch

from siod.errors import RunError, UserError
from siod.training.checkpoint import CheckpointFolder, load, save


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
