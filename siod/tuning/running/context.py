"""What all stages of a running study share: how it is run, on which machines, and how its jobs are prepared."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from siod.training.placement import Placement
from siod.tuning.planning.jobs import prepare_jobs
from siod.tuning.planning.plan import Capacity, place_trials, refuse_uncomputable
from siod.tuning.running import cluster
from siod.tuning.running.driver import Engine
from siod.tuning.showing.progress import live_display
from siod.tuning.trials.folder import ensure_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from siod.tuning.planning.plan import Trial
    from siod.tuning.running.run_config import RunConfig
    from siod.tuning.running.watch import Watch
    from siod.tuning.showing.board import Board
    from siod.tuning.trials.trial import Job


@dataclass(frozen=True)
class RunContext:
    """One run of a study.

    Args:
        config: How the study is run.
        capacity: What the machines hold.
        folder: Of the study; its lock, its search and Tune's files are there.
        progress: Whether progress is shown.
    """

    config: RunConfig
    capacity: Capacity
    folder: Path
    progress: bool = True

    def place(self, trials: Sequence[Trial]) -> tuple[Trial, ...]:
        """Decide where trials run, as :func:`siod.tuning.planning.plan.place_trials`."""
        return place_trials(trials, self.capacity.nodes, autoscale=self.config.autoscale)

    def display(self, board: Board) -> AbstractContextManager[None]:
        """Show a board for as long as the context lasts, if progress is shown."""
        return live_display(board) if self.progress else nullcontext()

    def prepare(self, trials: Sequence[Trial], board: Board, *, baseline: str) -> tuple[Job, ...]:
        """Put the data of all trials in place, as :func:`siod.tuning.planning.jobs.prepare_jobs`."""
        board.set_activity("preparing the data")
        return prepare_jobs(
            trials,
            runs_dir=self.config.runs_dir,
            cache_dir=self.config.cache_dir,
            baseline=baseline,
            check_images=self.config.check_images,
            progress=lambda done, images: board.set_progress("preparing the data", done, images),
        )

    def refuse_impossible(self, trials: Sequence[Trial]) -> None:
        """Check that trials can be placed and computed, before anything is recorded or trained.

        Raises:
            UserError: A trial can never start here, or a device lacks its arithmetic.
        """
        if trials:
            self.capacity.slots(trials)
            refuse_uncomputable(trials, here=self.config.address is None)

    @contextmanager
    def engine(
        self, trials: Sequence[Trial], jobs: Sequence[Job], watch: Watch, *, count: int | None = None
    ) -> Iterator[Engine]:
        """Have Ray running and the initial weights ready for as long as the context lasts.

        Args:
            trials: Trials that have to fit on the machines.
            jobs: Jobs whose initial weights are needed.
            watch: Receives every event; in the end it marks what still runs as interrupted.
            count: How many trials will run, where ``trials`` are only one of each kind.

        Yields:
            How jobs are run.
        """
        board, config = watch.board, self.config
        placements = {job.arm: Placement.of(job.experiment.compute) for job in jobs}
        arms = {name: name.rpartition("/")[0] for name in board.rows}
        known = {name: placements[arm] for name, arm in arms.items() if arm in placements}
        board.gpus = {name: each.workers * each.gpus for name, each in known.items()}
        board.cpus = {name: each.workers * each.cpus for name, each in known.items()}
        board.price = config.price
        board.set_activity("starting Ray")
        with cluster.session(config.address, verbose=config.verbose, autoscale=config.autoscale) as nodes:
            cluster.refuse_unshared((config.runs_dir, config.cache_dir))
            capacity = replace(self.capacity, nodes=nodes)
            board.slots = capacity.slots(trials, count)
            board.set_placements(capacity.describe(trials, board.slots))
            board.set_activity("opening the tracking store")
            watch.recorder.wait_until_open()
            board.set_activity("preparing the initial weights")
            ensure_weights(
                jobs, progress=lambda epoch, epochs, _: board.set_activity(f"pretraining: epoch {epoch}/{epochs}")
            )
            board.set_activity("starting the first trials")
            try:
                yield Engine(self.folder, board.slots, config.max_failures, config.verbose)
            finally:
                watch.interrupted()
