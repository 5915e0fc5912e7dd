"""Results of a search: the best settings of each arm, their importance, and the trials left (knows Optuna).

Reads the database that :mod:`siod.tuning.searching.search` writes; nothing is proposed or changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from siod.importance import importances
from siod.tuning.searching.search import CHANGES, DATABASE, budget_of, database_url, search_of, storage_of
from siod.tuning.space import applicable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from siod.tuning.study import Study

FEWEST_FOR_IMPORTANCE = 4


@dataclass(frozen=True)
class Best:
    """The best settings of an arm, by the objective.

    Args:
        number: Of the trial.
        value: Its objective, a fraction.
        changes: By dotted path.
        counts: Trials by state, in small letters.
        importance: Share of the objective's variance by setting (fANOVA); empty with too few trials.
        importance_near_best: How much each setting tells the best trials from the others (PED-ANOVA), as shares.
    """

    number: int
    value: float
    changes: dict[str, Any]
    counts: dict[str, int]
    importance: dict[str, float]
    importance_near_best: dict[str, float]


def best_of(study: Study, folder: Path, *, importance: bool = False) -> dict[str, Best]:
    """Read the best settings of each arm.

    Args:
        study: With a search.
        folder: Of the study.
        importance: Whether to compute it.

    Returns:
        By arm; arms without a finished trial are left out.
    """
    storage = storage_of(database_url(study, folder))
    known = set(optuna.get_all_study_names(storage))
    found = {}
    for arm in study.arms:
        name = f"{study.name}/{arm.name}"
        if name not in known:
            continue
        search = optuna.load_study(study_name=name, storage=storage)
        trials = search.get_trials(deepcopy=False)
        complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        if not complete:
            continue
        best = max(complete, key=lambda trial: trial.values[0])
        states = [trial.state.name.lower() for trial in trials]
        counts = {state: states.count(state) for state in dict.fromkeys(states)}
        overall, near_best = importances(search) if importance and _tells(complete) else ({}, {})
        found[arm.name] = Best(best.number, best.values[0], dict(best.user_attrs[CHANGES]), counts, overall, near_best)
    return found


def trials_left(study: Study, folder: Path) -> dict[str, int]:
    """How many trials the search of each arm has still to train, at most; nothing is created.

    Args:
        study: With a search.
        folder: Of the study.

    Returns:
        By arm, those with something to tune.
    """
    search, ended = search_of(study), dict.fromkeys((arm.name for arm in study.arms), 0)
    if search.storage is not None or (folder / DATABASE).exists():
        storage = storage_of(database_url(study, folder))
        known = set(optuna.get_all_study_names(storage))
        for name in ended.keys() & {name.removeprefix(f"{study.name}/") for name in known}:
            trials = optuna.load_study(study_name=f"{study.name}/{name}", storage=storage).get_trials(deepcopy=False)
            ended[name] = sum(trial.state.is_finished() for trial in trials)
    spaces = {arm.name: applicable(study.space, study.experiment(arm, study.seeds[0])) for arm in study.arms}
    return {name: max(0, budget_of(search, space) - ended[name]) for name, space in spaces.items() if space}


def tuned(study: Study, best: Mapping[str, Best]) -> Study:
    """The study at the best settings of each arm, without its search: what is trained with every seed.

    Args:
        study: With a search.
        best: Of :func:`best_of`.
    """
    arms = tuple(
        arm.model_copy(
            update={
                "changes": {**arm.changes, **best[arm.name].changes},
                "note": "; ".join(filter(None, (arm.note, _settings_text(best[arm.name].changes)))),
            }
        )
        if arm.name in best
        else arm
        for arm in study.arms
    )
    return study.model_copy(update={"arms": arms, "space": {}, "search": None})


def _settings_text(changes: Mapping[str, Any]) -> str:
    settings = ", ".join(
        f"{path} {value:.3g}" if isinstance(value, float) else f"{path} {value}" for path, value in changes.items()
    )
    return f"at the best settings of its search, {settings}"


def _tells(complete: list[FrozenTrial]) -> bool:
    """True when the trials are enough and differ."""
    return len(complete) >= FEWEST_FOR_IMPORTANCE and len({trial.values[0] for trial in complete}) > 1
