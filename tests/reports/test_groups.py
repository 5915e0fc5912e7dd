"""A table with groups counts gains within each group and shows a paper's figures below ours."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from siod.reports.analysis.differences import differences
from siod.reports.analysis.numbers import MINUS
from siod.reports.build import build_report
from siod.reports.sentences.caveats import caveats
from siod.reports.tables.latex import latex_table
from siod.reports.tables.markdown import markdown_table
from siod.reports.tables.table import APART, tabulate
from siod.reports.terminal import print_study
from siod.tracking.records import ArmRecord, StudyRecord

Change = Callable[..., StudyRecord]


@pytest.fixture
def grouped(study: StudyRecord, change: Change) -> StudyRecord:
    """Two detectors with a baseline each; the first arms carry a paper's figures."""
    arms = (
        ArmRecord("base", "SIOD (base)", group="CenterNet", published={"ap_s": 0.139}),
        ArmRecord("dminer", "SIOD (DMiner)", group="CenterNet", published={"ap_s": 0.168}),
        ArmRecord("splg", "SIOD (base)", group="FCOS"),
        ArmRecord("pgcl", "SIOD (DMiner)", group="FCOS"),
    )
    study = replace(study, arms=arms, baseline="base", baselines={"FCOS": "splg"}, columns=("ap_s",))
    for arm, value in {"base": 0.10, "dminer": 0.12, "splg": 0.30, "pgcl": 0.31}.items():
        for seed in study.seeds:
            study = change(study, arm, seed, metrics={"ap_s": value, "ap_s0": value})
    return study


def test_gains_are_counted_within_a_group_and_each_group_has_its_best(grouped: StudyRecord) -> None:
    table = tabulate(grouped)
    assert [name for name, _ in table.groups()] == ["CenterNet", "FCOS"]
    shown = [(line.label, line.cells[0].mean, line.cells[0].gain, line.cells[0].best) for line in table.lines]
    assert shown == [
        ("SIOD (base)", "10.0", "", False),
        ("published", "13.9", "", False),
        (APART, f"{MINUS}3.9", "", False),
        ("SIOD (DMiner)", "12.0", "+2.0", True),
        ("published", "16.8", "+2.9", False),
        (APART, f"{MINUS}4.8", "", False),
        ("SIOD (base)", "30.0", "", False),
        ("SIOD (DMiner)", "31.0", "+1.0", True),
    ]


def test_differences_are_to_the_groups_own_baseline_and_corrected_over_all(grouped: StudyRecord) -> None:
    found = differences(grouped)
    assert [one.label for one in found] == ["CenterNet: SIOD (DMiner)", "FCOS: SIOD (DMiner)"]
    assert [one.comparison.mean for one in found] == pytest.approx([0.02, 0.01])
    # 2^-2 for three seeds, times two comparisons.
    assert [one.p_holm for one in found] == [0.5, 0.5]


def test_markdown_has_a_line_for_each_group(grouped: StudyRecord) -> None:
    assert markdown_table(tabulate(grouped)).splitlines() == [
        "|  | seeds | AP@S |",
        "| :-- | --: | --: |",
        "| **CenterNet** |  |  |",
        "| SIOD (base) | 3 | 10.0 ± 0.0 |",
        "| *published* |  | 13.9 |",
        f"| *{APART}* |  | {MINUS}3.9 |",
        "| SIOD (DMiner) | 3 | **12.0** ± 0.0 (+2.0) |",
        "| *published* |  | 16.8 (+2.9) |",
        f"| *{APART}* |  | {MINUS}4.8 |",
        "| **FCOS** |  |  |",
        "| SIOD (base) | 3 | 30.0 ± 0.0 |",
        "| SIOD (DMiner) | 3 | **31.0** ± 0.0 (+1.0) |",
    ]


def test_latex_separates_the_groups_by_rules(grouped: StudyRecord) -> None:
    source = latex_table(tabulate(grouped), ())
    assert source.count("\\midrule") == 2
    assert "\\multicolumn{3}{@{}l}{\\textbf{FCOS}} \\\\" in source
    assert "\\enskip\\textit{published} &  & 16.8 \\\\\n     &  & (+2.9) \\\\" in source


def test_the_terminal_names_the_groups(grouped: StudyRecord) -> None:
    console = Console(file=io.StringIO(), width=100, highlight=False)
    print_study(grouped, console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    words = [line.split() for line in printed.splitlines()]
    assert ["CenterNet"] in words
    assert ["published", "16.8", "(+2.9)"] in words


def test_the_page_tells_the_groups_apart(grouped: StudyRecord, tmp_path: Path) -> None:
    files = build_report(grouped, tmp_path)
    page = files.page.read_text(encoding="utf-8")
    assert page.count('class="group"') == 2
    assert page.count('class="published"') == 4
    assert "FCOS: SIOD (DMiner)" in page
    assert {path.stem for path in files.figures if path.stem.startswith("thresholds")} == {
        "thresholds_CenterNet",
        "thresholds_FCOS",
    }


def test_the_legend_says_what_is_compared(grouped: StudyRecord) -> None:
    legend = caveats(grouped)[-1]
    assert "difference of the means to SIOD (base); the highest mean of a column within a group is bold" in legend
    renamed = replace(grouped, arms=(replace(grouped.arms[0], label="Base"), *grouped.arms[1:]))
    assert "to the baseline of the group" in caveats(renamed)[-1]
