"""The table as Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from siod.reports.table import MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.reports.table import Cell, Line, Table


def markdown_table(table: Table) -> str:
    """Write the table alone.

    Args:
        table: Of a study.

    Returns:
        A GitHub-flavoured table with a final newline.
    """
    header = ["", "seeds", *table.headings()]
    rule = [":--", *["--:"] * (len(header) - 1)]
    rows = [header, rule, *([escape(line.label), line.seeds, *_cells(line)] for line in table.lines)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def markdown_report(table: Table, notes: Sequence[str]) -> str:
    """Write the table with its title, question and what limits it.

    Args:
        table: Of a study.
        notes: Whole sentences.

    Returns:
        A Markdown document.
    """
    listed = "".join(f"- {escape(note)}\n" for note in notes)
    return f"# {escape(table.title)}\n\n{escape(table.question)}\n\n{markdown_table(table)}\n{listed}"


def escape(text: str) -> str:
    r"""Make text mean itself: no emphasis, no HTML, no new cell, one line.

    Example:
        >>> print(escape("a|b <i> *x*"))
        a\|b \<i\> \*x\*
    """
    return re.sub(r"([\\`*_|<>\[\]#~&])", r"\\\1", " ".join(text.split()))


def _cells(line: Line) -> list[str]:
    if not line.finished:
        return [MISSING, *[""] * (len(line.cells) - 1)]
    return [_cell(cell) for cell in line.cells]


def _cell(cell: Cell) -> str:
    mean = f"**{cell.mean}**" if cell.best else cell.mean
    std = f" ± {cell.std}" if cell.std else ""
    gain = f" ({cell.gain})" if cell.gain else ""
    return f"{mean}{std}{gain}"
