"""What an epoch leaves behind: mean losses, and what was mined. Nothing here keeps the host waiting for the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from siod.training.distributed import sum_over_workers
from siod.training.mining_log import FigureLog, MiningLog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from siod.dminer.mining.levels import Mining
    from siod.types import LossTerm, Target


class Numbers:
    """Values of the device on their way to the host: they are asked for now and waited for later.

    What is queued on the device between the two need not be done when they arrive.

    Args:
        values: A list of numbers.
    """

    def __init__(self, values: Tensor) -> None:
        # From a GPU into page-locked memory, so that the copy does not wait.
        self._copy = values.detach().to("cpu", non_blocking=values.is_cuda)
        self._arrival = torch.cuda.Event() if values.is_cuda else None  # type: ignore[no-untyped-call]
        if self._arrival is not None:
            self._arrival.record()

    def read(self) -> list[float]:
        """Wait for them."""
        if self._arrival is not None:
            self._arrival.synchronize()
        numbers: list[float] = self._copy.tolist()
        return numbers


class EpochLog:
    """Sums over the steps of an epoch; they stay on the device until its end.

    Which losses, miners and figures there are is the same for all steps and workers of an epoch.
    """

    def __init__(self) -> None:
        self.steps = 0
        self._names: tuple[str, ...] = ()
        self._losses: Tensor | None = None
        self._mining, self._figures = MiningLog(), FigureLog()

    def add(
        self,
        losses: Mapping[str, Tensor],
        mined: Sequence[tuple[Mining, Sequence[Target]]],
        figures: Mapping[str, LossTerm],
    ) -> None:
        """Count one step.

        Args:
            losses: The weighted, normalised terms.
            mined: What was mined, and the targets to judge it by.
            figures: What the method has to report.
        """
        self.steps += 1
        self._names = tuple(losses)
        values = torch.stack(list(losses.values())).detach()
        self._losses = values if self._losses is None else self._losses + values
        for mining, targets in mined:
            self._mining.add(mining, targets)
        self._figures.add(figures)

    def metrics(self, world_size: int) -> dict[str, float]:
        """``train/...`` and ``mining/...`` means of the global batches; all workers call this."""
        if self._losses is None:
            raise ValueError("an epoch must have a step before its means are asked for, got none")
        means = sum_over_workers(self._losses / self.steps, world_size).tolist()
        metrics = {f"train/{name}": value for name, value in zip(self._names, means, strict=True)}
        metrics["train/loss"] = sum(metrics.values())
        return metrics | self._mining.metrics(world_size) | self._figures.metrics(world_size)
