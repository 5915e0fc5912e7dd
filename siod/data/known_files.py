"""What is known of annotation files and image folders from looking at them before, until they change.

Hashing COCO's annotations takes a second and reading them ten. What was found is kept beside the derived data: the hash
of a file under its path, for as long as size, times and inode stay; what the file says, under its hash.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from siod.data import coco
from siod.data.cached import sha256_of, state_of
from siod.data.stated_sets import stated_set
from siod.errors import UserError
from siod.json_file import write_json
from siod.value import digest

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from siod.data.coco import CocoDataset

FOLDER = "known"
TICK_NS = 20_000_000
"""File systems that tell fractions of a second count time in steps of 10 ms or less."""
COARSE_TICK_NS = 2_000_000_000
"""Others count in steps of up to two seconds."""
SECOND_NS = 1_000_000_000

Record = TypeVar("Record", bound=msgspec.Struct)


class _Hashed(msgspec.Struct, frozen=True):
    """A file when it was hashed: whatever of this changes, it is hashed again."""

    path: str
    size: int
    modified_ns: int
    changed_ns: int
    inode: int
    sha256: str = ""


class Content(msgspec.Struct, frozen=True):
    """What planning asks of an annotation file.

    Args:
        images: How many it lists; 0 where that cannot be read.
        stated: The annotation set that it says it is, as :func:`siod.data.stated_sets.stated_set` names it.
    """

    images: int
    stated: str


class _Read(msgspec.Struct):
    """All that is read of an annotation file for that."""

    images: list[msgspec.Raw] = []
    info: Any = None


class KnownFiles:
    """Looks at files once; what is remembered of one that changed is forgotten.

    Safe to use from several processes at once: each may look at a file that none knows, and finds the same.

    Args:
        cache_dir: What is known is kept below it. Where it cannot be written, every process looks for itself.
    """

    def __init__(self, cache_dir: Path) -> None:
        self._folder = cache_dir / FOLDER
        self._states: dict[Path, str] = {}
        self._datasets: dict[Path, CocoDataset] = {}

    def sha256(self, path: Path) -> str:
        """The SHA-256 of a file's content, in hexadecimal.

        Raises:
            UserError: It cannot be read.
        """
        record = self._record_of(path)
        known = _read_record(record, _Hashed)
        if known is not None and known == _as_it_is(path, known.sha256):
            return known.sha256
        before, settled = _settled(path)
        sha256 = sha256_of(path)
        if settled and before is not None and before == _as_it_is(path):
            self._remember(record, msgspec.structs.replace(before, sha256=sha256))
        return sha256

    def dataset(self, path: Path) -> CocoDataset:
        """A sound annotation file, read once until :meth:`release`.

        Raises:
            UserError: As :func:`siod.data.coco.read`.
        """
        sha256 = self.sha256(path)
        found = self._datasets.get(path)
        if found is None or found.sha256 != sha256:
            found = coco.read(path)
            if found.sha256 != sha256:
                self._record_of(path).unlink(missing_ok=True)
                raise UserError(f"{path}: was written to while it was read; run again when it is finished")
            self._datasets[path] = found
            self._remember(self._folder / f"sound.{sha256}.json", {})
        return found

    def is_sound(self, path: Path) -> bool:
        """Whether an annotation file can be read without repair.

        Raises:
            UserError: It cannot be opened.
        """
        if (self._folder / f"sound.{self.sha256(path)}.json").exists():
            return True
        try:
            self.dataset(path)
        except UserError:
            return False
        return True

    def release(self) -> None:
        """Let go of the data sets that were read."""
        self._datasets.clear()

    def content(self, path: Path) -> Content:
        """What an annotation file says.

        Args:
            path: The file; nothing is found in one that is no COCO file.

        Raises:
            UserError: It cannot be read.
        """
        record = self._folder / f"content.{self.sha256(path)}.json"
        known = _read_record(record, Content)
        if known is None:
            known = content_of(path)
            self._remember(record, known)
        return known

    def state_of(self, folder: Path) -> str:
        """As :func:`siod.data.cached.state_of`; each folder is looked at once in the life of this object."""
        if folder not in self._states:
            self._states[folder] = state_of(folder)
        return self._states[folder]

    def _record_of(self, path: Path) -> Path:
        return self._folder / f"{digest(str(path))}.json"

    def _remember(self, path: Path, record: msgspec.Struct | dict[str, Any]) -> None:
        with suppress(OSError):  # a cache that only can be read does as well, more slowly
            write_json(path, record)


def content_of(path: Path) -> Content:
    """Read what an annotation file says, whether it was read before or not.

    Raises:
        UserError: It cannot be read.
    """
    try:
        read = msgspec.json.decode(path.read_bytes(), type=_Read)
        return Content(len(read.images), stated_set({"info": read.info}))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a COCO annotation file") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Content(0, "")


def _read_record(path: Path, kind: type[Record]) -> Record | None:
    """A record that is there and whole."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _as_it_is(path: Path, sha256: str = "") -> _Hashed | None:
    """A file as it is now; None where it cannot be looked at."""
    try:
        stat: os.stat_result = path.stat()
    except OSError:
        return None
    return _Hashed(str(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, sha256)


def _settled(path: Path) -> tuple[_Hashed | None, bool]:
    """A file as it is now, and whether any later change would show in its times.

    A change within the same step of the file system's clock would not. Such a step is waited for if it is short.
    """
    state = _as_it_is(path)
    if state is not None and 0 < (left := _step_left_ns(state)) <= TICK_NS:
        time.sleep(left / SECOND_NS)
        state = _as_it_is(path)
    return state, state is not None and _step_left_ns(state) <= 0


def _step_left_ns(state: _Hashed) -> int:
    """How long the step of the file system's clock may last in which a file was changed, in nanoseconds."""
    tick = TICK_NS if state.changed_ns % SECOND_NS else COARSE_TICK_NS
    return tick - (time.time_ns() - state.changed_ns)
