"""Score-aware tables as text, Markdown, LaTeX and plain data; several detectors side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from siod.evaluation.result import ScoreAwareTable

Style = Literal["text", "markdown", "latex"]


@dataclass(frozen=True)
class Grid:
    """A titled table of strings; the first column names the rows."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def render(tables: Mapping[str, ScoreAwareTable], style: Style = "text", *, per_category: bool = False) -> str:
    """Write tables for reading, in percent with one decimal; ``-`` where there is nothing to find.

    Args:
        tables: Name to table. One is shown whole, several side by side: AP by score threshold, then every
            figure averaged over the score thresholds.
        style: ``text`` for a terminal, ``markdown``, or ``latex`` (needs the booktabs package).
        per_category: Append AP by category.

    Returns:
        The text, without a newline at its end.
    """
    grids = _whole(*tables.items()) if len(tables) == 1 else _side_by_side(tables)
    if per_category:
        grids = [*grids, _by_category(tables)]
    return "\n\n".join(_RENDERERS[style](grid) for grid in grids)


def as_json(tables: Mapping[str, ScoreAwareTable], *, per_category: bool = False) -> dict[str, Any]:
    """Put tables into plain data: fractions under the metric names.

    Args:
        tables: Name to table.
        per_category: Add ``per_category``, the same metrics under each category's name.

    Returns:
        The metrics themselves for one table, ``{name: metrics}`` for several.
    """
    plain: dict[str, dict[str, Any]] = {}
    for name, table in tables.items():
        plain[name] = {**table.metrics(), **({"per_category": table.per_category()} if per_category else {})}
    return next(iter(plain.values())) if len(plain) == 1 else plain


def _whole(item: tuple[str, ScoreAwareTable]) -> list[Grid]:
    name, table = item
    rows = [
        (_score_label(label), *map(_percent, values)) for label, values in zip(table.rows, table.values, strict=True)
    ]
    return [Grid(name, ("score", *map(_figure_label, table.columns)), tuple(rows))]


def _side_by_side(tables: Mapping[str, ScoreAwareTable]) -> list[Grid]:
    first = next(iter(tables.values()))
    by_score = [
        (f"AP{_score_label(label)}", *(_percent(table.values[place, 0]) for table in tables.values()))
        for place, label in enumerate(first.rows)
    ]
    by_figure = [
        (f"{_figure_label(name)}@S", *(_percent(table.values[0, place]) for table in tables.values()))
        for place, name in enumerate(first.columns)
    ]
    return [
        Grid("AP by score threshold", ("", *tables), tuple(by_score)),
        Grid("Means over the score thresholds", ("", *tables), tuple(by_figure)),
    ]


def _by_category(tables: Mapping[str, ScoreAwareTable]) -> Grid:
    found = {name: table.per_category() for name, table in tables.items()}
    categories = next(iter(found.values()))
    if len(tables) > 1:
        rows = [(name, *(_percent(metrics[name]["ap_s"]) for metrics in found.values())) for name in categories]
        return Grid("AP@S by category", ("category", *tables), tuple(rows))
    labels = next(iter(tables.values())).rows
    each = [(name, *(_percent(metrics[f"ap_{label}"]) for label in labels)) for name, metrics in categories.items()]
    return Grid("AP by category", ("category", *map(_score_label, labels)), tuple(each))


def _percent(fraction: float) -> str:
    return "-" if fraction < 0 else f"{100 * fraction:.1f}"


def _score_label(row: str) -> str:
    """``s`` and ``s3`` as the paper writes them: ``@S`` and ``@S3``."""
    return f"@{row.upper()}"


def _figure_label(name: str) -> str:
    """``ap_small`` becomes ``AP small``."""
    kind, _, size = name.partition("_")
    return f"{kind.upper()} {size}".rstrip()


def _text(grid: Grid) -> str:
    lines = [grid.header, *grid.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(grid.header))]
    body = [
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    ]
    return "\n".join([grid.title, *(line.rstrip() for line in body)])


def _markdown(grid: Grid) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = "| --- |" + " ---: |" * (len(grid.header) - 1)
    return "\n".join([f"**{grid.title}**", "", line(grid.header), rule, *map(line, grid.rows)])


_LATEX_ESCAPES = str.maketrans(
    {
        **{mark: f"\\{mark}" for mark in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
)


def _latex(grid: Grid) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(cell.translate(_LATEX_ESCAPES) for cell in cells) + r" \\"

    columns = "l" + "r" * (len(grid.header) - 1)
    return "\n".join(
        [
            rf"% {grid.title.translate(_LATEX_ESCAPES)}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            line(grid.header),
            r"\midrule",
            *map(line, grid.rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


_RENDERERS: dict[Style, Callable[[Grid], str]] = {"text": _text, "markdown": _markdown, "latex": _latex}
