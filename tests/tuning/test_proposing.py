"""How Optuna proposes: with settings that are said, written down, and kept by a search that goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import optuna
import pytest

from siod.errors import UserError
from siod.tuning.searching.proposing import (
    HISTORY,
    described,
    make_pruner,
    make_sampler,
    pruner_settings,
    sampler_settings,
    settle,
)
from siod.tuning.space import Search

if TYPE_CHECKING:
    from siod.tuning.searching.proposing import Settings

SAMPLERS = ("tpe", "random", "grid", "cmaes", "nsga2")


def proposed(study: optuna.Study, settings: Settings, count: int, seed: int = 3) -> list[tuple[float, int, Any]]:
    """What a sampler proposes for trials that all end at once, each better at higher values."""
    found = []
    for _ in range(count):
        number = len(study.get_trials(deepcopy=False))
        study.sampler = make_sampler(settings, seed=seed + number)
        trial = study.ask()
        rate = trial.suggest_float("x", 1e-4, 1e-2, log=True)
        size, kind = trial.suggest_int("n", 4, 16), trial.suggest_categorical("c", ["a", "b", "c"])
        values = [rate * 100 + size / 100, float(size)]
        study.tell(trial, values[: len(study.directions)])
        found.append((rate, size, kind))
    return found


def new_study(search: Search) -> optuna.Study:
    return optuna.create_study(directions=["maximize"] if search.cost is None else ["maximize", "minimize"])


# What Optuna 5.0.0 proposed last of nine, when siod left open all that it now sets.
@pytest.mark.parametrize(
    ("sampler", "cost", "last"),
    [
        ("tpe", None, [(0.009194778738897446, 13, "b"), (0.0061051577574958655, 14, "b")]),
        ("tpe", "epoch_seconds", [(0.0016848490472661118, 9, "b"), (0.00048735960617545064, 16, "a")]),
        ("cmaes", None, [(0.0012910733394225881, 7, "a"), (0.0004266026733114754, 12, "c")]),
        ("nsga2", "epoch_seconds", [(0.0034885205571560775, 8, "c"), (0.00022937145935627006, 11, "a")]),
        ("random", None, [(0.0034885205571560775, 4, "b"), (0.00022937145935627006, 4, "b")]),
    ],
)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_what_is_set_proposes_what_optuna_5_proposes_by_default(
    sampler: Any, cost: Any, last: list[tuple[float, int, str]]
) -> None:
    search = Search(trials=9, sampler=sampler, cost=cost)
    assert proposed(new_study(search), sampler_settings(search), 9)[-2:] == last


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("pruner", ["none", "asha", "hyperband", "median"])
def test_a_search_writes_down_what_it_proposes_with(sampler: Any, pruner: Any) -> None:
    search = Search(trials=20, sampler=sampler, pruner="none" if sampler == "grid" else pruner)
    study = new_study(search)
    settle(study, search, seed=7, goes_on=True)
    written = {
        "from_trial": 0,
        "optuna": optuna.__version__,
        "seed": 7,
        "sampler": sampler_settings(search),
        "pruner": pruner_settings(search),
    }
    assert study.user_attrs[HISTORY] == [written]
    assert settle(study, search, seed=7, goes_on=True) == (written["sampler"], written["pruner"])
    assert study.user_attrs[HISTORY] == [written], "nothing is new the second time"
    make_pruner(pruner_settings(search), grace_epochs=1, epochs=4)


def test_a_search_goes_on_with_the_settings_it_was_begun_with() -> None:
    begun = Search(trials=9)
    older = {"kind": "tpe", "n_startup_trials": 2, "n_ei_candidates": 5, "multivariate": False, "constant_liar": False}
    study, by_hand = new_study(begun), new_study(begun)
    entry = {"from_trial": 0, "optuna": "4.6.0", "seed": 3, "sampler": older, "pruner": pruner_settings(begun)}
    study.set_user_attr(HISTORY, [entry])
    sampler, _ = settle(study, Search(trials=100), seed=3, goes_on=True)
    assert sampler == older
    by_hand_sampler = {name: value for name, value in older.items() if name != "kind"}
    expected = []
    for number in range(6):
        by_hand.sampler = optuna.samplers.TPESampler(seed=3 + number, **by_hand_sampler)
        trial = by_hand.ask()
        rate, size = trial.suggest_float("x", 1e-4, 1e-2, log=True), trial.suggest_int("n", 4, 16)
        expected.append((rate, size, trial.suggest_categorical("c", ["a", "b", "c"])))
        by_hand.tell(trial, rate * 100 + size / 100)
    assert proposed(study, sampler, 6) == expected
    newer = [(one["from_trial"], one["optuna"]) for one in study.user_attrs[HISTORY]]
    assert newer == [(0, optuna.__version__)], "no trial was asked for under the older version"


def test_another_version_or_sampler_is_told_from_the_trial_it_begins_with() -> None:
    search = Search(trials=8)
    study = new_study(search)
    sampler, pruner = settle(study, search, seed=3, goes_on=True)
    study.set_user_attr(HISTORY, [{**study.user_attrs[HISTORY][0], "optuna": "4.9.0"}])
    proposed(study, sampler, 2)
    settle(study, search, seed=3, goes_on=False)
    assert len(study.user_attrs[HISTORY]) == 1, "the search is over"
    assert settle(study, search, seed=3, goes_on=True) == (sampler, pruner)
    proposed(study, sampler, 3)
    settle(study, Search(trials=8, sampler="random", pruner="median"), seed=3, goes_on=True)
    tpe = "tpe (n_startup_trials 4, n_ei_candidates 24, multivariate true, group false, constant_liar true)"
    version = optuna.__version__
    assert described(study) == (
        f"by Optuna 4.9.0, sampler {tpe}, pruner none; "
        f"from trial 2 on by Optuna {version}, sampler {tpe}, pruner none; "
        f"from trial 5 on by Optuna {version}, sampler random, "
        "pruner median (n_startup_trials 4, interval_steps 1, n_min_trials 1)"
    )


def test_an_older_search_without_a_record_is_described_from_where_it_goes_on() -> None:
    search = Search(trials=8, sampler="random")
    study = new_study(search)
    proposed(study, sampler_settings(search), 3)
    assert described(study) == ""
    settle(study, search, seed=3, goes_on=True)
    assert described(study) == f"from trial 3 on by Optuna {optuna.__version__}, sampler random, pruner none"


def test_a_setting_that_optuna_has_dropped_is_refused_in_a_sentence() -> None:
    with pytest.raises(UserError, match=r"begun with tpe \(cleverness=3\), which Optuna .* does not take .*rename"):
        make_sampler({"kind": "tpe", "cleverness": 3}, seed=0)
    with pytest.raises(UserError, match=r"begun with asha \(cleverness=3\), which Optuna .* does not take .*rename"):
        make_pruner({"kind": "asha", "cleverness": 3}, grace_epochs=1, epochs=4)
