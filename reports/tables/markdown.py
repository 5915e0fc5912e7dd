"""The table as Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from siod.reports.analysis.differences import HEADINGS
from siod.reports.analysis.test_split import TITLE
from siod.reports.tables.table import MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.reports.analysis.categories import CategoryTable
    from siod.reports.analysis.differences import Difference
    from siod.reports.tables.sweeps import Sweep
    from siod.reports.tables.table import Cell, Line, Table


def markdown_table(table: Table) -> str:
    """Write the table alone.

    Args:
        table: Of a study.

    Returns:
        A GitHub-flavoured table with a final newline.
    """
    header = ["", *map(escape, table.properties), table.counted, *table.headings()]
    rule = [":--", *[":-:"] * len(table.properties), *["--:"] * (len(table.columns) + 1)]
    rows = [header, rule]
    for group, lines in table.groups():
        rows += [[f"**{escape(group)}**", *[""] * (len(header) - 1)]] if group else []
        rows += [[_label(line), *table.properties_of(line), line.seeds, *_cells(line)] for line in lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def markdown_report(
    table: Table,
    notes: Sequence[str],
    found: Sequence[Difference] = (),
    sentences: Sequence[str] = (),
    swept: Sequence[Sweep] = (),
    *,
    tested: Table | None = None,
) -> str:
    """Write the table with its title, question and what limits it, and differences and sweeps below.

    Args:
        table: Of a study.
        notes: Whole sentences.
        found: Differences to the baseline.
        sentences: Whole sentences about them.
        swept: Settings whose values the arms go through.
        tested: The table on the test split, if there is one.

    Returns:
        A Markdown document.
    """
    report = f"# {escape(table.title)}\n\n{escape(table.question)}\n\n{markdown_table(table)}\n{_list(notes)}"
    report += "" if tested is None else f"\n## {TITLE}\n\n{markdown_table(tested)}"
    report += f"\n## Differences\n\n{_differences(found)}\n{_list(sentences)}" if found else ""
    return report + "".join(f"\n## {escape(sweep.title)}\n\n{_grid(sweep.rows())}" for sweep in swept)


def markdown_categories(tables: Sequence[CategoryTable], disagreeing: Sequence[str]) -> str:
    """Write the tables by category, to stand below a report.

    Args:
        tables: Of a study.
        disagreeing: Whole sentences about where categories disagree; they are of all groups and stand above the first.

    Returns:
        Markdown sections; empty where there is no table.
    """
    sentences = "".join(f"{escape(sentence)}\n\n" for sentence in disagreeing)
    parts = []
    for table in tables:
        grid = f"{_grid(table.rows)}\n" if table.rows else ""
        parts.append(f"\n## {escape(table.title)}\n\n{sentences}{grid}{_list(table.notes)}")
        sentences = ""
    return "".join(parts)


def _grid(rows_of_text: Sequence[Sequence[str]]) -> str:
    header, *lines = ([escape(cell) for cell in row] for row in rows_of_text)
    rows = [header, [":--", *["--:"] * (len(header) - 1)], *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _differences(found: Sequence[Difference]) -> str:
    header = ["", *HEADINGS]
    rows = [header, [":--", *["--:"] * len(HEADINGS)], *([escape(one.label), *one.cells()] for one in found)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _list(sentences: Sequence[str]) -> str:
    return "".join(f"- {escape(sentence)}\n" for sentence in sentences)


def escape(text: str) -> str:
    r"""Make text mean itself: no emphasis, no HTML, no new cell, one line.

    Example:
        >>> print(escape("a|b <i> *x*"))
        a\|b \<i\> \*x\*
    """
    return re.sub(r"([\\`*_|<>\[\]#~&])", r"\\\1", " ".join(text.split()))


def _label(line: Line) -> str:
    return f"*{escape(line.label)}*" if line.published else escape(line.label)


def _cells(line: Line) -> list[str]:
    if not line.shown:
        return [MISSING, *[""] * (len(line.cells) - 1)]
    return [_cell(cell) for cell in line.cells]


def _cell(cell: Cell) -> str:
    mean = f"**{cell.mean}**" if cell.best else cell.mean
    std = f" ± {cell.std}" if cell.std else ""
    gain = f" ({cell.gain}){escape(cell.mark)}" if cell.gain else ""
    return f"{mean}{std}{gain}"
