"""Checkpoints: one file an epoch, written whole or not at all, read without running code from it."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, Any

import torch

from siod.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint to a temporary name and rename it.

    Args:
        path: Where it shall stand.
        state: Tensors, numbers, strings, and lists and dictionaries of them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        torch.save({"format": FORMAT, **state}, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path, *, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint; nothing in the file is executed.

    Args:
        path: A file written by :func:`save`.
        device: Where its tensors go.

    Returns:
        The state as it was saved.

    Raises:
        UserError: The file is missing, damaged or was not written by siod.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such checkpoint") from error
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise UserError(f"{path}: not a readable checkpoint; delete it or name another") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"{path}: not a checkpoint of siod (format {FORMAT}); name a file from a run's checkpoints/")
    return state


class CheckpointFolder:
    """The checkpoints of one run: the last few epochs, and the best.

    Args:
        folder: ``checkpoints/`` of the run.
        keep: How many of the last epochs stay.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    @property
    def best(self) -> Path:
        """The checkpoint of the epoch with the highest AP@S."""
        return self.folder / "best.pt"

    def epochs(self) -> list[tuple[int, Path]]:
        """All saved epochs with their files, oldest first."""
        found = [(int(path.stem.removeprefix("epoch_")), path) for path in self.folder.glob("epoch_*.pt")]
        return sorted(found)

    def latest(self) -> Path | None:
        """The file of the last saved epoch."""
        saved = self.epochs()
        return saved[-1][1] if saved else None

    def add(self, epoch: int, state: dict[str, Any], *, is_best: bool) -> Path:
        """Save an epoch, drop what is older than ``keep`` epochs, and point ``best.pt`` at it if it is the best."""
        path = self.folder / f"epoch_{epoch:04d}.pt"
        save(path, state)
        if is_best:
            temporary = self.folder / f".best.{os.getpid()}.tmp"
            temporary.unlink(missing_ok=True)
            os.link(path, temporary)
            temporary.replace(self.best)
        for _, old in self.epochs()[: -self.keep]:
            old.unlink()
        return path
