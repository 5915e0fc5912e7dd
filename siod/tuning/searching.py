"""Carry out the search of a study: trials that Optuna proposes, trained by Ray Tune, recorded like any others."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from siod.training.phases import total_epochs
from siod.tuning import cluster
from siod.tuning.board import Board
from siod.tuning.driver import Watch, carry_out_campaign
from siod.tuning.jobs import ensure_weights, prepare_jobs
from siod.tuning.plan import concurrency, plan
from siod.tuning.progress import shown
from siod.tuning.recorder import Recorder
from siod.tuning.search import Campaign, searched
from siod.tuning.trial import complete_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from siod.data.source import Check
    from siod.tuning.plan import Trial
    from siod.tuning.study import Study
    from siod.tuning.trial import Job


def run_search(
    study: Study,
    *,
    runs_dir: Path,
    cache_dir: Path,
    store_uri: str,
    folder: Path,
    address: str | None = None,
    max_concurrent: int | None = None,
    arms: Collection[str] | None = None,
    check_images: Check = "refuse",
    progress: bool = True,
    command: str = "",
) -> tuple[Board, dict[str, str]]:
    """Search the space of every arm until the budgets are spent.

    Args:
        study: With space and search; its other arguments are those of ``siod.tuning.runner.run_study``.
        runs_dir: Absolute folder of runs.
        cache_dir: Absolute folder of generated data and pretrained weights.
        store_uri: MLflow tracking URI.
        folder: Of the study, held by the caller.
        address: Of a Ray cluster.
        max_concurrent: At most so many trials at once.
        arms: Only these arms.
        check_images: What to do with images that do not decode.
        progress: Whether to show it.
        command: What was typed.

    Returns:
        Where each trial stands (what waits or was interrupted is left to do), the reason if the search was given up,
        under the name ``doom``, and what could not be recorded, by trial.

    Raises:
        UserError: Something in the input has to be mended; nothing was trained.
    """
    as_study = searched(study)
    trials = plan(as_study, arms=arms, seeds=as_study.seeds[:1])
    assert study.search is not None  # noqa: S101  (the caller asked for a search)
    experiments = {trial.arm.name: trial.experiment for trial in trials}
    training_seed = study.search.training_seed
    seeded = tuple(
        replace(trial, seed=training_seed, experiment=trial.experiment.model_copy(update={"seed": training_seed}))
        for trial in trials
    )
    board = Board.of(
        as_study.name,
        {
            f"{name}/{number}": total_epochs(experiment)
            for number in as_study.seeds
            for name, experiment in experiments.items()
        },
        objective=study.objective,
    )
    with shown(board) if progress else nullcontext():
        board.doing("preparing the data")
        jobs = prepare_jobs(
            seeded,
            runs_dir=runs_dir,
            cache_dir=cache_dir,
            baseline=study.baseline,
            check_images=check_images,
            progress=lambda done, images: board.working("preparing the data", done, images),
        )
        bases = {job.arm: job for job in jobs}
        campaign = Campaign.open(study, bases, folder)
        _drop(board, [name for name in board.rows if not campaign.may_ask(name)])
        for name, state, value in campaign.past():
            _remember(board, name, state, {study.objective: value} if value is not None else {})
        board.doing("opening the tracking store")
        with Recorder.open(as_study, (), store_uri=store_uri, command=command) as recorder:
            if campaign.is_left():
                _train(campaign, list(bases.values()), seeded, board, recorder, folder, address, max_concurrent)
            recorder.status = "interrupted" if board.count("waiting", "running", "interrupted") else "finished"
        board.doing("")
    return board, recorder.unrecorded


def _train(  # noqa: PLR0917  (they are run_search's)
    campaign: Campaign,
    bases: list[Job],
    trials: Sequence[Trial],
    board: Board,
    recorder: Recorder,
    folder: Path,
    address: str | None,
    limit: int | None,
) -> None:
    exhausted = False

    def propose() -> Job | None:
        nonlocal exhausted
        while (job := campaign.ask()) is not None:
            metrics = job.result()
            if metrics is None:
                return job
            complete_folder(job)
            recorder.reuse(job, metrics)
            board.finish(job.name, metrics, state="reused")
            campaign.finish(job, metrics)
        exhausted = True
        return None

    board.doing("starting Ray")
    with cluster.session(address) as nodes:
        board.slots = concurrency(trials, nodes, limit=limit)
        board.doing("preparing the initial weights")
        ensure_weights(bases, progress=lambda epoch, epochs, _: board.doing(f"pretraining: epoch {epoch}/{epochs}"))
        board.doing("starting the first trials")
        watch = Watch((), board, recorder, campaign)
        try:
            carry_out_campaign(campaign, propose, watch, folder=folder, slots=board.slots)
        finally:
            watch.interrupted()
    board.doom = watch.doom
    if exhausted:
        _drop(board, [name for name, row in board.rows.items() if row.state == "waiting"])


def _remember(board: Board, name: str, state: str, metrics: dict[str, float]) -> None:
    if state == "complete":
        board.finish(name, metrics, state="reused")
    elif state == "pruned":
        board.prune(name)
    elif state == "fail":
        board.fail(name, "in an earlier call; its record has the reason")


def _drop(board: Board, names: list[str]) -> None:
    for name in names:
        del board.rows[name]
