"""A run as a sequence of phases: one, or two for staged training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from siod.dminer.pgcl import PGCL
    from siod.dminer.reject import Reject
    from siod.dminer.splg import SPLG
    from siod.training.experiment import Experiment


@dataclass(frozen=True)
class Phase:
    """Some epochs trained with one optimiser and one set of miners.

    ``first_epoch`` counts from 1 over the whole run. Each phase starts with a fresh optimiser and
    schedule from the weights the phase before it left. ``rejected_share`` of the unlabelled entries are left out of
    the negative loss; ``at`` tells it from ``reject``.
    """

    first_epoch: int
    epochs: int
    lr_factor: float = 1.0
    splg: SPLG | None = None
    pgcl: PGCL | None = None
    reject: Reject | None = None
    rejected_share: float = 0.0

    @property
    def last_epoch(self) -> int:
        """The last epoch of the phase, inclusive."""
        return self.first_epoch + self.epochs - 1

    def at(self, epoch: int) -> Phase:
        """The phase as it is at an epoch: miners that start later are absent."""
        done = epoch - 1
        splg = self.splg if self.splg is not None and done >= self.splg.start_epoch else None
        pgcl = self.pgcl if self.pgcl is not None and done >= self.pgcl.start_epoch else None
        share = 0.0 if self.reject is None else self.reject.share_at(done)
        return replace(self, splg=splg, pgcl=pgcl, rejected_share=share)


def phases(experiment: Experiment) -> tuple[Phase, ...]:
    """Split a run into its phases.

    Joint training is one phase with all miners. Staged training, as the authors' published model:
    first PGCL; then SPLG from there at a fraction of the learning rate. Reject is in both stages.

    Args:
        experiment: The run.

    Returns:
        Phases that follow each other without a gap, from epoch 1.

    Source: Li et al., SIOD, CVPR 2022, section 3.1; the two stages are those of the authors' code.
    """
    dminer, epochs = experiment.dminer, experiment.recipe.epochs
    if dminer is None:
        return (Phase(1, epochs),)
    if dminer.staged is None:
        return (Phase(1, epochs, splg=dminer.splg, pgcl=dminer.pgcl, reject=dminer.reject),)
    staged = dminer.staged
    return (
        Phase(1, epochs, pgcl=dminer.pgcl, reject=dminer.reject),
        Phase(epochs + 1, staged.second_epochs, lr_factor=staged.lr_factor, splg=dminer.splg, reject=dminer.reject),
    )


def total_epochs(experiment: Experiment) -> int:
    """Epochs of the whole run, over all phases."""
    return phases(experiment)[-1].last_epoch
