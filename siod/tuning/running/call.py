"""One call that runs a study: what it was asked to do, and how its jobs are prepared and driven."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from siod.training.phases import total_epochs
from siod.training.placement import Placement
from siod.training.run import tell_of_change
from siod.tuning.planning.jobs import prepare_jobs
from siod.tuning.planning.plan import Room, place_trials, refuse_uncomputable
from siod.tuning.running import cluster
from siod.tuning.running.driver import Engine
from siod.tuning.trials.execution import complete_folder, ensure_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from siod.data.source import Check
    from siod.training.placement import Node
    from siod.tuning.planning.plan import Trial
    from siod.tuning.running.recorder import Recorder
    from siod.tuning.running.watch import Watch
    from siod.tuning.showing.board import Board
    from siod.tuning.trials.trial import Job


@dataclass(frozen=True)
class Call:
    """The arguments of ``siod.tuning.running.runner.run_study`` that all its parts need."""

    runs_dir: Path
    cache_dir: Path
    store_uri: str
    address: str | None
    max_concurrent: int | None
    check_images: Check
    progress: bool
    command: str
    max_failures: int
    verbose: bool
    nodes: tuple[Node, ...]
    autoscale: bool = False

    def place(self, trials: Sequence[Trial]) -> tuple[Trial, ...]:
        """Decide where trials are carried out, as :func:`siod.tuning.planning.plan.place_trials`."""
        return place_trials(trials, self.nodes, autoscale=self.autoscale)

    def prepare(self, trials: Sequence[Trial], board: Board, *, baseline: str) -> tuple[Job, ...]:
        """Put the data of all trials in place, as :func:`siod.tuning.planning.jobs.prepare_jobs`."""
        board.doing("preparing the data")
        return prepare_jobs(
            trials,
            runs_dir=self.runs_dir,
            cache_dir=self.cache_dir,
            baseline=baseline,
            check_images=self.check_images,
            progress=lambda done, images: board.working("preparing the data", done, images),
        )

    def refuse_impossible(self, trials: Sequence[Trial]) -> None:
        """See that trials can be placed and computed, before anything is recorded or trained.

        Raises:
            UserError: One can never start here, or a device lacks its arithmetic.
        """
        if trials:
            Room(self.nodes, self.max_concurrent, self.autoscale).slots(trials)
            refuse_uncomputable(trials, here=self.address is None)

    def drive(
        self,
        trials: Sequence[Trial],
        jobs: Sequence[Job],
        watch: Watch,
        carry_out: Callable[[Engine], None],
        *,
        folder: Path,
        count: int | None = None,
    ) -> None:
        """Have Ray and the initial weights ready, then carry out what is to be done.

        Args:
            trials: What has to fit on the machines.
            jobs: What needs initial weights.
            watch: Hears of every event.
            carry_out: Called with how to.
            folder: Of the study.
            count: How many trials are to be carried out, where ``trials`` are only one of each kind.
        """
        board = watch.board
        placements = {job.arm: Placement.of(job.experiment.compute) for job in jobs}
        held = {arm: placement.workers * placement.gpus for arm, placement in placements.items()}
        board.gpus = {name: held.get(name.rpartition("/")[0], 0.0) for name in board.rows}
        board.doing("starting Ray")
        with cluster.session(self.address, verbose=self.verbose, autoscale=self.autoscale) as nodes:
            cluster.refuse_unshared((self.runs_dir, self.cache_dir))
            room = Room(nodes, self.max_concurrent, self.autoscale)
            board.slots = room.slots(trials, count)
            board.place(room.told(trials, count))
            board.doing("preparing the initial weights")
            ensure_weights(jobs, progress=lambda epoch, epochs, _: board.doing(f"pretraining: epoch {epoch}/{epochs}"))
            board.doing("starting the first trials")
            try:
                carry_out(Engine(folder, board.slots, self.max_failures, self.verbose))
            finally:
                watch.interrupted()
        board.doom = watch.doom


def add_teachers(teachers: Sequence[Job], board: Board) -> None:
    """Show the teachers that are trained before the trials and are none of them."""
    for teacher in teachers:
        board.add(teacher.name, total_epochs(teacher.experiment))


def reuse(job: Job, metrics: dict[str, float], board: Board, recorder: Recorder) -> None:
    """Show and record a job that was trained before."""
    complete_folder(job)
    tell_of_change(job.run_dir, job.experiment)
    recorder.reuse(job, metrics)
    board.finish(job.name, metrics, state="reused")
