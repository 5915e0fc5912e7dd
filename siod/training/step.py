"""The loss of one batch: where detector, miners and method meet.

B images, C classes, H x W positions of a dense map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from siod.dminer.mining.levels import mine
from siod.errors import RunError
from siod.methods.method import Weighted
from siod.training.distributed import sum_over_workers
from siod.types import stacked_states

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from siod.detectors.detector import Detector
    from siod.dminer.mining.levels import Mining
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
    criterion = DetectorAndMiners(detector, phase)
    parts = normalised(criterion(outputs, targets), world_size)
    ((mining, _),) = criterion.mined
    return BatchLoss(parts, mining)


@dataclass
class DetectorAndMiners:
    """The loss terms of images with targets (Eq. 2), for a method to call on each of its views.

    ``mined`` has what was mined at each call, with the targets of that call.
    """

    detector: Detector
    phase: Phase
    mined: list[tuple[Mining, Sequence[Target]]] = field(default_factory=list)

    def __call__(self, outputs: Any, targets: Sequence[Target]) -> dict[str, Weighted]:
        """Encode, mine, compare."""
        encoded = self.detector.encode(targets, outputs)
        levels = self.detector.levels(outputs, encoded)
        splg, pgcl, share = self.phase.splg, self.phase.pgcl, self.phase.rejected_share
        states = stacked_states(targets) if share else None
        mining = mine(levels, splg=splg, pgcl=pgcl, rejected_share=share, states=states)
        self.mined.append((mining, targets))
        # Eq. 2: L = L_splg + lambda_pgcl L_pgcl + lambda_off L_off + lambda_size L_size
        terms = {**self.detector.losses(outputs, encoded, mining.mined), **mining.terms}
        weights = {**self.detector.loss_weights, "pgcl": pgcl.weight if pgcl else 0.0}
        return {name: Weighted(weights[name], term) for name, term in terms.items()}


def normalised(parts: Mapping[str, Weighted], world_size: int) -> dict[str, Tensor]:
    """Divide each term by its count over the global batch.

    Args:
        parts: The same names in the same order on every worker.
        world_size: Workers that share the global batch.

    Returns:
        The weighted parts; their sum over names and workers is the loss of the global batch.
    """
    counts = torch.stack([term.count.float() for _, term in parts.values()])
    divisors = sum_over_workers(counts, world_size).clamp(min=1)
    return {
        name: weight * term.total / divisor
        for (name, (weight, term)), divisor in zip(parts.items(), divisors, strict=True)
    }


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
