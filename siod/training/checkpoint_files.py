"""The checkpoint files of a run: their names and their order. What is in them, `siod.training.checkpoint` knows."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CHECKPOINTS = "checkpoints"
TRIMMED = "without_optimiser"
"""The entry of a checkpoint that holds what was learnt and no longer what learning went on with."""


class CheckpointFiles:
    """The checkpoints of one run, as files.

    Args:
        folder: ``checkpoints/`` of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

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


def is_trimmed(path: Path) -> bool:
    """Whether a checkpoint has lost its optimiser; torch is not needed to see that. False for a damaged one."""
    try:
        with zipfile.ZipFile(path) as archive:
            (index,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            return TRIMMED.encode() in archive.read(index)
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
