"""The paper-style table as text, before any format: what every cell says and which are best."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from siod.reports.aggregate import aggregate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.reports.aggregate import ArmRow
    from siod.tracking.records import StudyRecord

MISSING = "no finished trial yet"
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Cell:
    """One figure in percent points with one decimal, as text.

    Args:
        mean: Empty when there is none.
        std: Empty when there is only one value.
        gain: Over the baseline arm, with its sign; empty on the baseline.
        best: Whether no arm shows a higher mean.
    """

    mean: str = ""
    std: str = ""
    gain: str = ""
    best: bool = False


@dataclass(frozen=True)
class Line:
    """One arm of the table.

    Args:
        label: Of the arm.
        finished: How many of its trials are finished.
        declared: How many it has.
        cells: In the order of the columns; all empty for an arm without a finished trial.
    """

    label: str
    finished: int
    declared: int
    cells: tuple[Cell, ...]

    @property
    def seeds(self) -> str:
        """How many seeds the figures stand on, and of how many when some are missing."""
        return str(self.finished) if self.finished == self.declared else f"{self.finished}/{self.declared}"


@dataclass(frozen=True)
class Table:
    """The table of a study.

    Args:
        title: Name of the study.
        question: What it decides.
        columns: Names of the metrics.
        lines: In the declared order of the arms.
        baseline: Label of the arm that gains are counted from.
    """

    title: str
    question: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    baseline: str

    def headings(self) -> tuple[str, ...]:
        """Column headings as the paper writes them."""
        return tuple(heading(name) for name in self.columns)


def tabulate(study: StudyRecord) -> Table:
    """Make the table of a study: arms as rows, mean and standard deviation over seeds, gain over the baseline.

    Args:
        study: Finished or not.

    Returns:
        The table; per column the highest mean as shown is best, several when they show the same.
    """
    rows = aggregate(study)
    columns = [_column(rows, name) for name in study.columns]
    lines = tuple(
        Line(row.arm.label, len(row.finished()), len(study.seeds), tuple(column[place] for column in columns))
        for place, row in enumerate(rows)
    )
    baseline = next(arm.label for arm in study.arms if arm.name == study.baseline)
    return Table(study.name, study.question, study.columns, lines, baseline)


def heading(metric: str) -> str:
    """Write a metric's name as the paper does, short for the AP at one score threshold.

    Example:
        >>> heading("ap_s"), heading("ap_s5"), heading("ap50_s0"), heading("ap_small_s")
        ('AP@S', '@S5', 'AP50@S0', 'AP small@S')
    """
    kind, threshold = _parts(metric)
    if kind == "ap" and threshold:
        return f"@S{threshold}"
    return f"{_kind(kind)}@S{threshold}"


def percent(fraction: float) -> str:
    """Write a fraction in percent with one decimal.

    Example:
        >>> percent(0.1234), percent(-0.00001)
        ('12.3', '0.0')
    """
    return f"{100 * fraction:z.1f}".replace("-", MINUS)


def signed_percent(fraction: float) -> str:
    """Write a difference of fractions in percent points with its sign.

    Example:
        >>> signed_percent(0.031), signed_percent(0.00001)
        ('+3.1', '+0.0')
    """
    return f"{100 * fraction:+z.1f}".replace("-", MINUS)


def _parts(metric: str) -> tuple[str, str]:
    found = re.fullmatch(r"(.+)_s(\d?)", metric)
    return (found[1], found[2]) if found else (metric, "")


def _kind(kind: str) -> str:
    first, _, size = kind.partition("_")
    return f"{first.upper()} {size}" if size else first.upper()


def _column(rows: Sequence[ArmRow], name: str) -> list[Cell]:
    means = [cell.mean for row in rows if (cell := row.cells[name]) is not None]
    highest = percent(max(means)) if means else ""
    return [_cell(row, name, highest) for row in rows]


def _cell(row: ArmRow, name: str, highest: str) -> Cell:
    spread, gain = row.cells[name], row.gains[name]
    if spread is None:
        return Cell()
    mean = percent(spread.mean)
    std = "" if spread.std is None else percent(spread.std)
    return Cell(mean, std, "" if gain is None else signed_percent(gain), best=mean == highest)
