"""What dead processes left half done in a folder of runs, and what a move left wrong, set right."""

from __future__ import annotations

import re
import shutil
import time
from typing import TYPE_CHECKING

from siod.training.checkpoint_files import CHECKPOINTS, CheckpointFiles
from siod.training.results import RESULT
from siod.tuning.keeping.inventory import STUDIES, is_held, trial_folders
from siod.tuning.running.lock import LOCK, abandoned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from siod.tracking.mlflow import Store

# Of siod.files.replacing, and of siod.tuning.trials.epochs.
UNFINISHED = re.compile(r"\..+\.[0-9a-f]{32}\.tmp|\.epochs\.\d+")
SEARCH = ".search"
WRITING_SECONDS = 3600.0
"""A file that is not whole yet is left alone for so long where something is running: it may be about to be."""


def repair(runs_dir: Path, store: Store) -> Iterator[str]:
    """Set right what can be; says each thing once it is done.

    Args:
        runs_dir: Absolute folder of runs.
        store: Where its studies are recorded.

    Yields:
        Sentences.

    Raises:
        UserError: The store cannot be opened.
        RunError: The store failed.
    """
    moved = store.repair()
    if moved:
        yield f"tracking store: {_count(moved, 'run')} now found where the artifacts are"
    for name in store.list_studies():
        folder = runs_dir / STUDIES / name.removesuffix(SEARCH)
        stopped = store.interrupt(name) if abandoned(folder) else ()
        if stopped:
            yield f"study {name}: no process runs it; marked as interrupted: {', '.join(stopped)}"
    for file in _unfinished(runs_dir):
        file.unlink(missing_ok=True)
        yield f"{file}: was never finished; deleted"
    for folder in _empty(runs_dir):
        shutil.rmtree(folder, ignore_errors=True)
        yield f"{folder}: nothing was learnt here yet; deleted"


def _unfinished(runs_dir: Path) -> list[Path]:
    """Files that were being written when their process ended."""
    found = [path for path in runs_dir.rglob(".*") if UNFINISHED.fullmatch(path.name) and path.is_file()]
    if not _is_busy(runs_dir):
        return sorted(found)
    return sorted(path for path in found if time.time() - path.stat().st_mtime > WRITING_SECONDS)


def _is_busy(runs_dir: Path) -> bool:
    """Whether a study runs from here, or a process trains."""
    driven = [lock.parent for lock in (runs_dir / STUDIES).glob(f"*/{LOCK}")]
    return not all(map(abandoned, driven)) or any(map(is_held, trial_folders(runs_dir)))


def _empty(runs_dir: Path) -> list[Path]:
    """Folders of runs that ended before their first epoch was saved."""
    if _is_busy(runs_dir):
        return []
    return [
        folder
        for folder in trial_folders(runs_dir)
        if not (folder / RESULT).exists() and not CheckpointFiles(folder / CHECKPOINTS).newest_first()
    ]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
