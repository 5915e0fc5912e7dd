"""What may go from a folder of runs, said before anything is taken."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from filelock import FileLock, Timeout

from siod.errors import UserError
from siod.json_file import read_json
from siod.training.checkpoint_files import CHECKPOINTS, CheckpointFiles, is_trimmed
from siod.training.results import DETECTIONS, EXPERIMENT
from siod.training.run_lock import LOCK
from siod.tuning.keeping.inventory import STUDIES, bytes_in, is_held
from siod.tuning.running.lock import abandoned

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from siod.tuning.keeping.inventory import Inventory, TrialFolder

Kind = Literal["optimisers", "detections", "pruned", "failed", "ray"]
TUNE = "tune"
WHY: dict[Kind, str] = {
    "optimisers": "finished; no run goes on from these",
    "detections": "the same is there packed",
    "pruned": "the search has ended it",
    "failed": "the next call of its study would begin it anew",
    "ray": "Ray's notes of a call that has ended; the next call writes new ones",
}
"""By kind, what taking it means."""


@dataclass(frozen=True)
class Removable:
    """Something that may go.

    Args:
        kind: What it is.
        folder: Of the run or the study it belongs to.
        name: Who knows it: its studies' names for it, or the folder's.
        what: In words.
        bytes: What it takes.
    """

    kind: Kind
    folder: Path
    name: str
    what: str
    bytes: int

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.bytes / 1e6:8.1f} MB  {self.name}: {self.what} ({WHY[self.kind]})"


def find_removable(runs_dir: Path, inventory: Inventory, *, failed: bool = False) -> tuple[Removable, ...]:
    """Find what nothing needs any more; nothing is changed.

    Args:
        runs_dir: Absolute folder of runs.
        inventory: Of it.
        failed: Whether checkpoints of failed trials are named too: these could go on from them.

    Returns:
        What may go, without trials and studies that run.
    """
    found: list[Removable] = []
    for trial in inventory.trials:
        if trial.state == "finished":
            found += _of_finished(trial)
        elif trial.state == "pruned" or (failed and trial.state == "failed"):
            found += _checkpoints(trial)
    found += _of_studies(runs_dir)
    return tuple(each for each in found if each.bytes)


def remove(things: Sequence[Removable]) -> int:
    """Take what was found, but not from a folder in which a process trains by now.

    Args:
        things: Of :func:`find_removable`.

    Returns:
        How many bytes went.
    """
    gone = 0
    for each in things:
        if each.kind == "ray":
            shutil.rmtree(each.folder / TUNE, ignore_errors=True)
            gone += each.bytes
            continue
        before = bytes_in(each.folder)
        try:
            with FileLock(each.folder / LOCK, timeout=0):
                _remove(each)
        except Timeout:
            continue
        gone += before - bytes_in(each.folder)
    return gone


def _remove(each: Removable) -> None:
    if each.kind == "detections":
        (each.folder / DETECTIONS).with_suffix("").unlink(missing_ok=True)
    elif each.kind == "optimisers":
        from siod.training.checkpoint import CheckpointFolder  # noqa: PLC0415  (loads torch)

        CheckpointFolder(each.folder / CHECKPOINTS, keep_finished=_kept(each.folder)).finish()
    else:
        shutil.rmtree(each.folder / CHECKPOINTS, ignore_errors=True)


def _of_finished(trial: TrialFolder) -> Iterator[Removable]:
    name = _name(trial)
    raw = (trial.folder / DETECTIONS).with_suffix("")
    if raw.exists() and (trial.folder / DETECTIONS).exists():
        yield Removable("detections", trial.folder, name, raw.name, raw.stat().st_size)
    if is_held(trial.folder):  # it has just finished
        return
    keep = _kept(trial.folder)
    files = CheckpointFiles(trial.folder / CHECKPOINTS)
    epochs = [path for _, path in files.epochs()]
    dropped = [] if keep == "all" else epochs[:-1]
    if keep == "last" and files.best.exists():
        dropped.append(files.best)
    stay = [path for path in files.newest_first() if path not in dropped]
    spare = {path: _trimmed_bytes(path) for path in stay}
    if not epochs or spare[epochs[-1]] is None:  # damaged: all stays
        return
    whole = [path for path in stay if spare[path]]
    freed = _bytes_dropped(dropped, stay) + sum(spare[path] or 0 for path in _distinct(whole))
    words = [path.name for path in dropped]
    words += [f"what {', '.join(path.name for path in whole)} would go on with"] if whole else []
    if words:
        yield Removable("optimisers", trial.folder, name, ", ".join(words), freed)


def _checkpoints(trial: TrialFolder) -> Iterator[Removable]:
    size = bytes_in(trial.folder / CHECKPOINTS)
    if size:
        kind: Kind = "pruned" if trial.state == "pruned" else "failed"
        yield Removable(kind, trial.folder, _name(trial), "its checkpoints", size)


def _of_studies(runs_dir: Path) -> Iterator[Removable]:
    for folder in sorted((runs_dir / STUDIES).glob("*")):
        if (folder / TUNE).is_dir() and abandoned(folder):
            yield Removable("ray", folder, f"study {folder.name}", f"folder {TUNE}", bytes_in(folder / TUNE))


def _name(trial: TrialFolder) -> str:
    return f"{', '.join(trial.names) or 'no study'} in {trial.folder.name}"


def _kept(folder: Path) -> Literal["last", "best", "all"]:
    """Which checkpoints of a finished run its experiment keeps."""
    try:
        compute = read_json(folder / EXPERIMENT)["experiment"]["compute"]
    except (OSError, KeyError, TypeError, UserError):
        return "all"  # nothing is known of it
    kept: Literal["last", "best", "all"] = compute.get("keep_checkpoints", "best")
    return kept


def _distinct(paths: Sequence[Path]) -> list[Path]:
    """Each file once, whatever its names."""
    return list({path.stat().st_ino: path for path in paths}.values())


def _bytes_dropped(dropped: Sequence[Path], stay: Sequence[Path]) -> int:
    names = {path.stat().st_ino for path in stay}
    return sum(path.stat().st_size for path in _distinct(dropped) if path.stat().st_ino not in names)


def _trimmed_bytes(path: Path) -> int | None:
    """What a checkpoint holds that only a run that goes on needs; None for a damaged one."""
    if is_trimmed(path):
        return 0
    from siod.training.checkpoint import trimmed_bytes  # noqa: PLC0415  (loads torch)

    try:
        return trimmed_bytes(path)
    except UserError:
        return None
