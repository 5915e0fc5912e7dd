"""The folder of a run has one trainer: a person is told at once, a trial waits for as long as the other one lives."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from filelock import FileLock

from siod.errors import RunError, UserError
from siod.training import run_lock
from siod.training.run_lock import locked


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(run_lock, "HEARTBEAT_SECONDS", 0.2)


def hold(folder: Path, seconds: float) -> threading.Thread:
    """Take the lock now and give it back later, without a sign of life: as a file server does for a dead machine."""
    lock = FileLock(folder / ".lock", thread_local=False)
    lock.acquire()
    thread = threading.Timer(seconds, lock.release)
    thread.start()
    return thread


def test_a_person_is_answered_at_once_and_told_who_trains_there(tmp_path: Path) -> None:
    with locked(tmp_path, None):
        began = time.monotonic()
        known = re.escape(f"another process (process {os.getpid()} on {socket.gethostname()}) is training here; wait")
        with pytest.raises(UserError, match=known), locked(tmp_path, None):
            pass
        assert time.monotonic() - began < 5
    with locked(tmp_path, None):  # it can be had again
        pass


def test_the_lock_of_a_machine_that_died_is_waited_for_until_the_file_server_frees_it(tmp_path: Path) -> None:
    dead = hold(tmp_path, 1.0)
    asked: list[float] = []
    with locked(tmp_path, lambda: asked.append(time.monotonic())):
        assert not dead.is_alive() or dead.finished.is_set()
    assert len(asked) > 3
    dead.join()


def test_a_lock_that_is_never_freed_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "TIMEOUT_SECONDS", 1.0)
    (tmp_path / ".holder").write_text("process 7 on elsewhere")
    silent = (
        r"another process \(process 7 on elsewhere\) holds the folder but gave no sign of life for 1 s; .*delete \.lock"
    )
    with FileLock(tmp_path / ".lock"), pytest.raises(RunError, match=silent), locked(tmp_path, lambda: None):
        pass


def test_a_living_trainer_is_waited_for_longer_than_any_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_lock, "TIMEOUT_SECONDS", 1.0)
    with ExitStack() as living:
        living.enter_context(locked(tmp_path, None))
        since = time.monotonic()

        def wait() -> None:
            if time.monotonic() - since > 3.0:
                living.close()

        with locked(tmp_path, wait):
            assert time.monotonic() - since > 3.0


def test_who_waits_can_be_called_off(tmp_path: Path) -> None:
    def stop() -> None:
        raise RunError("stopped as requested")

    with FileLock(tmp_path / ".lock"), pytest.raises(RunError, match="stopped as requested"), locked(tmp_path, stop):
        pass


def test_waiting_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="siod")
    dead = hold(tmp_path, 0.5)
    with locked(tmp_path, lambda: None):
        pass
    dead.join()
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}: waits for another process, which holds the folder"
    ]
