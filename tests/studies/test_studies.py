"""Every declared study loads and plans; each says in its header how to run it."""

from __future__ import annotations

import importlib

import pytest

from siod.tuning.plan import plan
from siod.tuning.study import list_studies, load_study, study_names

NAMES = study_names()


def test_all_studies_are_found() -> None:
    assert NAMES == ("demo", "digits_detectors", "digits_mask", "digits_modules", "table1_detectors")
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
