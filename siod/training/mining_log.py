"""What miners and methods found over an epoch, and how much of it is true."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from siod.dminer.mining.quality import MiningCounts
from siod.training.distributed import sum_over_workers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from siod.dminer.mining.levels import Mining
    from siod.types import LossTerm, Target


class MiningLog:
    """Sums of mining counts over the batches of an epoch.

    Which miners are at work is the same for all batches and workers of an epoch.
    """

    def __init__(self) -> None:
        self.counts: dict[str, MiningCounts] = {}

    def add(self, mining: Mining, targets: Sequence[Target]) -> None:
        """Count one batch.

        Args:
            mining: What was found.
            targets: The annotated and the hidden instances of the batch.
        """
        for miner, counts in mining.counts(targets).items():
            self.counts[miner] = self.counts[miner] + counts if miner in self.counts else counts

    def metrics(self, world_size: int) -> dict[str, float]:
        """Figures over all workers, named as in ``MiningCounts.metrics``; all workers call this."""
        figures: dict[str, float] = {}
        for miner, counts in self.counts.items():
            whole = MiningCounts.from_tensor(sum_over_workers(counts.as_tensor(), world_size))
            figures |= whole.metrics(miner)
        return figures


class FigureLog:
    """Shares that a method reports, over the batches of an epoch.

    Which figures there are is the same for all batches and workers of an epoch.
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.sums: Tensor | None = None

    def add(self, figures: Mapping[str, LossTerm]) -> None:
        """Count one batch: of each figure its sum, and what it is a share of."""
        if not figures:
            return
        self.names = tuple(figures)
        parts = [part.detach().float() for term in figures.values() for part in (term.total, term.count)]
        pairs = torch.stack(parts).view(-1, 2)
        self.sums = pairs if self.sums is None else self.sums + pairs

    def metrics(self, world_size: int) -> dict[str, float]:
        """Figures over all workers as ``mining/<name>``; all workers call this.

        A share of nothing is absent, and so is a precision whose recall is: both are counted from the hidden instances.
        """
        if self.sums is None:
            return {}
        pairs = zip(self.names, sum_over_workers(self.sums, world_size).tolist(), strict=True)
        shares = {name: total / count for name, (total, count) in pairs if count > 0}
        unknown = {name.replace("_recall", "_precision") for name in self.names if name not in shares}
        return {f"mining/{name}": share for name, share in shares.items() if name not in unknown}
