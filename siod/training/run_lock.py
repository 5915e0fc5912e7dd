"""The lock of a run's folder, with a heartbeat file that tells a long run from a dead one."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from siod.errors import RunError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

log = logging.getLogger("siod")

LOCK, HOLDER = ".lock", ".holder"
POLL_SECONDS = 1.0
HEARTBEAT_SECONDS = 30.0
# A file server holds the locks of a machine that died for about 90 s, as long again after a start of its own, and
# times of files are seen up to a minute late.
TIMEOUT_SECONDS = 300.0


@contextmanager
def locked(run_dir: Path, wait: Callable[[], None] | None) -> Iterator[None]:
    """Hold the lock of a run's folder for as long as the context lasts.

    Args:
        run_dir: An existing folder.
        wait: Called every second while another process holds the folder; without it that is refused.

    Raises:
        UserError: The folder is in use and ``wait`` is None.
        RunError: The folder is in use by a process without a heartbeat for ``TIMEOUT_SECONDS``.
    """
    lock = FileLock(run_dir / LOCK)
    _acquire(lock, run_dir, wait)
    try:
        with _heartbeat(run_dir / HOLDER):
            yield
    finally:
        lock.release()


def _acquire(lock: FileLock, run_dir: Path, wait: Callable[[], None] | None) -> None:
    seen, since, logged = None, time.monotonic(), False
    while True:
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            if wait is None:
                sentence = f"{_holder(run_dir)} is training here; wait for it or name another folder"
                raise UserError(f"{run_dir}: {sentence}") from error
        else:
            return
        if not logged:
            log.info("%s: waits for %s, which holds the folder", run_dir, _holder(run_dir))
            logged = True
        beat = _last_heartbeat(run_dir)
        if beat != seen:
            seen, since = beat, time.monotonic()
        if time.monotonic() - since > TIMEOUT_SECONDS:
            silent = f"{_holder(run_dir)} holds the folder but gave no sign of life for {TIMEOUT_SECONDS:.0f} s"
            raise RunError(f"{run_dir}: {silent}; see that it is gone, delete {LOCK} there and run again")
        wait()
        time.sleep(POLL_SECONDS)


@contextmanager
def _heartbeat(path: Path) -> Iterator[None]:
    """Write into a file who holds the folder, and touch it regularly for as long as the context lasts."""
    path.write_text(f"process {os.getpid()} on {socket.gethostname()}")
    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):  # the run itself reports a full disk or a lost folder
                os.utime(path)

    thread = threading.Thread(target=beat, name="sign of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        path.unlink(missing_ok=True)


def _last_heartbeat(run_dir: Path) -> int | None:
    try:
        return (run_dir / HOLDER).stat().st_mtime_ns
    except OSError:
        return None


def _holder(run_dir: Path) -> str:
    try:
        return f"another process ({(run_dir / HOLDER).read_text()})"
    except OSError:
        return "another process"
