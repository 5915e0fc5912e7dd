"""The paper-style table as text, before any format: what every cell says and which are best."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from siod.reports.aggregate import aggregate, by_group

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
        group: Heading it stands under; empty when the table has none.
        published: Whether these are a paper's figures for the arm above.
    """

    label: str
    finished: int
    declared: int
    cells: tuple[Cell, ...]
    group: str = ""
    published: bool = False

    @property
    def shown(self) -> bool:
        """Whether there are figures to show."""
        return self.published or self.finished > 0

    @property
    def seeds(self) -> str:
        """How many seeds the figures stand on, and of how many when some are missing."""
        if self.published:
            return ""
        return str(self.finished) if self.finished == self.declared else f"{self.finished}/{self.declared}"


@dataclass(frozen=True)
class Table:
    """The table of a study.

    Args:
        title: Name of the study.
        question: What it decides.
        columns: Names of the metrics.
        lines: In the declared order of the arms; a paper's figures stand below the arm they are for.
        baseline: Label of the arm that gains are counted from; of the first group when there are several.
    """

    title: str
    question: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    baseline: str

    def groups(self) -> tuple[tuple[str, tuple[Line, ...]], ...]:
        """The lines under each heading, in order."""
        return tuple((name, tuple(lines)) for name, lines in groupby(self.lines, key=lambda line: line.group))

    def headings(self) -> tuple[str, ...]:
        """Column headings as the paper writes them."""
        return tuple(heading(name) for name in self.columns)


def tabulate(study: StudyRecord) -> Table:
    """Make the table of a study: arms as rows, mean and standard deviation over seeds, gain over the baseline.

    Args:
        study: Finished or not.

    Returns:
        The table; per column and group the highest mean as shown is best, several when they show the same.
    """
    lines = tuple(line for group in by_group(study).values() for line in _lines(group))
    baseline = next(arm.label for arm in study.arms if arm.name == study.baseline)
    return Table(study.name, study.question, study.columns, lines, baseline)


def _lines(study: StudyRecord) -> Iterator[Line]:
    """The lines of one group of arms."""
    rows = aggregate(study)
    columns = [_column(rows, name) for name in study.columns]
    reference = next(row.arm.published for row in rows if row.arm.name == study.baseline)
    for place, row in enumerate(rows):
        arm, cells = row.arm, tuple(column[place] for column in columns)
        yield Line(arm.label, len(row.finished()), len(study.seeds), cells, arm.group)
        if arm.published:
            beside = {} if arm.name == study.baseline else reference
            told = tuple(_published(arm.published.get(name), beside.get(name)) for name in study.columns)
            yield Line("published", 0, 0, told, arm.group, published=True)


def _published(value: float | None, reference: float | None) -> Cell:
    if value is None:
        return Cell()
    return Cell(percent(value), gain="" if reference is None else signed_percent(value - reference))


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
