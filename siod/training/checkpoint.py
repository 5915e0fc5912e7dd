"""Checkpoints: one file an epoch, written whole or not at all, read without running code from it."""

from __future__ import annotations

import logging
import pickle
import shutil
import zipfile
from typing import TYPE_CHECKING, Any, Literal

import torch

from siod.errors import RunError, UserError
from siod.files import link_or_copy, replacing
from siod.training.checkpoint_files import TRIMMED, CheckpointFiles, is_trimmed

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1
Keep = Literal["last", "best", "all"]
RESUMED = ("optimiser", "schedule", "scaler")
"""Parts of a checkpoint that only a run that goes on needs."""

log = logging.getLogger("siod")


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


def load(path: Path, *, device: torch.device | str = "cpu", mapped: bool = False) -> dict[str, Any]:
    """Read a checkpoint; nothing in the file is executed.

    Args:
        path: A file written by :func:`save`.
        device: Where its tensors go.
        mapped: Leave them on the disk until one is looked at, and trust the disk; for a glance at something else.

    Returns:
        The state as it was saved.

    Raises:
        UserError: The file is missing, damaged or was not written by siod.
    """
    try:
        # torch does not compare the checksums it writes: a block the disk has lost would be read as zeros.
        with zipfile.ZipFile(path) as archive:
            whole = mapped or archive.testzip() is None
        state = torch.load(path, map_location=device, weights_only=True, mmap=mapped) if whole else None
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such checkpoint") from error
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a readable checkpoint; delete it or name another") from error
    if not whole:
        raise UserError(f"{path}: not a readable checkpoint (parts of it are lost); delete it or name another")
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"{path}: not a checkpoint of siod (format {FORMAT}); name a file from a run's checkpoints/")
    return state


def refuse_trimmed(state: dict[str, Any]) -> None:
    """Refuse to go on from what was kept of a finished run.

    Args:
        state: Of :func:`load`.

    Raises:
        UserError: It is one that :func:`trim` has left.
    """
    if TRIMMED in state:
        raise UserError(
            f"the checkpoint of epoch {state['epoch']} was kept of a finished run, and none can go on from it; delete "
            "the folder of the run to train it anew"
        )


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


def trim(path: Path, state: dict[str, Any]) -> None:
    """Leave of a checkpoint what was learnt; what learning goes on with, two thirds of it with Adam, goes.

    Args:
        path: A file written by :func:`save`; it is replaced.
        state: Its content, of :func:`load`.

    Raises:
        RunError: It cannot be written; the file stays as it was.
    """
    if TRIMMED not in state:
        save(path, {name: part for name, part in state.items() if name not in RESUMED} | {TRIMMED: True})


def trimmed_bytes(path: Path) -> int:
    """How many bytes :func:`trim` would take from a checkpoint, without what tells its parts apart.

    Raises:
        UserError: It cannot be read.
    """
    state = load(path, mapped=True)
    return sum(_tensor_bytes(state.get(name)) for name in RESUMED)


def _tensor_bytes(part: Any) -> int:
    if isinstance(part, torch.Tensor):
        return part.numel() * part.element_size()
    inside = part.values() if isinstance(part, dict) else part if isinstance(part, list | tuple) else ()
    return sum(_tensor_bytes(each) for each in inside)


class CheckpointFolder(CheckpointFiles):
    """The checkpoints of one run: the last few epochs, and the best.

    Args:
        folder: ``checkpoints/`` of the run.
        keep: From how many of the last epochs a run can go on.
        keep_finished: What stays of a finished run: the ``last`` epoch, it and the ``best``, or ``all``.
    """

    def __init__(self, folder: Path, *, keep: int = 2, keep_finished: Keep = "best") -> None:
        super().__init__(folder)
        self.keep, self.keep_finished = keep, keep_finished

    def add(self, epoch: int, state: dict[str, Any], *, is_best: bool) -> Path:
        """Save an epoch, point ``best.pt`` at it if it is the best, and drop what a run need not go on from.

        Later epochs are dropped too: a run only comes to this one again when their files could not be read.
        """
        path = self.folder / f"epoch_{epoch:04d}.pt"
        save(path, state)
        if is_best:
            link_or_copy(path, self.best)
        for other, old in self.epochs():
            if other > epoch or (other <= epoch - self.keep and self.keep_finished != "all"):
                old.unlink()
            elif other <= epoch - self.keep:
                _trim_readable(old)
        return path

    def finish(self) -> None:
        """Leave of a finished run what is kept of it, from which none goes on; all where its last epoch is damaged."""
        saved = self.epochs()
        state = _whole(saved[-1][1]) if saved else None
        if state is None:
            return
        for _, old in saved[:-1]:  # first, so that there is room for the rest
            if self.keep_finished == "all":
                _trim_readable(old)
            else:
                old.unlink()
        last = saved[-1][1]
        last_is_best = self.best.exists() and self.best.samefile(last)
        trim(last, state)
        del state
        if self.keep_finished == "last":
            self.best.unlink(missing_ok=True)
        elif last_is_best:
            link_or_copy(last, self.best)
        elif self.best.exists():
            self._finish_best()

    def _finish_best(self) -> None:
        """Make the best a second name again where it is one of the epochs that stay; trim it elsewhere."""
        state = _whole(self.best, mapped=True)
        same = None if state is None else dict(self.epochs()).get(state.get("epoch", 0))
        if same is None:
            _trim_readable(self.best)
        elif not same.samefile(self.best):
            link_or_copy(same, self.best)


def _whole(path: Path, *, mapped: bool = False) -> dict[str, Any] | None:
    """The content of a checkpoint, as :func:`load`; None where it is damaged or missing."""
    try:
        return load(path, mapped=mapped)
    except UserError as error:
        log.warning("a checkpoint was not made smaller: %s", error)
        return None


def _trim_readable(path: Path) -> None:
    """Trim a checkpoint; one that the disk has damaged stays as it is."""
    state = None if is_trimmed(path) else _whole(path)
    if state is not None:
        trim(path, state)
