"""Run the search of a study: trials that Optuna proposes, trained by Ray Tune, recorded like any others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from siod.training.phases import total_epochs
from siod.tuning.planning.plan import plan
from siod.tuning.running.driver import run_jobs, run_proposals
from siod.tuning.running.outcome import StudyOutcome
from siod.tuning.running.recorder import Recorder
from siod.tuning.running.watch import Watch
from siod.tuning.searching.search import StudySearch, as_search_study, search_of
from siod.tuning.showing.board import Board

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.tuning.planning.plan import Trial
    from siod.tuning.running.context import RunContext
    from siod.tuning.study import Study


def run_search(study: Study, run: RunContext) -> StudyOutcome:
    """Search the space of every arm until the budgets are spent.

    Args:
        study: With space and search.
        run: How and where; its folder is locked by the caller.

    Returns:
        What became of the trials. A trial that failed is left out unless nothing else is left of its arm's search.

    Raises:
        UserError: Something in the input has to be mended; nothing was trained.
    """
    as_study = as_search_study(study)
    trials = _place(as_study, run, search_of(study).training_seed)
    epochs = {
        f"{trial.arm.name}/{number}": total_epochs(trial.experiment) for number in as_study.seeds for trial in trials
    }
    board = Board.of(as_study.name, epochs, objective=study.objective)
    with run.display(board):
        bases = {job.arm: job for job in run.prepare(trials, board, baseline=study.baseline)}
        search = StudySearch.open(study, bases, run.folder)
        _show_past(search, board)
        with Recorder.open(
            as_study,
            (),
            store_uri=run.config.store_uri,
            command=run.config.command,
            proposals=search.proposals(),
        ) as recorder:
            if search.is_left():
                _train(search, trials, run, Watch(board, recorder, search))
            recorder.status = "interrupted" if board.count("waiting", "running", "interrupted") else "finished"
        board.set_activity("")
    outcome = StudyOutcome.of(board, recorder.unrecorded)
    outcome.failed = {} if outcome.unfinished else _without_result(board)
    return outcome


def _place(as_study: Study, run: RunContext, seed: int) -> tuple[Trial, ...]:
    """One placed trial of each arm, with the seed that all trials of the search train with."""
    return tuple(
        replace(trial, seed=seed, experiment=trial.experiment.model_copy(update={"seed": seed}))
        for trial in run.place(plan(as_study, arms=run.config.arms, seeds=as_study.seeds[:1]))
    )


def _show_past(search: StudySearch, board: Board) -> None:
    """Show the trials that earlier runs of the study proposed, and none that cannot be proposed any more."""
    for name, arm in search.arms.items():
        for number in range(arm.asked()):  # more than the budget, if that was made smaller
            board.add(f"{name}/{number}", total_epochs(arm.base.experiment))
    board.drop([name for name in board.rows if not search.may_ask(name)])
    for name, state, value in search.past():
        if state == "complete":
            board.finish(name, {} if value is None else {board.objective: value}, state="reused")
        elif state == "pruned":
            board.prune(name)
        elif state == "fail":
            board.fail(name, "in an earlier call; its record has the reason")


def _train(search: StudySearch, trials: Sequence[Trial], run: RunContext, watch: Watch) -> None:
    board = watch.board
    bases = [arm.base for arm in search.arms.values()]
    stages = search.teacher_stages()
    teachers = [teacher for stage in stages for teacher in stage]
    for teacher in teachers:
        board.add(teacher.name, total_epochs(teacher.experiment))
    waiting = max(1, board.count("waiting"))
    with run.engine(trials, [*bases, *teachers], watch, count=waiting) as engine:
        run_jobs(stages, watch, engine)
        run_proposals(search, watch, engine)
    if search.exhausted:
        board.drop([name for name, row in board.rows.items() if row.state == "waiting"])


def _without_result(board: Board) -> dict[str, str]:
    """The arms of which no trial finished, with the sentence that says so."""
    states: dict[str, set[str]] = {}
    for row in board.rows.values():
        states.setdefault(row.name.partition("/")[0], set()).add(row.state)
    return {
        f"{arm} (search)": "no trial of its search finished; the arm keeps its own settings"
        for arm, found in states.items()
        if not found & {"finished", "reused"}
    }
