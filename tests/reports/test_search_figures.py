"""The figures of a search: what was proposed, what it came to, what mattered and what gains cost."""

from __future__ import annotations

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest

from siod.reports.analysis.searched import importance, searched
from siod.reports.figures.drawing import STYLE, Drawing
from siod.reports.figures.search import draw_search
from siod.reports.figures.study import draw_study
from siod.reports.tables.table import tabulate
from siod.tracking.records import SEARCH, ArmRecord, StudyRecord, TrialRecord

RATE, WORD, FIXED = "recipe.learning_rate", "augmentation.kind", "recipe.epochs"


@pytest.fixture(scope="module")
def search(study: StudyRecord) -> StudyRecord:
    """Twelve trials of an arm whose objective follows the rate alone, the last pruned; one finished of another."""
    rng = np.random.default_rng(0)
    rates = 10 ** rng.uniform(-4, -2, 12)
    trials = [
        TrialRecord(
            run_id=f"a{number}",
            study=f"made_up{SEARCH}",
            arm="dminer",
            seed=number,
            identity=f"a{number}",
            status="pruned" if number == 11 else "finished",
            params={RATE: str(rate), WORD: "ab"[number % 2], FIXED: "6", "seed": "100"},
            metrics={
                "ap_s": float(0.3 - abs(np.log10(rate) + 3) / 10),
                "cost/epoch_seconds": 10.0 + number,
                "cost/peak_memory_mib": 500.0,
            },
        )
        for number, rate in enumerate(rates)
    ]
    trials.append(replace(trials[0], arm="base", run_id="b0", identity="b0"))
    arms = (ArmRecord("base", "SIOD (base)"), ArmRecord("dminer", "SIOD (DMiner)"))
    seeds = tuple(range(12))
    return replace(study, name=f"made_up{SEARCH}", arms=arms, trials=tuple(trials), seeds=seeds, gallery=None)


def drawn(search: StudyRecord) -> dict[str, Drawing]:
    with mpl.rc_context(STYLE):
        return {drawing.name: drawing for drawing in draw_search(search)}


def test_settings_are_what_differs_between_finished_trials(search: StudyRecord) -> None:
    found = searched(search, "dminer")
    assert len(found.trials) == 11
    assert [(one.path, one.words, one.log) for one in found.settings] == [(RATE, (), True), (WORD, ("a", "b"), False)]
    assert [one.place(found.trials[1]) for one in found.settings] == [float(found.trials[1].params[RATE]), 1.0]
    assert searched(search, "base").settings == ()


def test_what_the_objective_follows_is_important(search: StudyRecord) -> None:
    overall, near_best = importance(searched(search, "dminer"))
    assert overall[RATE] > 0.8
    assert near_best[RATE] > 0.5
    assert sum(overall.values()) == pytest.approx(1)
    assert sum(near_best.values()) == pytest.approx(1)


def test_too_few_or_equal_trials_have_no_importance(search: StudyRecord) -> None:
    few = replace(search, trials=search.trials[:3])
    equal = replace(search, trials=tuple(replace(one, metrics={"ap_s": 0.2}) for one in search.trials))
    assert importance(searched(few, "dminer")) == ({}, {})
    assert importance(searched(equal, "dminer")) == ({}, {})


def test_a_search_is_drawn_with_what_each_arm_has_enough_trials_for(search: StudyRecord) -> None:
    assert list(drawn(search)) == [
        "search_history",
        "search_cost-epoch-seconds",
        "search_cost-peak-memory-mib",
        "search_importance_dminer",
        "search_slices_dminer",
        "search_parallel_dminer",
        "search_contour_dminer",
    ]


def test_the_best_so_far_never_falls_and_a_pruned_trial_is_hollow(search: StudyRecord) -> None:
    on = drawn(search)["search_history"].figure.axes[0]
    best = on.lines[-1].get_ydata()
    values = [100 * one.metrics["ap_s"] for one in search.trials if one.arm == "dminer" and one.status == "finished"]
    assert list(best) == [max(values[: place + 1]) for place in range(len(values))]
    hollow = [points for points in on.collections if len(points.get_facecolors()) == 0]
    assert len(hollow) == 1
    assert hollow[0].get_offsets()[0][0] == 11


def test_a_plain_study_has_no_figures_of_a_search(study: StudyRecord) -> None:
    assert draw_study(study)["search"] == ()


def test_a_search_counts_trials_not_seeds(search: StudyRecord, study: StudyRecord) -> None:
    assert (tabulate(search).counted, tabulate(study).counted) == ("trials", "seeds")
