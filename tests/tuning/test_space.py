from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from siod.errors import UserError
from siod.training.presets import DIGITS_DMINER, digits_centernet
from siod.tuning.space import Choice, Float, Int, Search, applicable, combinations, own_settings
from siod.tuning.study import Arm, Study

if TYPE_CHECKING:
    from siod.tuning.space import Distribution

RATE = Float(low=1e-4, high=1e-2, log=True)
ARMS = (Arm(name="base"), Arm(name="dminer", changes={"dminer": DIGITS_DMINER}))


def study(space: dict[str, Distribution], **changes: Any) -> Study:
    fields = {"name": "s", "question": "?", "base": digits_centernet(), "arms": ARMS, "baseline": "base"}
    return Study(**{**fields, "space": space, "search": Search(), **changes})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"low": 2.0, "high": 1.0}, "low 2.0 must be below high 1.0"),
        ({"low": 0.0, "high": 1.0, "log": True}, "low must be above 0 with log"),
        ({"low": 0.1, "high": 1.0, "log": True, "step": 0.1}, "log and step exclude each other"),
    ],
)
def test_an_impossible_range_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Float(**settings)


def test_steps_reach_the_end_without_rounding_errors() -> None:
    assert Float(low=0.5, high=0.7, step=0.05).points() == (0.5, 0.55, 0.6, 0.65, 0.7)
    assert Int(low=4, high=9, step=2).points() == (4, 6, 8)


def test_a_setting_below_null_is_left_out_for_that_arm_only() -> None:
    space = {"recipe.learning_rate": RATE, "dminer.pgcl.top_m": Int(low=4, high=16)}
    base, dminer = (study(space).experiment(arm, 0) for arm in ARMS)
    assert list(applicable(space, base)) == ["recipe.learning_rate"]
    assert list(applicable(space, dminer)) == list(space)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"recipe.learning_rate": Float(low=-1.0, high=1.0)}, "learning_rate.*greater than 0"),
        ({"dminer.splg.min_similarity": Float(low=0.5, high=1.5)}, "min_similarity.*less than or equal to 1"),
        ({"detector.family": Choice(values=("centernet", "centernot"))}, "unknown family 'centernot'"),
    ],
)
def test_a_path_or_an_end_that_the_experiment_refuses_is_named(space: dict[str, Distribution], message: str) -> None:
    with pytest.raises(UserError, match=message):
        study(space)


@pytest.mark.parametrize(
    ("space", "changes", "message"),
    [
        ({"recipe.learning_rate": RATE}, {"search": None}, "space and search belong together"),
        ({}, {}, "space and search belong together"),
        ({"recipe.learning_rat": RATE}, {}, "space 'recipe.learning_rat': unknown setting.*learning_rate"),
        ({"annotations.k": Int(low=1, high=2)}, {}, "annotations is not tuned; make it an arm"),
        ({"dminer.pgcl.top_m": Int(low=4, high=16)}, {"arms": ARMS[:1]}, "no arm has this setting"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(
    space: dict[str, Distribution], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        study(space, **changes)


def test_settings_of_one_method_are_tuned_for_its_arms_alone() -> None:
    methods = {
        "csd": {"kind": "csd"},
        "comining": {"kind": "comining"},
    }
    arms = tuple(Arm(name=name, changes={"method": method}) for name, method in methods.items())
    space = {
        "method.foreground_score": Float(low=0.1, high=0.5),
        "method.pseudo.min_score": Float(low=0.3, high=0.7),
        "recipe.learning_rate": RATE,
    }
    both = study(space, arms=arms, baseline="csd")
    assert {arm.name: list(applicable(space, both.experiment(arm, 0))) for arm in arms} == {
        "csd": ["method.foreground_score", "recipe.learning_rate"],
        "comining": ["method.pseudo.min_score", "recipe.learning_rate"],
    }


def test_what_an_arm_is_about_is_not_tuned() -> None:
    fast = (Arm(name="base"), Arm(name="fast", changes={"recipe.learning_rate": 0.1}))
    with pytest.raises(ValidationError, match=r"arm 'fast' changes 'recipe\.learning_rate', which the space tunes"):
        study({"recipe.learning_rate": RATE}, arms=fast)


def test_a_grid_needs_steps() -> None:
    with pytest.raises(UserError, match="sampler grid needs a step or a choice"):
        study({"recipe.learning_rate": RATE}, search=Search(sampler="grid"))
    assert len(combinations({"a": Int(low=1, high=3), "b": Choice(values=(True, False))})) == 6


def test_two_objectives_are_not_pruned() -> None:
    with pytest.raises(ValidationError, match="pruner asha judges one objective"):
        Search(cost="epoch_seconds", pruner="asha")


OWN = {"dminer.pgcl.top_m": 16}


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        (Int(low=4, high=16), OWN),
        (Int(low=4, high=15), None),
        (Int(low=4, high=16, step=3), OWN),
        (Int(low=5, high=17, step=3), None),
        (Float(low=4.0, high=20.0), OWN),
        (Float(low=4.0, high=20.0, step=1.5), OWN),
        (Float(low=4.0, high=20.0, step=5.0), None),
        (Choice(values=(8, 16)), OWN),
        (Choice(values=("8", "16")), None),
    ],
)
def test_own_settings_lie_in_the_space_or_are_none(distribution: Distribution, expected: dict[str, int] | None) -> None:
    experiment = digits_centernet().with_changes({"dminer": DIGITS_DMINER})
    assert own_settings({"dminer.pgcl.top_m": distribution}, experiment) == expected
