"""What the training loop knows of its surroundings: rank, device, run folder, and where to report epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from siod.training.devices import CPU

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch


class EpochListener(Protocol):
    """Called on rank 0 after each epoch, once the epoch's checkpoint is on disk.

    A resumed run reports its last finished epoch again, so a listener must accept an epoch twice.
    """

    def __call__(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Receive the metrics of the epoch, counted from 1."""


class Context(Protocol):
    """One worker's place in a run. All workers call ``report`` equally often."""

    rank: int
    world_size: int
    device: torch.device
    run_dir: Path
    loader_workers: int

    def report(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Report that an epoch (from 1) is done and saved."""


@dataclass
class InProcess:
    """The carrier for one worker in the calling process.

    Args:
        run_dir: Folder of the run; checkpoints and results go there.
        listener: Called after each epoch.
        device: Where to train; of ``siod.training.devices.reserved_device``.
        rank: Of this worker among ``world_size``.
        loader_workers: Processes that decode images for it.
    """

    run_dir: Path
    listener: EpochListener | None = None
    device: torch.device = CPU
    rank: int = 0
    world_size: int = 1
    loader_workers: int = 0

    def report(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Pass the epoch on to the listener."""
        if self.listener is not None:
            self.listener(epoch, metrics)
