"""What a search tried and found, as numbers: what it varied, what mattered, which trials are on the front."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from siod.tracking.records import StudyRecord, TrialRecord

FEWEST_FOR_IMPORTANCE = 4
# Values that span so much are told apart on a logarithmic axis.
LOG_FROM = 10.0


@dataclass(frozen=True)
class Setting:
    """A setting that differs between the trials of an arm.

    Args:
        path: Dotted.
        words: The different values where not all are numbers; empty where they are.
        log: Whether the values are positive and span a factor of ten or more.
    """

    path: str
    words: tuple[str, ...]
    log: bool

    @property
    def title(self) -> str:
        """The last two names of the path."""
        return ".".join(self.path.split(".")[-2:])

    def place(self, trial: TrialRecord) -> float:
        """The trial's value as a number: of words, the place among them."""
        value = trial.params[self.path]
        return float(self.words.index(value)) if self.words else float(value)


@dataclass(frozen=True)
class Searched:
    """The search of one arm.

    Args:
        trials: Those with a value of the objective that counts, in the order they were proposed.
        values: Their objectives, as fractions.
        settings: What differs between them.
    """

    trials: tuple[TrialRecord, ...]
    values: tuple[float, ...]
    settings: tuple[Setting, ...]


def searched(study: StudyRecord, arm: str) -> Searched:
    """Collect the finished trials of an arm, and the settings that differ between them.

    Args:
        study: The record of a search; its seeds are the numbers of trials.
        arm: Name of one of its arms.
    """
    scored = [
        (trial, trial.metrics[study.objective])
        for trial in study.trials
        if trial.arm == arm
        and trial.status == "finished"
        and math.isfinite(trial.metrics.get(study.objective, math.nan))
    ]
    trials = tuple(trial for trial, _ in scored)
    paths = [path for path in (trials[0].params if trials else ()) if path != "seed" and _differs(path, trials)]
    return Searched(trials, tuple(value for _, value in scored), tuple(_setting(path, trials) for path in paths))


def _differs(path: str, trials: Sequence[TrialRecord]) -> bool:
    return len({trial.params.get(path) for trial in trials}) > 1 and all(path in trial.params for trial in trials)


def _setting(path: str, trials: Sequence[TrialRecord]) -> Setting:
    values = [trial.params[path] for trial in trials]
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return Setting(path, tuple(dict.fromkeys(values)), log=False)
    return Setting(path, (), log=min(numbers) > 0 and max(numbers) / min(numbers) >= LOG_FROM)


def best_so_far(values: Sequence[float]) -> list[float]:
    """The highest value up to each.

    Example:
        >>> best_so_far([1, 3, 2])
        [1, 3, 3]
    """
    found: list[float] = []
    for value in values:
        found.append(max(value, found[-1]) if found else value)
    return found


def front(gains: Sequence[float], costs: Sequence[float]) -> tuple[int, ...]:
    """Places of the points that no other beats: none gains as much for less, or more for as little.

    Args:
        gains: To be large.
        costs: To be small, as many.

    Returns:
        By rising cost.

    Example:
        >>> front([1, 3, 2, 3], [1, 3, 4, 2])
        (0, 3)
    """
    kept: list[int] = []
    for place in sorted(range(len(gains)), key=lambda place: (costs[place], -gains[place])):
        if not kept or gains[place] > gains[kept[-1]]:
            kept.append(place)
    return tuple(kept)


def importance(found: Searched) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """How much each setting matters, by two of Optuna's measures.

    Args:
        found: Of :func:`searched`.

    Returns:
        By path: the share of the objective's variance (fANOVA), and how much a setting tells the best trials from the
        others (PED-ANOVA). Both empty with fewer than four trials, or when all are alike.
    """
    if len(found.trials) < FEWEST_FOR_IMPORTANCE or not found.settings or len(set(found.values)) == 1:
        return {}, {}
    import optuna  # noqa: PLC0415  (a second to load; few reports need it)
    from optuna.distributions import (  # noqa: PLC0415
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
    )

    from siod.importance import importances  # noqa: PLC0415

    kinds: dict[str, BaseDistribution] = {}
    for setting in found.settings:
        places = [setting.place(trial) for trial in found.trials]
        kinds[setting.path] = (
            CategoricalDistribution(setting.words)
            if setting.words
            else FloatDistribution(min(places), max(places), log=setting.log)
        )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    for trial, value in zip(found.trials, found.values, strict=True):
        params = {one.path: trial.params[one.path] if one.words else one.place(trial) for one in found.settings}
        study.add_trial(optuna.create_trial(params=params, distributions=kinds, value=value))
    return importances(study)
