"""A study refuses, when it is loaded, whatever would fail or mislead later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from siod.errors import UserError
from siod.tuning.study import Arm, Study, list_studies, load_study, study_names

if TYPE_CHECKING:
    from pathlib import Path

    from siod.training.experiment import Experiment

FILE = """
from siod.training.presets import digits_centernet
from siod.tuning.study import Arm, Study

STUDY = Study(
    name="mine",
    question="Is a file enough?",
    base=digits_centernet(),
    arms=(Arm(name="base"), Arm(name="slow", changes={"recipe.learning_rate": 1e-4})),
    baseline="base",
)
"""


def test_an_arm_is_the_base_with_its_changes_and_the_seed(a_study: Study) -> None:
    experiment = a_study.experiment(a_study.arm("dminer"), 1)
    assert experiment.seed == 1
    assert experiment.dminer is not None
    assert experiment.with_changes({"dminer": None, "seed": 0}) == a_study.base


def test_an_arm_without_a_label_is_called_by_its_name(a_study: Study) -> None:
    assert [arm.title for arm in a_study.arms] == ["full", "base", "SIOD (DMiner)"]


def test_a_study_survives_a_round_trip_through_json(a_study: Study) -> None:
    again = Study.model_validate_json(a_study.model_dump_json())
    pairs = zip(a_study.arms, again.arms, strict=True)
    assert all(a_study.experiment(old, 0) == again.experiment(new, 0) for old, new in pairs)


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        ({"arms": (Arm(name="base"), Arm(name="base"))}, "arm 'base' is declared twice; remove one"),
        ({"seeds": (0, 1, 0)}, "seed '0' is declared twice; remove one"),
        (
            {"arms": (Arm(name="base", seeds=3),), "seeds": (0, 1)},
            "arm 'base': seeds is 3, but the study has 2; leave it out",
        ),
        (
            {"arms": (Arm(name="base"), Arm(name="same", changes={"recipe.epochs": 2}))},
            "arms 'base' and 'same' are the same experiment; remove one",
        ),
        (
            {"arms": (Arm(name="base"), Arm(name="same", changes={"compute.loader_workers": 1}))},
            "arms 'base' and 'same' are the same experiment; remove one",
        ),
        (
            {"arms": (Arm(name="base"), Arm(name="lucky", changes={"seed": 7}))},
            "arm 'lucky' changes 'seed', which the study's seeds set; remove it from changes",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(small: Experiment, declared: dict[str, Any], sentence: str) -> None:
    settings = {"name": "s", "question": "?", "base": small, "arms": (Arm(name="base"),), "baseline": "base"}
    with pytest.raises(ValidationError, match=sentence):
        Study(**{**settings, **declared})


def test_a_path_that_does_not_exist_is_answered_with_arm_and_closest_name(small: Experiment) -> None:
    arms = (Arm(name="base"), Arm(name="odd", changes={"recipe.epoch": 3}))
    with pytest.raises(UserError, match=r"arm 'odd': unknown setting 'recipe.epoch'; did you mean 'epochs'\?"):
        Study(name="s", question="?", base=small, arms=arms, baseline="base")


def test_a_baseline_that_is_no_arm_is_answered_with_the_closest_arm(small: Experiment) -> None:
    with pytest.raises(UserError, match=r"study 's' has no arm 'bas'; did you mean 'base'\?"):
        Study(name="s", question="?", base=small, arms=(Arm(name="base"),), baseline="bas")


@pytest.mark.parametrize(
    ("declared", "place"),
    [
        ({"arms": ()}, "arms"),
        ({"seeds": ()}, "seeds"),
        ({"seeds": (-1,)}, "seeds"),
        ({"name": "../up"}, "name"),
        ({"name": ""}, "name"),
        ({"columns": ("accuracy",)}, "columns"),
        ({"objective": "loss"}, "objective"),
        ({"question": ""}, "question"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_its_place(
    small: Experiment, declared: dict[str, Any], place: str
) -> None:
    settings = {"name": "s", "question": "?", "base": small, "arms": (Arm(name="base"),), "baseline": "base"}
    with pytest.raises(ValidationError) as caught:
        Study(**{**settings, **declared})
    assert caught.value.errors()[0]["loc"][0] == place


def test_a_study_is_loaded_from_any_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    assert load_study(str(path)).name == "mine"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = 1", r"mine\.py: defines no STUDY of type siod\.tuning\.study\.Study"),
        ("STUDY = 3", r"mine\.py: defines no STUDY"),
        ("def broken(:", r"mine\.py: cannot be loaded \(SyntaxError"),
        ("import nothing_of_this_name", r"mine\.py: cannot be loaded \(ModuleNotFoundError: .*nothing_of_this_name"),
        (FILE.replace('name="mine"', 'name="mi ne"'), r"mine\.py: name: .*\(received 'mi ne'\)"),
        (FILE.replace("learning_rate", "learning_rat"), r"mine\.py: .*arm 'slow'.*did you mean 'learning_rate'"),
        (FILE.replace("1e-4", "-1"), r"mine\.py: .*arm 'slow'.*recipe\.learning_rate"),
    ],
)
def test_a_file_that_defines_no_sound_study_is_explained_in_one_sentence(
    tmp_path: Path, text: str, sentence: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UserError, match=sentence) as caught:
        load_study(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UserError, match=r"nowhere/mine\.py: no such file; name a Python file that defines STUDY"):
        load_study("nowhere/mine.py")


def test_an_unknown_study_is_answered_with_the_closest_name() -> None:
    with pytest.raises(
        UserError,
        match=r"study 'digit_modules' \(a file's name ends in \.py or \.json\); did you mean 'digits_modules'\?",
    ):
        load_study("digit_modules")


def test_every_study_that_comes_with_siod_loads_under_its_own_name() -> None:
    assert [study.name for study in list_studies()] == list(study_names())
    assert {"demo", "digits_modules"} <= set(study_names())


def grouped(small: Experiment, *groups: str, **settings: Any) -> Study:
    arms = [Arm(name=f"a{n}", group=group, changes={"recipe.epochs": n + 1}) for n, group in enumerate(groups)]
    return Study(name="s", question="?", base=small, arms=tuple(arms), baseline="a0", **settings)


def test_a_group_counts_its_gains_from_its_own_baseline(small: Experiment) -> None:
    study = grouped(small, "x", "x", "y", "y", baselines={"y": "a3"})
    assert [study.baseline_of(arm).name for arm in study.arms] == ["a0", "a0", "a3", "a3"]


@pytest.mark.parametrize(
    ("groups", "settings", "sentence"),
    [
        (("x", "y"), {}, "group 'y' has no baseline among its arms; name one in baselines"),
        (("x", "y"), {"baselines": {"y": "a0"}}, "group 'y' has no baseline among its arms"),
        (("x", "y"), {"baselines": {"z": "a1"}}, "no arm has the group 'z'"),
        (("x", "y"), {"baselines": {"y": "a7"}}, "has no arm 'a7'"),
        (("x", "y", "x"), {"baselines": {"y": "a1"}}, "arms of group 'x' do not follow each other"),
    ],
)
def test_groups_that_cannot_be_compared_are_refused(
    small: Experiment, groups: tuple[str, ...], settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises((ValidationError, UserError), match=sentence):
        grouped(small, *groups, **settings)


def test_primary_comparisons_are_arm_over_arm_across_groups_too(small: Experiment) -> None:
    primary = (("a1", "a0"), ("a2", "a1"), ("a3", "a1"))
    assert grouped(small, "x", "x", "y", "y", baselines={"y": "a3"}, primary=primary).primary == primary
    assert grouped(small, "", "").primary == ()


@pytest.mark.parametrize(
    ("primary", "sentence"),
    [
        ((("a7", "a0"),), "primary: the study has no arm 'a7'"),
        ((("a1", "a_0"),), "primary: the study has no arm 'a_0'; did you mean 'a0'"),
        ((("a1", "a1"),), "primary: arm 'a1' is compared with itself; name another arm"),
        ((("a1", "a0"), ("a1", "a0")), "primary: arms 'a1' and 'a0' are compared twice; remove one of the pairs"),
        ((("a2", "a1"), ("a1", "a2")), "primary: arms 'a1' and 'a2' are compared twice"),
        ((("a0", "a1"),), r"primary: 'a0' is the baseline of 'a1'; write \('a1', 'a0'\)"),
    ],
)
def test_primary_comparisons_that_cannot_be_are_refused(
    small: Experiment, primary: tuple[tuple[str, str], ...], sentence: str
) -> None:
    with pytest.raises(ValidationError, match=sentence):
        grouped(small, "", "", "", primary=primary)
