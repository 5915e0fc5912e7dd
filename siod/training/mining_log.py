"""What the miners found over an epoch, and how much of it is true."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siod.dminer.mining_quality import MiningCounts
from siod.training.distributed import sum_over_workers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.dminer.dminer import Mining
    from siod.types import Target


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
