"""Sweeps and grids are ordinary arms; an arm that changes more than the study is about is pointed out."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from siod.errors import UserError
from siod.training.experiment import Experiment
from siod.training.presets import DIGITS_DMINER
from siod.tuning.arms import confounded, grid, sweep
from siod.tuning.running.recorder import header_of
from siod.tuning.study import Arm, Study

SIMILARITY = "dminer.splg.min_similarity"


def declared(base: Experiment, arms: tuple[Arm, ...], factors: tuple[str, ...], baseline: str = "") -> Study:
    return Study(name="s", question="?", base=base, arms=arms, baseline=baseline or arms[0].name, factors=factors)


def test_a_sweep_has_one_arm_per_value_and_changes_nothing_else(small: Experiment) -> None:
    base = small.with_changes({"dminer": DIGITS_DMINER})
    study = declared(base, sweep(SIMILARITY, (0.5, 0.6, 0.7)), (SIMILARITY,))
    assert [arm.name for arm in study.arms] == ["min_similarity-0.5", "min_similarity-0.6", "min_similarity-0.7"]
    assert [arm.label for arm in study.arms] == ["min_similarity 0.5", "min_similarity 0.6", "min_similarity 0.7"]
    assert study.experiment(study.arms[2], 0) == base.with_changes({SIMILARITY: 0.7})
    assert confounded(study) == {}


def test_a_grid_has_all_combinations_the_last_setting_fastest() -> None:
    arms = grid({"recipe.epochs": (1, 2), "recipe.precision": ("fp32", "bf16")})
    assert [tuple(arm.changes.values()) for arm in arms] == [(1, "fp32"), (1, "bf16"), (2, "fp32"), (2, "bf16")]
    assert arms[1].name == "epochs-1_precision-bf16"


@pytest.mark.parametrize("values", [{}, {"recipe.epochs": ()}, {"recipe.epochs": (1,), "dminer.pgcl.top_m": ()}])
def test_a_grid_without_values_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"names no value|has no path"):
        grid(values)


def test_values_that_would_share_a_name_are_refused() -> None:
    with pytest.raises(UserError, match="both named 'top_m-1-2'"):
        sweep("dminer.pgcl.top_m", ((1, 2), "1-2"))


def test_an_arm_that_changes_more_than_the_factor_is_named_with_what_it_changes(small: Experiment) -> None:
    arms = (
        Arm(name="base"),
        Arm(name="dminer", changes={"dminer": DIGITS_DMINER}),
        Arm(name="more", changes={"dminer": DIGITS_DMINER, "recipe.epochs": 3}, note="as in the appendix"),
    )
    study = declared(small, arms, ("dminer",))
    assert confounded(study) == {"more": ("recipe.epochs",)}
    notes = [arm.note for arm in header_of(study, "").arms]
    assert notes == ["", "", "as in the appendix; confounded: it also changes recipe.epochs"]


def test_what_a_run_records_of_a_study_has_its_primary_comparisons(small: Experiment) -> None:
    arms = (Arm(name="base"), Arm(name="dminer", changes={"dminer": DIGITS_DMINER}))
    study = declared(small, arms, ())
    assert header_of(study, "").primary == ()
    assert header_of(study.model_copy(update={"primary": (("dminer", "base"),)}), "").primary == (("dminer", "base"),)


def test_where_a_run_is_carried_out_confounds_nothing(small: Experiment) -> None:
    arms = (Arm(name="base"), Arm(name="two", changes={"compute.workers": 2, "recipe.epochs": 3}))
    assert confounded(declared(small, arms, ("recipe.epochs",))) == {}


def test_without_declared_factors_nothing_is_confounded(small: Experiment) -> None:
    arms = (Arm(name="base"), Arm(name="other", changes={"recipe.epochs": 3, "recipe.batch_size": 8}))
    assert confounded(declared(small, arms, ())) == {}


def test_a_factor_no_experiment_has_is_answered_with_the_closest(small: Experiment) -> None:
    with pytest.raises(ValidationError, match="did you mean 'dminer'"):
        declared(small, (Arm(name="base"),), ("dmine.splg",))


def test_published_figures_of_a_sweep_stand_beside_their_values() -> None:
    arms = sweep("recipe.epochs", (1, 2), published=[{"ap_s": 0.1}, {"ap_s": 0.2}])
    assert [arm.published for arm in arms] == [{"ap_s": 0.1}, {"ap_s": 0.2}]
    with pytest.raises(UserError, match=r"'recipe\.epochs' has 3 values and published figures for 2"):
        sweep("recipe.epochs", (1, 2, 3), published=[{"ap_s": 0.1}, {"ap_s": 0.2}])
