"""The statistics of an annotation set as tables in text, Markdown and LaTeX, and in one line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from siod.data.describing.statistics import SetStatistics, Statistics

Rows = list[list[str]]

_LATEX_SPECIAL = str.maketrans(
    {**{sign: f"\\{sign}" for sign in "&%$#_{}"}, "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": "/"}
)
SET_COLUMNS = ["set", "instances", "per image", "per image and category", "small / medium / large", "hours"]
CATEGORY_COLUMNS = ["category", "instances", "sample ratio", "keep ratio"]


def set_rows(statistics: Statistics) -> Rows:
    """Table 8: one row for all instances, one for those the policy keeps."""
    return [_set_row(statistics.full), _set_row(statistics.kept)]


def category_rows(statistics: Statistics) -> Rows:
    """Table 9: one row per category."""
    return [
        [row.name, str(row.instances), _ratio(row.sample_ratio), _ratio(row.keep_ratio)]
        for row in statistics.categories
    ]


def summary(statistics: Statistics) -> str:
    """What was looked at and how much of it is kept, in one line."""
    ratio = "-" if math.isnan(statistics.keep_ratio) else f"{100 * statistics.keep_ratio:.1f}%"
    kept, full = statistics.kept.instances, statistics.full.instances
    images = f"{statistics.sampled_images} of {statistics.images} images"
    return f"{images}, {statistics.crowds} crowd boxes left aside; {kept} of {full} instances kept ({ratio})"


def remarks(statistics: Statistics) -> list[str]:
    """What a reader of the tables must know, in sentences."""
    notes = [f"Hours assume {statistics.cost.assumption()}."]
    if statistics.source_set:
        source = f"The source says it is {statistics.source_set}"
        notes.append(f"{source}: what is called full here lacks boxes that nobody can count.")
    return notes


def text(columns: list[str], rows: Rows) -> str:
    """The same in columns of spaces.

    Example:
        >>> print(text(["a", "count"], [["xyz", "1"]]))
        a    count
        xyz      1
    """
    widths = [max(len(row[place]) for row in (columns, *rows)) for place in range(len(columns))]
    lines = (
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in (columns, *rows)
    )
    return "\n".join(line.rstrip() for line in lines)


def markdown(columns: list[str], rows: Rows) -> str:
    """A table with its first column to the left and the others to the right.

    Example:
        >>> print(markdown(["a", "b"], [["x", "1"]]))
        | a | b |
        | --- | ---: |
        | x | 1 |
    """
    rule = ["---", *["---:"] * (len(columns) - 1)]
    cells = [columns, rule, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def latex(columns: list[str], rows: Rows) -> str:
    """The same as a booktabs tabular."""
    lines = [" & ".join(cell.translate(_LATEX_SPECIAL) for cell in row) + r" \\" for row in (columns, *rows)]
    aligned = "l" + "r" * (len(columns) - 1)
    parts = [rf"\begin{{tabular}}{{{aligned}}}", r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
    return "\n".join([*parts, r"\end{tabular}"])


def _set_row(row: SetStatistics) -> list[str]:
    return [
        row.name,
        str(row.instances),
        f"{row.per_image:.2f}",
        f"{row.per_image_category:.3f} ({row.variance:.3f})",
        " / ".join(map(str, row.sizes.values())),
        f"{row.hours:.1f}",
    ]


def _ratio(number: float) -> str:
    return "-" if math.isnan(number) else f"{number:.3f}"
