"""The arms at equal cost: what they reach in the same training time, and how long they take to a target."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from siod.reports.analysis.aggregate import Spread, of_status
from siod.reports.analysis.cost import EPOCH_SECONDS
from siod.reports.analysis.numbers import percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.tracking.records import StudyRecord, TrialRecord

TEACHER = "teacher"
"""The tag of a trial that names the identity of the run it was taught by."""

WORTH_A_TABLE = 1.2
"""Arms whose training times differ by less are compared at equal cost by the main table already."""

Course = tuple[tuple[float, float], ...]
"""Training seconds since the start, its teachers' included, and the objective then; both of every judged epoch."""


@dataclass(frozen=True)
class EqualCostRow:
    """One arm.

    Args:
        label: Of the arm.
        seconds: Training time of its finished trials, that of their teachers included.
        reached: The objective after each of the table's budgets, over the trials that have been judged by then; None
            where none has.
        to_target: Seconds until the target is reached, over the trials that reach it.
        trials: How many are finished and known.
    """

    label: str
    seconds: Spread
    reached: tuple[Spread | None, ...]
    to_target: Spread | None
    trials: int

    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of the table's headings; empty where nothing is known."""
        missed = f" ({self.to_target.n} of {self.trials})" if self.to_target and self.to_target.n < self.trials else ""
        return (
            _seconds(self.seconds),
            *("" if spread is None else _percents(spread) for spread in self.reached),
            "" if self.to_target is None else _seconds(self.to_target) + missed,
        )


@dataclass(frozen=True)
class EqualCostTable:
    """What the arms reach in the same time.

    Args:
        budgets: Seconds: the mean training times of the arms that differ, ascending.
        target: What the baseline has in the end, a fraction.
        rows: In the declared order.
    """

    budgets: tuple[float, ...]
    target: float
    rows: tuple[EqualCostRow, ...]

    def headings(self, objective: str) -> tuple[str, ...]:
        """Of the cells; ``objective`` is the metric's name as tables have it."""
        return (
            "seconds of training",
            *(f"{objective} after {budget:,.0f} s" for budget in self.budgets),
            f"seconds to {percent(self.target)}",
        )


def equal_cost(study: StudyRecord, *, most_budgets: int = 4) -> EqualCostTable | None:
    """Compare the arms after the same training time.

    An epoch in the middle of a schedule has reached less than a run of that length would have.

    Args:
        study: Without groups, or one group of it.
        most_budgets: How many budgets the table has at most; the least and the greatest are always among them.

    Returns:
        None where the times of the arms are unknown or hardly differ.
    """
    courses = {arm.name: _courses(study, of_status(study.trials_of(arm.name), "finished")) for arm in study.arms}
    totals = {name: Spread.of(course[-1][0] for course in own) for name, own in courses.items()}
    known = sorted(total.mean for total in totals.values() if total is not None)
    ends = [course[-1][1] for course in courses.get(study.baseline, ())]
    target = Spread.of(ends)
    if target is None or len(known) < 2 or known[-1] < WORTH_A_TABLE * known[0]:  # noqa: PLR2004  (arms to compare)
        return None
    budgets = _apart(known, most_budgets)
    rows = [
        EqualCostRow(
            label=arm.title,
            seconds=total,
            reached=tuple(Spread.of(_at(courses[arm.name], budget)) for budget in budgets),
            to_target=Spread.of(_until(courses[arm.name], target.mean)),
            trials=len(courses[arm.name]),
        )
        for arm in study.arms
        if (total := totals[arm.name]) is not None
    ]
    return EqualCostTable(budgets, target.mean, tuple(rows))


def _courses(study: StudyRecord, trials: Sequence[TrialRecord]) -> list[Course]:
    """Those of the trials whose times are known from the first epoch on."""
    by_identity = {trial.identity: trial for trial in study.trials}
    found = []
    for trial in trials:
        before = _teachers_seconds(trial, by_identity)
        ends = _epoch_ends(trial)
        judged = [(epoch, value) for epoch, value in trial.history.get(study.objective, ()) if epoch in ends]
        if before is not None and judged:
            found.append(tuple((before + ends[epoch], value) for epoch, value in judged))
    return found


def _epoch_ends(trial: TrialRecord) -> dict[int, float]:
    """Seconds of training from the start to the end of each epoch; nothing where an epoch is missing."""
    points = trial.history.get(EPOCH_SECONDS, ())
    if [epoch for epoch, _ in points] != list(range(1, len(points) + 1)):
        return {}
    return dict(enumerate(itertools.accumulate(seconds for _, seconds in points), start=1))


def _teachers_seconds(trial: TrialRecord, by_identity: dict[str, TrialRecord]) -> float | None:
    """Training time of the chain of teachers; None where one of them is not known."""
    total, seen = 0.0, {trial.identity}
    while (identity := trial.tags.get(TEACHER)) is not None:
        if identity in seen or identity not in by_identity:
            return None
        seen.add(identity)
        trial = by_identity[identity]
        ends = _epoch_ends(trial)
        if not ends:
            return None
        total += ends[len(ends)]
    return total


def _apart(values: Sequence[float], most: int) -> tuple[float, ...]:
    """The least and the greatest, and between them those that are apart from the one before."""
    kept = [values[0]]
    for value in values[1:-1]:
        if value >= WORTH_A_TABLE * kept[-1] and values[-1] >= WORTH_A_TABLE * value and len(kept) < most - 1:
            kept.append(value)
    return (*kept, values[-1])


def _at(courses: Sequence[Course], budget: float) -> list[float]:
    """The objective at the last judged epoch within a budget."""
    # A trial that took a little longer than the mean of its arm has not missed its last epoch.
    within = [[value for seconds, value in course if seconds <= budget * 1.05] for course in courses]
    return [values[-1] for values in within if values]


def _until(courses: Sequence[Course], target: float) -> list[float]:
    firsts = (next((seconds for seconds, value in course if value >= target), None) for course in courses)
    return [first for first in firsts if first is not None]


def _seconds(spread: Spread) -> str:
    return f"{spread.mean:,.0f}" + ("" if spread.std is None else f" ± {spread.std:,.0f}")


def _percents(spread: Spread) -> str:
    return percent(spread.mean) + ("" if spread.std is None else f" ± {percent(spread.std)}")
