"""Checkpoints: one file an epoch, written whole or not at all, read without running code from it."""

from __future__ import annotations

import pickle
import shutil
import zipfile
from typing import TYPE_CHECKING, Any

import torch

from siod.errors import RunError, UserError
from siod.files import link_or_copy, replacing

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; it stands there whole, also after a power cut, or not at all.

    Args:
        path: Where it shall stand.
        state: Tensors, numbers, strings, and lists and dictionaries of them.

    Raises:
        RunError: It cannot be written.
    """
    with replacing(path) as temporary:
        try:
            torch.save({"format": FORMAT, **state}, temporary)
        except RuntimeError as error:  # torch's writer does not say that the disk is full
            free = shutil.disk_usage(path.parent).free // 2**20
            raise RunError(
                f"{path}: cannot be written ({free} MiB are free there); free some, and the same command goes on from "
                "the last epoch that was saved"
            ) from error


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
        # torch does not compare the checksums it writes: a block the disk has lost would be read as zeros.
        with zipfile.ZipFile(path) as archive:
            whole = archive.testzip() is None
        state = torch.load(path, map_location=device, weights_only=True) if whole else None
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such checkpoint") from error
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a readable checkpoint; delete it or name another") from error
    if not whole:
        raise UserError(f"{path}: not a readable checkpoint (parts of it are lost); delete it or name another")
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"{path}: not a checkpoint of siod (format {FORMAT}); name a file from a run's checkpoints/")
    return state


def judged_weights(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weights of the detector that was judged.

    Args:
        state: Of :func:`load`, as a run leaves it.

    Returns:
        Those of the averaged teacher where the run's method is judged by it, of what learnt everywhere else.
    """
    method = state.get("experiment", {}).get("method") or {}
    weights: dict[str, torch.Tensor] = (
        state["method"]["teacher"] if method.get("judged") == "teacher" else state["model"]
    )
    return weights


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

    def newest_first(self) -> list[Path]:
        """All files a run can go on from: the saved epochs from the last on, then the best, which may be older."""
        return [path for _, path in reversed(self.epochs())] + [self.best] * self.best.exists()

    def add(self, epoch: int, state: dict[str, Any], *, is_best: bool) -> Path:
        """Save an epoch, point ``best.pt`` at it if it is the best, and drop all but the last ``keep`` epochs.

        Later epochs are dropped too: a run only comes to this one again when their files could not be read.
        """
        path = self.folder / f"epoch_{epoch:04d}.pt"
        save(path, state)
        if is_best:
            link_or_copy(path, self.best)
        for other, old in self.epochs():
            if not epoch - self.keep < other <= epoch:
                old.unlink()
        return path
