"""What is in a folder of runs: each trial's folder with its state, and bytes by kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from filelock import FileLock, Timeout

from siod.training.checkpoint_files import CHECKPOINTS
from siod.training.results import RESULT
from siod.training.run_lock import HOLDER, LOCK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from siod.tracking.records import TrialRecord

TRIALS, STUDIES = "trials", "studies"
KINDS = ("checkpoints", "detections", "pictures", "records")
PICTURES = {".png", ".jpg", ".jpeg", ".svg"}
State = Literal["finished", "running", "interrupted", "pruned", "failed"]


@dataclass(frozen=True)
class TrialFolder:
    """The folder of one run.

    Args:
        folder: Of the run, named by its identity.
        state: What became of it; ``running`` while a process holds its lock.
        names: ``STUDY: ARM/SEED`` of each study that records it; empty for a run of ``siod train``.
        sizes: Bytes by kind (``KINDS``); a file with several names counts where it is met first.
    """

    folder: Path
    state: State
    names: tuple[str, ...]
    sizes: Mapping[str, int]


@dataclass(frozen=True)
class Inventory:
    """A folder of runs.

    Args:
        trials: The folders of runs, by name.
        beside: Bytes of all else, by the name of the entry: the artifacts, the reports, the tracking store, ...
    """

    trials: tuple[TrialFolder, ...]
    beside: Mapping[str, int]

    @property
    def bytes(self) -> int:
        """All bytes."""
        return sum(sum(trial.sizes.values()) for trial in self.trials) + sum(self.beside.values())


def take_inventory(runs_dir: Path, recorded: Mapping[str, Sequence[TrialRecord]]) -> Inventory:
    """Look at everything in a folder of runs.

    Args:
        runs_dir: Absolute.
        recorded: The trials that each study has recorded, by its name.

    Returns:
        What is there.
    """
    of_identity: dict[str, list[TrialRecord]] = {}
    for trials in recorded.values():
        for trial in trials:
            of_identity.setdefault(trial.identity, []).append(trial)
    seen: set[tuple[int, int]] = set()
    found = tuple(_trial(folder, of_identity.get(folder.name, ()), seen) for folder in trial_folders(runs_dir))
    beside = {
        entry.name: sum(size for _, size in _files(entry, seen))
        for entry in (sorted(runs_dir.iterdir()) if runs_dir.is_dir() else ())
        if entry.name != TRIALS
    }
    return Inventory(found, {name: size for name, size in beside.items() if size})


def trial_folders(runs_dir: Path) -> list[Path]:
    """The folders of all runs, by name."""
    return sorted(path for path in (runs_dir / TRIALS).glob("*") if path.is_dir())


def is_held(folder: Path) -> bool:
    """Whether a process trains in a run's folder, on this machine or another.

    Args:
        folder: Of the run.
    """
    if not (
        folder / HOLDER
    ).exists():  # it is there for as long as the lock is held; a process that was killed leaves it
        return False
    try:
        with FileLock(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True


def bytes_in(folder: Path) -> int:
    """What a folder takes; a file with several names counts once."""
    return sum(size for _, size in _files(folder, set()))


def _trial(folder: Path, records: Sequence[TrialRecord], seen: set[tuple[int, int]]) -> TrialFolder:
    sizes = dict.fromkeys(KINDS, 0)
    for file, size in _files(folder, seen):
        sizes[_kind(folder, file)] += size
    names = tuple(f"{record.study}: {record.arm}/{record.seed}" for record in records)
    states = frozenset(record.status for record in records)
    return TrialFolder(folder, _state(folder, states), names, sizes)


def _state(folder: Path, recorded: frozenset[str]) -> State:
    """What became of a run; the folder knows better than a record what is finished and what still runs."""
    if (folder / RESULT).exists():
        return "finished"
    if is_held(folder):
        return "running"
    if "failed" in recorded:
        return "failed"
    return "pruned" if recorded == {"pruned"} else "interrupted"


def _kind(folder: Path, file: Path) -> str:
    if file.parent == folder / CHECKPOINTS:
        return "checkpoints"
    if file.name.startswith("detections"):
        return "detections"
    return "pictures" if file.suffix.lower() in PICTURES else "records"


def _files(entry: Path, seen: set[tuple[int, int]]) -> Iterator[tuple[Path, int]]:
    """Each file of a folder that was not seen under another name, with its bytes."""
    for file in sorted(entry.rglob("*")) if entry.is_dir() else [entry]:
        if file.is_symlink() or not file.is_file():
            continue
        about = file.stat()
        if (about.st_dev, about.st_ino) not in seen:
            seen.add((about.st_dev, about.st_ino))
            yield file, about.st_size
