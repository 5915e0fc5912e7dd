"""The loss of one batch: where detector and miners meet.

B images, C classes, H x W positions of a dense map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from siod.dminer.dminer import mine
from siod.errors import RunError
from siod.training.distributed import sum_over_workers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from siod.detectors.detector import Detector
    from siod.dminer.dminer import Mining
    from siod.training.phases import Phase
    from siod.types import Target


@dataclass(frozen=True)
class BatchLoss:
    """The loss of a worker's share of a batch.

    The sum of ``parts`` over all workers is the loss of the global batch; ``mining`` is what the miners
    found, or None when there are none.
    """

    parts: dict[str, Tensor]
    mining: Mining

    def total(self) -> Tensor:
        """The scalar to differentiate, summed over the parts."""
        return torch.stack(list(self.parts.values())).sum()


def batch_loss(
    detector: Detector, outputs: Any, targets: Sequence[Target], phase: Phase, *, world_size: int = 1
) -> BatchLoss:
    """Compute the weighted, globally normalised loss terms of a batch (Eq. 2).

    Args:
        detector: Encodes the targets and knows its own losses.
        outputs: What the detector's forward pass returned for this worker's images.
        targets: The annotated instances of those images.
        phase: Which miners are at work.
        world_size: Workers that share the global batch.

    Returns:
        The parts, each divided by its count over the global batch.

    Source: Li et al., SIOD, CVPR 2022, Eq. 2.
    """
    encoded = detector.encode(targets, outputs)
    levels = detector.levels(outputs, encoded)
    mining = mine(levels, splg=phase.splg, pgcl=phase.pgcl)
    # Eq. 2: L = L_splg + lambda_pgcl L_pgcl + lambda_off L_off + lambda_size L_size
    terms = {**detector.losses(outputs, encoded, mining.mined), **mining.terms}
    weights = {**detector.loss_weights, "pgcl": phase.pgcl.weight if phase.pgcl else 0.0}
    counts = torch.stack([term.count.float() for term in terms.values()])
    divisors = sum_over_workers(counts, world_size).clamp(min=1)
    parts = {
        name: weights[name] * term.total / divisor
        for (name, term), divisor in zip(terms.items(), divisors, strict=True)
    }
    return BatchLoss(parts, mining)


def refuse_nonfinite(parts: dict[str, float], *, epoch: int, step: int, last_good: str) -> None:
    """Stop the run at a NaN or infinite loss.

    Args:
        parts: The loss terms as numbers.
        epoch: From 1.
        step: Within the epoch, from 1.
        last_good: Names the checkpoint to go back to.

    Raises:
        RunError: A term is not finite; names it, the step and the checkpoint.
    """
    for name, value in parts.items():
        if not math.isfinite(value):
            raise RunError(
                f"loss term {name!r} is {value} at epoch {epoch}, step {step}; last good checkpoint: {last_good}; "
                "lower recipe.learning_rate, set recipe.clip_norm, or start the miners later (dminer.splg.start_epoch)"
            )
