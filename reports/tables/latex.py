"""The table as LaTeX with booktabs rules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from siod.reports.analysis.numbers import MINUS
from siod.reports.tables.table import CHECK, MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.reports.analysis.categories import CategoryTable
    from siod.reports.tables.sweeps import Sweep
    from siod.reports.tables.table import Cell, Line, Table

ESCAPES = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    MINUS: "$-$",
    CHECK: r"$\surd$",
    "→": r"$\to$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}

# Latin Extended-A: what the fonts of every LaTeX installation hold.
LAST_LATIN = 0x17F


def latex_table(table: Table, notes: Sequence[str]) -> str:
    """Write a table environment that stands in a paper as it is; the preamble needs ``booktabs``.

    Args:
        table: Of a study.
        notes: Whole sentences, for the caption.

    Returns:
        LaTeX source.
    """
    header = _row(["", *map(escape, table.properties), table.counted, *(_heading(name) for name in table.headings())])
    lines = "    \\midrule\n".join(_group(table, name, lines) for name, lines in table.groups())
    caption = " ".join(escape(sentence) for sentence in (table.question, *notes))
    return (
        f"{_opening(caption)}"
        f"  \\label{{tab:{_key(table.title)}}}\n"
        f"  \\begin{{tabular}}{{@{{}}l{'c' * len(table.properties)}r{'r' * len(table.columns)}@{{}}}}\n"
        "    \\toprule\n"
        f"{header}"
        "    \\midrule\n"
        f"{lines}"
        "    \\bottomrule\n"
        "  \\end{tabular}\n"
        "\\end{table}\n"
    )


def latex_sweeps(swept: Sequence[Sweep]) -> str:
    """Write a table environment for each sweep: the values across, the figures below.

    Args:
        swept: Of a study.

    Returns:
        LaTeX source; empty without sweeps.
    """
    spread = "percent on the validation images, mean $\\pm$ sample standard deviation."
    return "\n".join(_grid(sweep.rows(), f"{escape(sweep.path)}: {spread}") for sweep in swept)


def latex_categories(tables: Sequence[CategoryTable]) -> str:
    """Write a table environment for each table by category.

    Args:
        tables: Of a study.

    Returns:
        LaTeX source; empty where no table has rows.
    """
    captions = [" ".join(map(escape, (f"{table.title}.", *table.notes))) for table in tables]
    return "\n".join(_grid(table.rows, caption) for table, caption in zip(tables, captions, strict=True) if table.rows)


def _opening(caption: str) -> str:
    """How every table environment begins, up to its caption."""
    return (
        "% needs \\usepackage{booktabs}\n"
        "\\begin{table}\n"
        "  \\centering\n"
        "  \\setlength{\\tabcolsep}{2.5pt}\n"
        "  \\setlength{\\belowcaptionskip}{4pt}\n"
        "  \\small\n"
        f"  \\caption{{{caption}}}\n"
    )


def _grid(rows: Sequence[Sequence[str]], caption: str) -> str:
    header, *lines = (_row([escape(cell) for cell in row]) for row in rows)
    return (
        f"{_opening(caption)}"
        f"  \\begin{{tabular}}{{@{{}}l{'r' * (len(rows[0]) - 1)}@{{}}}}\n"
        "    \\toprule\n"
        f"{header}"
        "    \\midrule\n"
        f"{''.join(lines)}"
        "    \\bottomrule\n"
        "  \\end{tabular}\n"
        "\\end{table}\n"
    )


def escape(text: str) -> str:
    r"""Make text mean itself in LaTeX, on one line; a character pdflatex has no glyph for becomes a question mark.

    Example:
        >>> print(escape("50% of a_b & <c>"))
        50\% of a\_b \& \textless{}c\textgreater{}
    """
    return "".join(_glyph(character) for character in " ".join(text.split()) if character.isprintable())


def _glyph(character: str) -> str:
    return ESCAPES.get(character, character if ord(character) <= LAST_LATIN else "?")


def _heading(text: str) -> str:
    return re.sub(r"S(\d)$", r"S$_\1$", escape(text))


def _key(title: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "-", title)


def _group(table: Table, name: str, lines: Sequence[Line]) -> str:
    stacked = any(cell.std for line in table.lines for cell in line.cells)
    columns = len(table.properties) + len(table.columns) + 2
    lead = f"    \\multicolumn{{{columns}}}{{@{{}}l}}{{\\textbf{{{escape(name)}}}}} \\\\\n" if name else ""
    return lead + "    \\addlinespace[2pt]\n".join(
        _rows(line, table.properties_of(line), stacked=stacked) for line in lines
    )


def _rows(line: Line, marks: Sequence[str], *, stacked: bool) -> str:
    """Mean and gain side by side as in the paper; with spreads the gains stand below, or the page is too narrow."""
    label = f"\\enskip\\textit{{{escape(line.label)}}}" if line.published else escape(line.label)
    lead = [label, *map(escape, marks), line.seeds]
    if not line.shown:
        return _row([*lead, f"\\multicolumn{{{len(line.cells)}}}{{l}}{{{MISSING}}}"])
    gains = [f"({escape(cell.gain)}){_raised(cell.mark)}" if cell.gain else "" for cell in line.cells]
    means = [_mean(cell) for cell in line.cells]
    if not stacked:
        return _row([*lead, *(f"{mean} {gain}".strip() for mean, gain in zip(means, gains, strict=True))])
    below = _row([*[""] * len(lead), *gains]) if any(gains) else ""
    return _row([*lead, *means]) + below


def _raised(mark: str) -> str:
    return f"$^{mark}$" if mark else ""


def _row(cells: Sequence[str]) -> str:
    return f"    {' & '.join(cells)} \\\\\n"


def _mean(cell: Cell) -> str:
    mean = f"\\textbf{{{escape(cell.mean)}}}" if cell.best else escape(cell.mean)
    return f"{mean}{{\\scriptsize$\\pm${escape(cell.std)}}}" if cell.std else mean
