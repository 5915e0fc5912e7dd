from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import matplotlib as mpl
import pytest

from siod.reports.figures.drawing import STYLE, Drawing
from siod.reports.figures.errors import draw_errors
from siod.tracking.records import Diagnosis, StudyRecord

Change = Callable[..., StudyRecord]


def diagnosis(level: float) -> Diagnosis:
    right, wrong = [0] * 20, [900] + [20] * 19
    right[12] = round(30 * level)
    return Diagnosis(
        right=tuple(right),
        wrong=tuple(wrong),
        scores=tuple((right[place] + wrong[place]) * (place + 0.5) / 20 for place in range(20)),
        precision={iou: tuple(level * (1 - place / 100) for place in range(101)) for iou in ("0.50", "0.75", "0.90")},
        categories={name: {"ap_s": level, "ap_s0": level} for name in ("<zero>", "one")},
    )


@pytest.fixture(scope="module")
def diagnosed(study: StudyRecord) -> StudyRecord:
    levels = {"fsod": 0.9, "base": 0.5, "splg": 0.6, "pgcl": 0.55, "dminer": 0.7}
    return replace(
        study, trials=tuple(replace(one, diagnosis=diagnosis(levels[one.arm])) for one in study.trials), name="errors"
    )


def drawn(study: StudyRecord) -> dict[str, Drawing]:
    with mpl.rc_context(STYLE):
        return {drawing.name: drawing for drawing in draw_errors(study)}


def test_every_figure_is_drawn_from_the_diagnoses(diagnosed: StudyRecord) -> None:
    found = drawn(diagnosed)
    assert list(found) == [
        "precision_iou050",
        "precision_iou075",
        "precision_iou090",
        "reliability",
        "scores",
        "categories",
    ]
    assert "SIOD (DMiner)" in found["scores"].svg
    assert "&lt;zero&gt;" in found["categories"].svg


def test_categories_show_what_each_seed_gains_over_the_baseline(diagnosed: StudyRecord) -> None:
    figure = drawn(diagnosed)["categories"].figure
    # 0.9, 0.6, 0.55 and 0.7 against 0.5; the baseline itself is not drawn, and both categories are alike.
    places = [list(container.lines[0].get_xdata()) for container in figure.axes[0].containers]
    assert [values[0] for values in places] == pytest.approx([40, 10, 5, 20])
    assert all(values[0] == pytest.approx(values[1]) for values in places)


def test_reliability_is_the_share_of_right_ones_at_their_mean_score(diagnosed: StudyRecord) -> None:
    figure = drawn(diagnosed)["reliability"].figure
    base = next(line for line in figure.axes[0].lines if line.get_linestyle() == "--")
    at = dict(zip([round(float(x), 3) for x in base.get_xdata()], base.get_ydata(), strict=True))
    # Bin 12 has its mean at 0.625: 15 right of 35.
    assert at[0.625] == pytest.approx(100 * 15 / 35)
    assert at[0.675] == 0


def test_trials_without_a_diagnosis_draw_nothing(study: StudyRecord) -> None:
    assert drawn(study) == {}


def test_arms_without_the_baseline_have_no_category_differences(diagnosed: StudyRecord, change: Change) -> None:
    for seed in diagnosed.seeds:
        diagnosed = change(diagnosed, "base", seed, status="failed", diagnosis=None)
    assert "categories" not in drawn(diagnosed)
    assert "reliability" in drawn(diagnosed)
