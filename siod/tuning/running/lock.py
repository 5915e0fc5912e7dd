"""The lock of a study: one process drives it; the system frees the lock when that process ends in any way."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK = ".lock"
# ``siod study status`` holds the lock for an instant.
LOCK_TIMEOUT_SECONDS = 1.0


@contextmanager
def study_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a study for as long as the context lasts.

    Args:
        folder: Of the study; made if it is not there.

    Raises:
        UserError: Another process is running the study, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); name another folder of runs") from error
    try:
        with FileLock(folder / LOCK, timeout=LOCK_TIMEOUT_SECONDS):
            yield
    except Timeout as error:
        raise UserError(f"{folder}: another process is running this study; wait for it or stop it") from error


def abandoned(folder: Path) -> bool:
    """True when the study was run from here and no process holds its lock now.

    Args:
        folder: Of the study. Where it does not exist, as on another machine, nothing can be said: False.
    """
    if not (folder / LOCK).exists():
        return False
    try:
        with FileLock(folder / LOCK, timeout=0):
            return True
    except Timeout:
        return False
