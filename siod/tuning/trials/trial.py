"""A planned trial with its files in place, and what its folder holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from siod.training import results

if TYPE_CHECKING:
    from pathlib import Path

    from siod.data.source import PreparedData
    from siod.training.experiment import Experiment

FOUND, PICTURE = "gallery.json", "predictions.png"
ENVIRONMENT, LOG = "environment.json", "train.log"
DIAGNOSIS, ANNOTATIONS = "diagnosis.json", "annotations.json"
# What its process reports besides epochs.
FAILURE, TRACEBACK, WAITING = "failure", "traceback", "waiting"


@dataclass(frozen=True)
class Job:
    """A planned trial with its files in place.

    Args:
        arm: Name of its arm.
        experiment: What to learn, placed.
        data: Its prepared files.
        identity: Equal identities learn equal weights.
        run_dir: Where it trains, named by its identity.
        cache_dir: Where pretrained weights are.
        gallery_ids: Validation images whose detections are kept for the report's gallery.
        number: Of a search's trial.
    """

    arm: str
    experiment: Experiment
    data: PreparedData
    identity: str
    run_dir: Path
    cache_dir: Path
    gallery_ids: tuple[int, ...] = ()
    number: int | None = None

    @property
    def place(self) -> int:
        """The seed, or the number of the trial in a search: unique within the arm."""
        return self.experiment.seed if self.number is None else self.number

    @property
    def name(self) -> str:
        """``arm/seed`` or ``arm/number``: its name in progress, tracking and reports."""
        return f"{self.arm}/{self.place}"

    @property
    def teachers_dir(self) -> Path | None:
        """Folder of teachers' runs: that of the trials; None, for training's default, if the run has another folder."""
        return self.run_dir.parent if self.run_dir.name == self.identity else None

    def result(self) -> dict[str, float] | None:
        """The final metrics if the trial was trained before, here or in another study."""
        return results.read_result(self.run_dir)
