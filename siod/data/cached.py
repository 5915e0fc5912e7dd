"""Files and folders that only one process makes in the cache, and the hashes that name them."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def creation_lock(path: Path) -> Iterator[bool]:
    """Hold the lock of a cached file or folder, unless it exists already.

    Args:
        path: Where it is or will be.

    Yields:
        Whether it still has to be made.

    Raises:
        UserError: The cache folder cannot be made.
    """
    if path.exists():
        yield False
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path.parent}: cannot be made ({error.strerror}); name another cache folder") from error
    with FileLock(path.parent / f".{path.name}.lock"):
        yield not path.exists()


def sha256_of(path: Path) -> str:
    """The SHA-256 of an annotation file's content, in hexadecimal.

    Raises:
        UserError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a COCO annotation file") from error


def state_of(folder: Path) -> str:
    """What changes when a file of the folder is added, removed, resized or written again."""
    state = hashlib.sha256()
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            stat = Path(parent, name).stat()
            state.update(f"{parent}/{name}:{stat.st_size}:{stat.st_mtime_ns}\n".encode())
    return state.hexdigest()
