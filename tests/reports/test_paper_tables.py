"""The paper's tables from made-up trials of its studies, held word for word; they compile as LaTeX as they are.

The golden files are written anew with ``SIOD_UPDATE_GOLDEN=1``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from siod.reports.sentences.caveats import caveats
from siod.reports.tables.latex import latex_sweeps, latex_table
from siod.reports.tables.markdown import markdown_report
from siod.reports.tables.sweeps import sweeps
from siod.reports.tables.table import tabulate
from siod.reports.terminal import terminal_table
from siod.tracking.records import StudyRecord, TrialRecord
from siod.tuning.running.recorder import header_of
from siod.tuning.study import load_study, study_names

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "report"
NAMES = tuple(name for name in study_names() if name.startswith("table"))


def made_up(name: str) -> StudyRecord:
    """Every trial of a study: a point above what is published on average, or falling from 20 where nothing is."""
    header = header_of(load_study(name), f"siod study run {name}")
    trials = tuple(
        TrialRecord(
            run_id=f"{arm.name}-{seed}",
            study=name,
            arm=arm.name,
            seed=seed,
            identity=f"{arm.name}-{seed}",
            status="finished",
            metrics={
                metric: arm.published.get(metric, 0.2 - place / 50) + seed / 100
                for place, metric in enumerate(header.columns)
            },
        )
        for arm in header.arms
        for seed in header.seeds
    )
    fields = {field: getattr(header, field) for field in header.__dataclass_fields__}
    return StudyRecord(**fields, run_id="made-up", status="finished", trials=trials)


@pytest.mark.parametrize("name", NAMES)
def test_a_table_of_the_paper_is_laid_out_as_it_was(name: str) -> None:
    record = made_up(name)
    shown = markdown_report(tabulate(record), caveats(record), swept=sweeps(record))
    path = GOLDEN / f"{name}.md"
    if os.environ.get("SIOD_UPDATE_GOLDEN"):
        path.write_text(shown, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == shown


def test_methods_stand_beside_their_type() -> None:
    table = tabulate(made_up("table2_methods"))
    assert table.properties == ("Type",)
    lines = [(line.label, *table.properties_of(line)) for line in table.lines if not line.published]
    assert lines[:7] == [
        ("Base", "SSOD"),
        ("Base", "SAOD"),
        ("Base", "SIOD"),
        ("CSD", "SSOD"),
        ("TS", "SSOD"),
        ("Co-mining", "SAOD"),
        ("DMiner", "SIOD"),
    ]
    assert [str(column.header) for column in terminal_table(table).columns][:3] == ["table2_methods", "Type", "seeds"]


def test_all_tables_compile_untouched(pdflatex: Callable[[str], str]) -> None:
    assert len(NAMES) == 7
    records = [made_up(name) for name in NAMES]
    body = "\\clearpage\n".join(
        latex_table(tabulate(record), caveats(record)) + latex_sweeps(sweeps(record)) for record in records
    )
    assert "Overfull" not in pdflatex(body)
