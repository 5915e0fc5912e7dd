"""The test split has a table of its own, from its own figures; a study without one has none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from siod.reports.analysis.test_split import on_test_split
from siod.reports.build import build_report
from siod.reports.tables.table import tabulate
from siod.tracking.records import ArmRecord, StudyRecord, TrialRecord


def trial(arm: str, seed: int, val: float, test: float | None) -> TrialRecord:
    metrics = {"ap_s": val, "ap_s0": val} | ({} if test is None else {"test/ap_s": test, "test/ap_s0": test})
    return TrialRecord(
        run_id=f"{arm}{seed}", study="s", arm=arm, seed=seed, identity=arm, status="finished", metrics=metrics
    )


@pytest.fixture
def judged_twice() -> StudyRecord:
    """One arm better on the validation split, the other on the test split."""
    return StudyRecord(
        name="s",
        question="Which?",
        arms=(ArmRecord("base", "Base", published={"ap_s": 0.9}), ArmRecord("dminer", "DMiner")),
        baseline="base",
        columns=("ap_s",),
        run_id="x",
        status="finished",
        trials=(trial("base", 0, 0.4, 0.5), trial("dminer", 0, 0.6, 0.3)),
    )


def test_its_table_holds_its_own_figures_and_no_papers(judged_twice: StudyRecord) -> None:
    tested = on_test_split(judged_twice)
    assert tested is not None
    lines = tabulate(tested).lines
    assert [(line.label, line.cells[0].mean, line.cells[0].best) for line in lines] == [
        ("Base", "50.0", True),
        ("DMiner", "30.0", False),
    ]


def test_a_study_without_a_test_split_has_no_such_table(judged_twice: StudyRecord) -> None:
    without = replace(judged_twice, trials=(trial("base", 0, 0.4, None),))
    assert on_test_split(without) is None


def test_every_format_shows_it_apart(judged_twice: StudyRecord, tmp_path: Path) -> None:
    build_report(judged_twice, tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert page.index("<h2>Result</h2>") < page.index("<h2>On the test split</h2>")
    markdown = (tmp_path / "table.md").read_text()
    apart = markdown[markdown.index("## On the test split") :]
    assert "| Base | 1 | **50.0** |" in apart
    assert "| DMiner | 1 | 30.0 (−20.0) |" in apart  # noqa: RUF001  (the sign as reports write it)
    assert "\\label{tab:s-test}" in (tmp_path / "test.tex").read_text()
