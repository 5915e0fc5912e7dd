"""Files that are there whole or not at all: after a crash or a power cut, and on storage that machines share."""

from __future__ import annotations

import errno
import os
import shutil
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Clients of network file systems remember what a folder holds, and what it does not, for up to a minute.
VISIBLE_SECONDS = 90.0
POLL_SECONDS = 0.2
# How file systems without hard links, and links across mounts or of another user's files, are refused.
NO_LINK = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK}
# How file systems answer that write as they please; there is nothing else to ask them for.
NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file under another name that takes its place once it is whole and on the disk.

    Args:
        path: Where it shall stand; its folder is made.

    Yields:
        Where to write it. If that fails, what stood at ``path`` stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two machines may give two processes one number.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        # Without this a power cut may leave the new name with nothing behind it.
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def link_or_copy(source: Path, path: Path) -> None:
    """Let a second name stand for a file; where the file system has no hard links, a copy does.

    Args:
        source: A file that is replaced, never written to.
        path: The second name; what stands there is replaced.
    """
    with replacing(path) as temporary:
        try:
            os.link(source, temporary)
        except OSError as error:
            if error.errno not in NO_LINK:
                raise
            shutil.copyfile(source, temporary)


def wait_until(condition: Callable[[], bool], seconds: float | None = None) -> bool:
    """Wait until a condition holds, such as that a file of another machine is visible here.

    Args:
        condition: Called at once, and again several times a second.
        seconds: For how long; as long as network file systems may need when None.

    Returns:
        False when the time was up first.
    """
    until = time.monotonic() + (VISIBLE_SECONDS if seconds is None else seconds)
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _sync(path: Path) -> None:
    """Have the disk hold what was written to a file, or to a folder's list of names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
    finally:
        os.close(handle)
