"""How Optuna proposes and prunes: every setting said, and written down with the search (knows Optuna).

Optuna's defaults change between its versions. Here each is set, to what it is in Optuna 5.0, and stands in the search's
database with the version, so that a search goes on as it began. What Optuna means to remove (``prior_weight``,
``gamma``, ``weights`` of TPE, ``sigma0`` of CMA-ES and the like) is left to it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import TrialState

from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from siod.tuning.space import Search

    # Plain data: "kind", and what Optuna's class of that kind is made with.
    Settings = Mapping[str, Any]

HISTORY = "proposing"
"""The user attribute of an Optuna study that lists what it proposed with, from which trial on."""
# Random trials before a model of the objective is worth asking.
FEWEST_STARTUP, MOST_STARTUP = 4, 10


def asked(study: optuna.Study) -> int:
    """Number of trials asked for so far, without those still enqueued."""
    return sum(trial.state != TrialState.WAITING for trial in study.get_trials(deepcopy=False))


def sampler_settings(search: Search) -> Settings:
    """Settings of the sampler that a new search begins with.

    Args:
        search: As declared.
    """
    startup = min(MOST_STARTUP, max(FEWEST_STARTUP, search.trials // 4))
    settings: dict[str, dict[str, Any]] = {
        "tpe": {
            "n_startup_trials": startup,
            "n_ei_candidates": 24,
            "multivariate": search.cost is None,
            "group": False,
            "constant_liar": True,
        },
        "cmaes": {
            "n_startup_trials": startup,
            "consider_pruned_trials": False,
            "popsize": None,
            "use_separable_cma": False,
            "with_margin": False,
            "lr_adapt": False,
        },
        "nsga2": {
            "population_size": startup,
            "mutation": None,
            "mutation_prob": None,
            "crossover_prob": 0.9,
            "swapping_prob": 0.5,
        },
    }
    return {"kind": search.sampler, **settings.get(search.sampler, {})}


def pruner_settings(search: Search) -> Settings:
    """Settings of the pruner that a new search begins with, but for the epochs, which a study declares.

    Args:
        search: As declared.
    """
    settings: dict[str, dict[str, Any]] = {
        "asha": {"reduction_factor": 3, "min_early_stopping_rate": 0, "bootstrap_count": 0},
        "hyperband": {"reduction_factor": 3, "bootstrap_count": 0},
        "median": {"n_startup_trials": FEWEST_STARTUP, "interval_steps": 1, "n_min_trials": 1},
    }
    return {"kind": search.pruner, **settings.get(search.pruner, {})}


def settle(study: optuna.Study, search: Search, *, seed: int, goes_on: bool) -> tuple[Settings, Settings]:
    """The settings that a search has used so far, or those of a new one; what is new is written down.

    Another sampler, pruner or seed in the declaration counts from the next trial on.

    Args:
        study: Of Optuna.
        search: As declared.
        seed: Of the first proposal.
        goes_on: Whether more trials are to be proposed.

    Returns:
        Of the sampler and of the pruner.
    """
    history = list(study.user_attrs.get(HISTORY, ()))
    last = history[-1] if history else {}
    used = {}
    for part, declared in (("sampler", sampler_settings(search)), ("pruner", pruner_settings(search))):
        before = last.get(part, {})
        used[part] = before if before.get("kind") == declared["kind"] else declared
    now = {"optuna": optuna.__version__, "seed": seed, **used}
    if goes_on and {**last, **now} != last:
        start = asked(study)
        before_it = [entry for entry in history if entry["from_trial"] < start]
        study.set_user_attr(HISTORY, [*before_it, {"from_trial": start, **now}])
    return used["sampler"], used["pruner"]


def make_sampler(settings: Settings, *, seed: int) -> optuna.samplers.BaseSampler:
    """The sampler of some settings.

    Args:
        settings: Of :func:`settle`.
        seed: Of its random numbers.

    Raises:
        UserError: The installed Optuna does not know one of the settings.
    """
    kind, own = _split(settings)
    with _known_settings(kind, own):
        if kind == "tpe":
            return optuna.samplers.TPESampler(seed=seed, **own)
        if kind == "cmaes":
            random = optuna.samplers.RandomSampler(seed=seed)
            return optuna.samplers.CmaEsSampler(
                seed=seed, independent_sampler=random, warn_independent_sampling=False, **own
            )
        if kind == "nsga2":
            crossover = optuna.samplers.nsgaii.UniformCrossover(own["swapping_prob"])
            return optuna.samplers.NSGAIISampler(seed=seed, crossover=crossover, **own)
    return optuna.samplers.RandomSampler(seed=seed)


def make_pruner(settings: Settings, *, grace_epochs: int, epochs: int) -> optuna.pruners.BasePruner:
    """The pruner of some settings.

    Args:
        settings: Of :func:`settle`.
        grace_epochs: No trial is ended before so many; at least 1.
        epochs: Of a whole trial.

    Raises:
        UserError: The installed Optuna does not know one of the settings.
    """
    kind, own = _split(settings)
    with _known_settings(kind, own):
        if kind == "asha":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=grace_epochs, **own)
        if kind == "hyperband":
            most = max(epochs, grace_epochs)
            return optuna.pruners.HyperbandPruner(min_resource=grace_epochs, max_resource=most, **own)
        if kind == "median":
            return optuna.pruners.MedianPruner(n_warmup_steps=grace_epochs, **own)
    return optuna.pruners.NopPruner()


def described(study: optuna.Study) -> str:
    """How the trials of a search were proposed, for a reader; empty where it is not written down.

    Args:
        study: Of Optuna.
    """
    parts = []
    for entry in study.user_attrs.get(HISTORY, ()):
        start = f"from trial {entry['from_trial']} on " if entry["from_trial"] else ""
        sampler, pruner = _text(entry["sampler"]), _text(entry["pruner"])
        parts.append(f"{start}by Optuna {entry['optuna']}, sampler {sampler}, pruner {pruner}")
    return "; ".join(dict.fromkeys(parts))


def _split(settings: Settings) -> tuple[str, dict[str, Any]]:
    return settings["kind"], {name: value for name, value in settings.items() if name != "kind"}


def _text(settings: Settings) -> str:
    kind, own = _split(settings)
    named = ", ".join(f"{name} {str(value).lower()}" for name, value in own.items())
    return f"{kind} ({named})" if named else kind


@contextmanager
def _known_settings(kind: str, own: Settings) -> Iterator[None]:
    """Refuse settings in words that the installed Optuna does not take."""
    try:
        yield
    except (TypeError, ValueError) as error:
        named = ", ".join(f"{name}={value}" for name, value in own.items())
        raise UserError(
            f"the search was begun with {kind} ({named}), which Optuna {optuna.__version__} does not take ({error}); "
            "install the version that it was begun with, or rename the study"
        ) from error
