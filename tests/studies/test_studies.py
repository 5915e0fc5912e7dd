"""Every declared study loads and plans; each says in its header how to run it."""

from __future__ import annotations

import importlib

import pytest

from siod.comparison import fewest_pairs
from siod.tuning.arms import confounded
from siod.tuning.planning.plan import plan
from siod.tuning.study import list_studies, load_study, study_names

NAMES = study_names()


def test_all_studies_are_found() -> None:
    assert NAMES == (
        "aquarium_modules",
        "cells_modules",
        "chess_modules",
        "demo",
        "digits_comining",
        "digits_converged",
        "digits_detectors",
        "digits_fdr",
        "digits_mask",
        "digits_methods",
        "digits_modern",
        "digits_modules",
        "digits_pgcl",
        "digits_search",
        "digits_splg",
        "dminer_search",
        "rtdetr_search",
        "table1_detectors",
        "table2_methods",
        "table3_modules",
        "table4_splg",
        "table5_pgcl",
        "table6_comining",
        "table7_ap_change",
        "table_modern",
    )
    assert [study.name for study in list_studies()] == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_study_is_named_like_its_module_and_plans_every_arm_with_its_seeds(name: str) -> None:
    study = load_study(name)
    assert study.name == name
    trials = plan(study)
    assert len(trials) == sum(len(study.seeds_of(arm)) for arm in study.arms)
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
    assert needing == ["teacher_student", "teacher_student-siod"]
    teacher = study.experiment(study.arm("teacher_student"), 0).with_changes({"method": {"kind": "annotated_only"}})
    assert teacher.identity("data") == study.experiment(study.arm("ssod-base"), 0).identity("data")


def test_the_published_rows_of_tables_3_to_5_are_the_paper_s() -> None:
    table3, table4, table5 = (load_study(name) for name in ("table3_modules", "table4_splg", "table5_pgcl"))
    assert {arm.name: arm.published["ap_s"] for arm in table3.arms if "dminer" in arm.name} == pytest.approx(
        {"centernet_r18-dminer": 0.168, "centernet_r101-dminer": 0.197}
    )
    assert {arm.name: arm.published["ap_s"] for arm in table4.arms} == pytest.approx(
        {
            "paper": 0.158,
            "min_similarity-0.5": 0.162,
            "min_similarity-0.55": 0.160,
            "min_similarity-0.65": 0.155,
            "min_similarity-0.7": 0.154,
            "scale-0.8": 0.154,
            "scale-0.9": 0.158,
            "scale-1.1": 0.016,
            "scale-1.2": 0.0,
        }
    )
    assert table5.arm("temperature-0.01").published == {"ap_s": 0.0, "ap_s0": 0.0}
    assert table5.arm("top_m-96").published["ap_s"] == pytest.approx(0.163)
    for study in (table3, table4, table5):
        assert confounded(study) == {}


def test_trials_that_tables_1_3_and_7_share_are_trained_once() -> None:
    def identities(name: str, arms: tuple[str, ...]) -> list[str]:
        study = load_study(name)
        return [study.experiment(study.arm(arm), 0).identity("data") for arm in arms]

    rows = ("centernet_r18-base", "centernet_r101-base", "centernet_r18-dminer", "centernet_r101-dminer")
    assert identities("table3_modules", rows) == identities("table1_detectors", rows)
    rows = ("centernet_r18-fsod", "centernet_r101-base")
    assert identities("table7_ap_change", rows) == identities("table1_detectors", rows)


def test_the_twins_of_tables_4_and_5_share_a_row_with_digits_modules() -> None:
    modules = load_study("digits_modules")
    for name, arm in (("digits_splg", "splg"), ("digits_pgcl", "pgcl")):
        study = load_study(name)
        shared = modules.experiment(modules.arm(arm), 0).identity("data")
        assert study.experiment(study.arm(study.baseline), 0).identity("data") == shared


def test_what_digits_converged_tests_has_the_seeds_to_show_it() -> None:
    study = load_study("digits_converged")
    compared = {name for pair in study.primary for name in pair}
    assert all(len(study.seeds_of(study.arm(name))) >= fewest_pairs(len(study.primary)) for name in compared)
