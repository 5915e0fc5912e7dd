"""Files and folders that only one process makes in the cache, and the hashes that name them."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from filelock import FileLock

from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
    _add_files(state, str(folder))
    return state.hexdigest()


def _add_files(state: hashlib._Hash, folder: str) -> None:
    """Add the size and time of each file of a folder, then those of its folders; links to folders are not followed."""
    lines, folders = {}, []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir():
                stat = _stat(entry)
                lines[entry.name] = f"{folder}/{entry.name}:{stat.st_size}:{stat.st_mtime_ns}\n"
            elif not entry.is_symlink():
                folders.append(entry.name)
    # One text of all of them: a data set has a hundred thousand.
    state.update("".join(map(lines.__getitem__, sorted(lines))).encode(errors="surrogateescape"))
    for name in sorted(folders):
        _add_files(state, os.path.join(folder, name))  # noqa: PTH118  (a path of text, as the entries have)


def _stat(entry: os.DirEntry[str]) -> os.stat_result:
    """Size and times of a file, or of a link that leads nowhere."""
    try:
        return entry.stat()
    except OSError:
        return entry.stat(follow_symlinks=False)
