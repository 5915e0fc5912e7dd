"""From trials to the numbers of a table: mean, spread and gain of every arm. No formatting here."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from siod.tracking.records import ArmRecord, Status, StudyRecord, TrialRecord


@dataclass(frozen=True)
class Spread:
    """Values of one figure over seeds.

    Args:
        mean: Of the values.
        std: Their sample standard deviation (divided by n - 1); None for a single value.
        n: How many values.
    """

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """Of the finite values, or None when there is none.

        Example:
            >>> Spread.of([1, 2, 3])
            Spread(mean=2.0, std=1.0, n=3)
        """
        finite = [value for value in values if math.isfinite(value)]
        if not finite:
            return None
        mean = statistics.fmean(finite)
        # statistics.stdev is exact and takes a hundred times as long, once for every point of every curve.
        squares = math.fsum((value - mean) ** 2 for value in finite)
        return cls(mean, math.sqrt(squares / (len(finite) - 1)) if len(finite) > 1 else None, len(finite))


@dataclass(frozen=True)
class ArmRow:
    """One row of a study's table.

    Args:
        arm: As declared.
        trials: Its trials with the declared seeds.
        cells: Spread over the finished trials by column; None where no finished trial has the figure.
        gains: Mean minus the mean of the baseline arm by column; None where one of them is missing and on
            the baseline itself.
    """

    arm: ArmRecord
    trials: tuple[TrialRecord, ...]
    cells: Mapping[str, Spread | None]
    gains: Mapping[str, float | None]

    def finished(self) -> tuple[TrialRecord, ...]:
        """The trials the cells are made of."""
        return of_status(self.trials, "finished")


def aggregate(study: StudyRecord) -> tuple[ArmRow, ...]:
    """Summarise each declared arm over its finished trials.

    A trial that failed, runs or was interrupted has no result: it is left out, never counted as zero.

    Args:
        study: Its trials may be in any state.

    Returns:
        One row per arm, in the declared order.
    """
    cells = {arm.name: _cells(study.trials_of(arm.name), study.columns) for arm in study.arms}
    rows = []
    for arm in study.arms:
        baseline, own = study.baseline_of(arm.group), cells[arm.name]
        gains = {name: None if arm.name == baseline else _gain(own[name], cells[baseline][name]) for name in own}
        rows.append(ArmRow(arm, study.trials_of(arm.name), own, gains))
    return tuple(rows)


def by_group(study: StudyRecord) -> dict[str, StudyRecord]:
    """Split a study into its groups of arms.

    Args:
        study: With or without groups.

    Returns:
        By group, in the declared order, the study with the arms of that group alone and their baseline.
    """
    names = dict.fromkeys(arm.group for arm in study.arms)
    return {
        name: replace(
            study, arms=tuple(arm for arm in study.arms if arm.group == name), baseline=study.baseline_of(name)
        )
        for name in names
    }


def baseline_label(study: StudyRecord) -> str:
    """What gains are counted from, in words; the groups' own baselines when they are called differently."""
    labels = {arm.label for arm in study.arms if arm.name == study.baseline_of(arm.group)}
    return labels.pop() if len(labels) == 1 else "the baseline of the group"


def leading(study: StudyRecord, most: int) -> StudyRecord:
    """The study with no more arms than a figure can tell apart: the baseline and the best in the objective.

    Args:
        study: One group of arms.
        most: How many arms stay, at least 1.

    Returns:
        Arms in the declared order, the study itself when it has no more.
    """
    if len(study.arms) <= most:
        return study
    means = {row.arm.name: _mean(row, study.objective) for row in aggregate(study)}
    ranked = sorted(study.arms, key=lambda arm: (arm.name != study.baseline, -means[arm.name]))
    kept = {arm.name for arm in ranked[:most]}
    return replace(study, arms=tuple(arm for arm in study.arms if arm.name in kept))


def _mean(row: ArmRow, metric: str) -> float:
    spread = row.cells.get(metric)
    return -math.inf if spread is None else spread.mean


def of_status(trials: Sequence[TrialRecord], status: Status) -> tuple[TrialRecord, ...]:
    """The trials of one status."""
    return tuple(trial for trial in trials if trial.status == status)


def curve(trials: Sequence[TrialRecord], metric: str) -> dict[int, Spread]:
    """Summarise one metric over trials, epoch by epoch.

    Args:
        trials: Usually those of one arm.
        metric: Name of the metric.

    Returns:
        Spread by epoch, ascending; an epoch that only some trials have reached counts those.
    """
    values: dict[int, list[float]] = {}
    for trial in trials:
        for epoch, value in trial.history.get(metric, ()):
            values.setdefault(epoch, []).append(value)
    spreads = {epoch: Spread.of(values[epoch]) for epoch in sorted(values)}
    return {epoch: spread for epoch, spread in spreads.items() if spread is not None}


def _cells(trials: Sequence[TrialRecord], columns: Sequence[str]) -> dict[str, Spread | None]:
    finished = of_status(trials, "finished")
    return {name: Spread.of(trial.metrics[name] for trial in finished if name in trial.metrics) for name in columns}


def _gain(own: Spread | None, reference: Spread | None) -> float | None:
    return None if own is None or reference is None else own.mean - reference.mean
