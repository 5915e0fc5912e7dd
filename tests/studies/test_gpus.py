"""Every study on COCO uses the GPUs of a machine, one, four or eight of them, as docs/gpus.md says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from siod.training.experiment import Compute
from siod.training.placement import Node, Placement, fits_at_once, place
from siod.training.presets import coco_root
from siod.tuning.planning.plan import Capacity, Trial, place_trials, plan
from siod.tuning.study import list_studies, load_study

COCO = {study.name: study for study in list_studies() if getattr(study.base.data, "root", None) == coco_root()}
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "gpus.md").read_text()
DIGITS = {study.name: study for study in list_studies() if study.base.data.kind == "digits"}


def machine(gpus: int) -> tuple[Node, ...]:
    """Nine cores a GPU."""
    return (Node(9 * gpus, gpus),)


def described(trials: tuple[Trial, ...], gpus: int) -> tuple[str, ...]:
    capacity = Capacity(machine(gpus))
    return capacity.describe(trials, capacity.slots(trials))


def test_all_studies_on_coco_are_looked_at() -> None:
    assert sorted(COCO) == [
        "dminer_search",
        "table1_detectors",
        "table2_methods",
        "table3_modules",
        "table4_splg",
        "table5_pgcl",
        "table6_comining",
        "table7_ap_change",
        "table_modern",
    ]


@pytest.mark.parametrize("gpus", [1, 4, 8])
@pytest.mark.parametrize("name", sorted(COCO))
def test_a_study_on_coco_trains_one_trial_on_each_gpu(name: str, gpus: int) -> None:
    trials = place_trials(plan(COCO[name]), machine(gpus))
    assert {Placement.of(trial.experiment.compute) for trial in trials} == {Placement(1, 9, 1, 8)}
    at_once = min(gpus, len(trials))
    (line,) = described(trials, gpus)
    plural = "s" * (at_once != 1)
    idle = "nothing idle" if at_once == gpus else f"idle: {gpus - at_once} GPU, {9 * (gpus - at_once)} CPU"
    assert line == f"{at_once} trial{plural} at once, each 1 GPU, 9 CPU (8 loader processes); {idle}"


@pytest.mark.parametrize(
    ("gpus", "study", "settings"),
    [
        (1, "table3_modules", {}),
        (4, "table3_modules", {}),
        (8, "table3_modules", {}),
        (4, "table1_detectors", {"workers": 4}),
        (8, "table1_detectors", {"workers": 4}),
        (4, "dminer_search", {}),
        (4, "digits_modules", {"gpus_per_worker": 0.25}),
    ],
)
def test_the_page_on_gpus_shows_what_a_plan_says(gpus: int, study: str, settings: dict[str, float]) -> None:
    trials = plan(load_study(study))
    asked = [
        replace(trial, experiment=trial.experiment.model_copy(update={"compute": Compute(**settings)}))
        for trial in trials
    ]
    (line,) = described(place_trials(asked, machine(gpus)), gpus)
    assert f"\n    {line}\n" in PAGE


def test_only_the_three_final_trials_of_the_search_are_fewer_than_four_gpus() -> None:
    assert {name for name, study in COCO.items() if len(plan(study)) < 4} == {"dminer_search"}
    study = COCO["dminer_search"]
    assert study.search is not None
    first = place_trials(plan(study), machine(8))[:1]
    assert Capacity(machine(8)).slots(first, count=study.search.trials) == 8


@pytest.mark.parametrize(
    ("workers", "gpus", "at_once"), [(4, 4, 1), (8, 8, 1), (4, 8, 2), (2, 4, 2), (2, 8, 4), (2, 1, 0)]
)
def test_workers_of_one_trial_spread_over_the_gpus(workers: int, gpus: int, at_once: int) -> None:
    placement = Placement.of(place(Compute(workers=workers), machine(gpus)))
    assert placement == Placement(workers, 9, 1, 8)
    assert fits_at_once(placement, machine(gpus)) == at_once


@pytest.mark.parametrize("name", sorted(COCO))
def test_a_study_on_coco_trains_in_bf16_and_judges_every_few_epochs_and_after_the_last(name: str) -> None:
    for trial in plan(COCO[name]):
        experiment = trial.experiment
        assert experiment.recipe.precision == "bf16"
        assert 2 <= experiment.evaluation.every_epochs <= 5
        assert experiment.recipe.epochs % experiment.evaluation.every_epochs == 0


def test_the_search_on_coco_is_judged_when_asha_looks() -> None:
    study = COCO["dminer_search"]
    assert study.search is not None
    rungs = [study.search.grace_epochs * 3**rung for rung in range(3)]
    assert [rung % study.base.evaluation.every_epochs for rung in rungs] == [0, 0, 0]


@pytest.mark.parametrize("name", sorted(DIGITS))
def test_a_study_on_digits_stays_on_its_core_where_there_is_no_gpu(name: str) -> None:
    trials = place_trials(plan(DIGITS[name]), (Node(2),))
    assert {Placement.of(trial.experiment.compute) for trial in trials} == {Placement(1, 1, 0, 0)}
