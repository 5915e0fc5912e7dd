"""Every declared study loads and plans; each says in its header how to run it."""

from __future__ import annotations

import importlib

import pytest

from siod.tuning.arms import confounded
from siod.tuning.plan import plan
from siod.tuning.study import list_studies, load_study, study_names

NAMES = study_names()


def test_all_studies_are_found() -> None:
    assert NAMES == (
        "demo",
        "digits_comining",
        "digits_detectors",
        "digits_mask",
        "digits_methods",
        "digits_modules",
        "table1_detectors",
        "table2_methods",
        "table6_comining",
    )
    assert [study.name for study in list_studies()] == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_study_is_named_like_its_module_and_plans_every_arm_with_every_seed(name: str) -> None:
    study = load_study(name)
    assert study.name == name
    trials = plan(study)
    assert len(trials) == len(study.arms) * len(study.seeds)
    assert len({trial.experiment.identity("data") for trial in trials}) == len(trials)


@pytest.mark.parametrize("name", NAMES)
def test_a_study_s_header_names_its_command(name: str) -> None:
    header = importlib.import_module(f"siod.studies.{name}").__doc__
    assert header is not None
    assert "\nCommand: " in header


def test_the_demo_is_three_arms_with_one_seed() -> None:
    study = load_study("demo")
    assert [arm.name for arm in study.arms] == ["fsod", "base", "dminer"]
    assert study.seeds == (0,)


def test_digits_modules_has_the_rows_of_table_3_and_five_seeds() -> None:
    study = load_study("digits_modules")
    assert [arm.name for arm in study.arms] == ["fsod", "base", "splg", "pgcl", "dminer"]
    assert len(study.seeds) == 5
    miners = {
        arm.name: (dminer is not None and dminer.splg is not None, dminer is not None and dminer.pgcl is not None)
        for arm in study.arms
        for dminer in [study.experiment(arm, 0).dminer]
    }
    assert miners == {
        "fsod": (False, False),
        "base": (False, False),
        "splg": (True, False),
        "pgcl": (False, True),
        "dminer": (True, True),
    }
    assert [arm.name for arm in study.arms if study.experiment(arm, 0).annotations.policy == "full"] == ["fsod"]


@pytest.mark.parametrize("name", ["table2_methods", "digits_methods"])
def test_every_method_of_table_2_learns_from_its_own_kind_of_annotations(name: str) -> None:
    study = load_study(name)
    rows = {
        arm.name: (experiment.annotations.policy, None if experiment.method is None else experiment.method.kind)
        for arm in study.arms
        for experiment in [study.experiment(arm, 0)]
    }
    expected = {
        "ssod-base": ("ssod", "annotated_only"),
        "saod-base": ("matched", None),
        "base": ("keep", None),
        "csd": ("ssod", "csd"),
        "teacher_student": ("ssod", "teacher_student"),
        "comining": ("matched", "comining"),
        "dminer": ("keep", None),
    }
    assert {arm: rows[arm] for arm in expected} == expected
    assert [arm.name for arm in study.arms if study.experiment(arm, 0).dminer is not None] == [
        "dminer",
        "dminer-mean_teacher",
    ]
    assert confounded(study) == {}


def test_the_published_rows_of_tables_2_and_6_are_the_paper_s() -> None:
    table2, table6 = load_study("table2_methods"), load_study("table6_comining")
    assert {arm.name: arm.published["ap_s"] for arm in table2.arms if arm.published} == pytest.approx(
        {
            "ssod-base": 0.144,
            "saod-base": 0.140,
            "base": 0.139,
            "csd": 0.151,
            "teacher_student": 0.158,
            "comining": 0.148,
            "dminer": 0.168,
        }
    )
    assert {arm.name: arm.published["ap_s"] for arm in table6.arms if arm.published} == pytest.approx(
        {"saod-comining": 0.194, "comining": 0.236}
    )
    assert [arm.published["ap_s5"] for arm in table6.arms if arm.published] == pytest.approx([0.167, 0.236])


def test_the_arms_that_share_a_teacher_ask_for_the_same_one() -> None:
    study = load_study("digits_methods")
    needing = [arm.name for arm in study.arms if (method := study.experiment(arm, 0).method) and method.needs_teacher()]
    assert needing == ["teacher_student"]
    teacher = study.experiment(study.arm("teacher_student"), 0).with_changes({"method": {"kind": "annotated_only"}})
    assert teacher.identity("data") == study.experiment(study.arm("ssod-base"), 0).identity("data")
