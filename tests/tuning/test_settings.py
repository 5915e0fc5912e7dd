"""Settings of one call apply to every arm of a study, or are refused where the study is about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from siod.errors import UserError
from siod.studies.table3_modules import STUDY as TABLE3
from siod.training.presets import DIGITS_DMINER
from siod.tuning.arms import confounded
from siod.tuning.settings import with_settings
from siod.tuning.space import Float, Search
from siod.tuning.study import Arm

if TYPE_CHECKING:
    from siod.tuning.study import Study


def settings_of(study: Study, path: str) -> dict[str, Any]:
    found = {}
    for arm in study.arms:
        place: Any = study.experiment(arm, study.seeds[0]).model_dump()
        for name in path.split("."):
            place = place[name]
        found[arm.name] = place
    return found


def test_a_setting_reaches_every_arm(a_study: Study) -> None:
    changed = with_settings(a_study, {"recipe.epochs": 3, "compute.loader_workers": 2})
    assert settings_of(changed, "recipe.epochs") == {"full": 3, "base": 3, "dminer": 3}
    assert settings_of(changed, "compute.loader_workers") == {"full": 2, "base": 2, "dminer": 2}
    assert changed.name == a_study.name
    assert with_settings(a_study, {}) is a_study


def test_a_setting_survives_an_arm_that_sets_all_around_it() -> None:
    # The arms of the larger detector set the whole recipe, of which the precision is the base's.
    changed = with_settings(TABLE3, {"recipe.precision": "fp32"})
    assert set(settings_of(changed, "recipe.precision").values()) == {"fp32"}
    assert settings_of(changed, "recipe.batch_size") == settings_of(TABLE3, "recipe.batch_size")
    assert confounded(changed) == confounded(TABLE3) == {}


def test_what_is_carried_out_elsewhere_learns_the_same_and_another_precision_does_not() -> None:
    def identity(study: Study) -> str:
        return study.experiment(study.arms[0], 0).identity("data")

    elsewhere = with_settings(TABLE3, {"compute.workers": 2, "compute.gpus_per_worker": 1, "compute.loader_workers": 4})
    assert identity(elsewhere) == identity(TABLE3)
    assert identity(with_settings(TABLE3, {"recipe.precision": "fp32"})) != identity(TABLE3)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("annotations", r"'annotations' cannot be set for all arms: arm 'full' sets 'annotations'"),
        ("dminer", r"'dminer' cannot be set for all arms: arm 'dminer' sets 'dminer'"),
        ("dminer.splg.min_similarity", r"cannot be set for all arms: arm 'dminer' sets 'dminer'"),
        ("seed", r"'seed' is set by the study's seeds; choose among them with --seed"),
        ("recipe.epoch", r"unknown setting 'recipe.epoch'; did you mean 'epochs'\?"),
    ],
)
def test_what_an_arm_is_about_is_refused(a_study: Study, path: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        with_settings(a_study, {path: 1})


def test_what_contains_an_arm_s_setting_is_refused(a_study: Study) -> None:
    arms = (Arm(name="base"), Arm(name="slow", changes={"recipe.learning_rate": 1e-4}))
    study = type(a_study).model_validate({**dict(a_study), "arms": arms})
    with pytest.raises(UserError, match=r"'recipe' cannot be set for all arms: arm 'slow' sets 'recipe.learning_rate'"):
        with_settings(study, {"recipe": {}})


def test_a_part_that_an_arm_sets_in_its_own_way_is_refused() -> None:
    # 114 in the base, 96 in the recipe of the larger detector.
    with pytest.raises(
        UserError, match=r"'recipe.batch_size' cannot be set for all arms: arm 'centernet_r101-base' sets 'recipe'"
    ):
        with_settings(TABLE3, {"recipe.batch_size": 12})


@pytest.mark.parametrize("path", ["dminer.pgcl.temperature", "dminer.pgcl", "dminer"])
def test_what_the_space_tunes_is_refused(a_study: Study, path: str) -> None:
    searched = {
        "base": a_study.base.with_changes({"dminer": DIGITS_DMINER}),
        "arms": (Arm(name="base"),),
        "space": {"dminer.pgcl.temperature": Float(low=0.05, high=0.2)},
        "search": Search(trials=2),
    }
    study = type(a_study).model_validate({**dict(a_study), **searched})
    with pytest.raises(
        UserError, match=f"'{path}' cannot be set for all arms: the study's space tunes 'dminer.pgcl.temperature'"
    ):
        with_settings(study, {path: 0.1})


def test_a_value_that_some_arm_cannot_have_is_refused_with_the_study(a_study: Study) -> None:
    with pytest.raises(UserError, match=r"recipe.epochs: Input should be greater than 0"):
        with_settings(a_study, {"recipe.epochs": 0})
