"""Carry out the search of a study: trials that Optuna proposes, trained by Ray Tune, recorded like any others."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from siod.training.phases import total_epochs
from siod.tuning.planning.plan import plan
from siod.tuning.running.call import Call, add_teachers, reuse
from siod.tuning.running.driver import Engine, carry_out_all, carry_out_campaign
from siod.tuning.running.recorder import Recorder
from siod.tuning.running.watch import Watch
from siod.tuning.searching.search import Campaign, searched
from siod.tuning.showing.board import Board
from siod.tuning.showing.progress import shown

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from siod.tuning.planning.plan import Trial
    from siod.tuning.study import Study
    from siod.tuning.trials.trial import Job


def run_search(
    study: Study, call: Call, *, folder: Path, arms: Collection[str] | None = None
) -> tuple[Board, dict[str, str]]:
    """Search the space of every arm until the budgets are spent.

    Args:
        study: With space and search.
        call: What was asked.
        folder: Of the study, held by the caller.
        arms: Only these arms.

    Returns:
        Where each trial stands (what waits or was interrupted is left to do), with the reason if the search was given
        up, and what could not be recorded, by trial.

    Raises:
        UserError: Something in the input has to be mended; nothing was trained.
    """
    as_study = searched(study)
    assert study.search is not None  # noqa: S101  (the caller asked for a search)
    seed = study.search.training_seed
    trials = tuple(
        replace(trial, seed=seed, experiment=trial.experiment.model_copy(update={"seed": seed}))
        for trial in call.place(plan(as_study, arms=arms, seeds=as_study.seeds[:1]))
    )
    epochs = {
        f"{trial.arm.name}/{number}": total_epochs(trial.experiment) for number in as_study.seeds for trial in trials
    }
    board = Board.of(as_study.name, epochs, objective=study.objective)
    with shown(board) if call.progress else nullcontext():
        bases = {job.arm: job for job in call.prepare(trials, board, baseline=study.baseline)}
        campaign = Campaign.open(study, bases, folder)
        for name, arm in campaign.arms.items():
            for number in range(arm.asked()):  # more than the budget, if that was made smaller
                board.add(f"{name}/{number}", total_epochs(arm.base.experiment))
        _drop(board, [name for name in board.rows if not campaign.may_ask(name)])
        for name, state, value in campaign.past():
            _remember(board, name, state, {study.objective: value} if value is not None else {})
        board.doing("opening the tracking store")
        with Recorder.open(as_study, (), store_uri=call.store_uri, command=call.command) as recorder:
            if campaign.is_left():
                _train(campaign, trials, call, Watch(board, recorder, campaign), folder=folder)
            recorder.status = "interrupted" if board.count("waiting", "running", "interrupted") else "finished"
        board.doing("")
    return board, recorder.unrecorded


def _train(campaign: Campaign, trials: Sequence[Trial], call: Call, watch: Watch, *, folder: Path) -> None:
    board, exhausted = watch.board, False

    def propose() -> Job | None:
        nonlocal exhausted
        while (job := campaign.ask()) is not None:
            metrics = job.result()
            if metrics is None:
                return job
            reuse(job, metrics, board, watch.recorder)
            campaign.finish(job, metrics)
        exhausted = True
        return None

    def carry_out(engine: Engine) -> None:
        carry_out_all([teachers], watch, engine)
        if not watch.stopping and not watch.doom:
            carry_out_campaign(campaign, propose, watch, engine)

    bases = [arm.base for arm in campaign.arms.values()]
    teachers = [teacher for teacher in campaign.teachers() if teacher.result() is None]
    add_teachers(teachers, board)
    waiting = max(1, board.count("waiting"))
    call.drive(trials, [*bases, *teachers], watch, carry_out, folder=folder, count=waiting)
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
