"""The paper-style table as text, before any format: what every cell says and which are best."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from siod.reports.analysis.aggregate import aggregate, by_group
from siod.reports.analysis.differences import to_baseline
from siod.reports.analysis.numbers import MINUS, heading, percent, signed_percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from siod.reports.analysis.aggregate import ArmRow, Spread
    from siod.tracking.records import StudyRecord

MISSING = "no finished trial yet"
CHECK, STAR = "\N{CHECK MARK}", "*"
APART = f"ours {MINUS} published"


@dataclass(frozen=True)
class Cell:
    """One figure in percent points with one decimal, as text.

    Args:
        mean: Empty when there is none.
        std: Empty when there is only one value.
        gain: Over the baseline arm, with its sign; empty on the baseline.
        best: Whether no arm shows a higher mean.
        mark: A star when the difference to the baseline is significant at 5% after the correction.
    """

    mean: str = ""
    std: str = ""
    gain: str = ""
    best: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Line:
    """One arm of the table.

    Args:
        label: Of the arm.
        finished: How many of its trials are finished.
        declared: How many it has.
        cells: In the order of the columns; all empty for an arm without a finished trial.
        group: Heading it stands under; empty when the table has none.
        published: Whether these are a paper's figures for the arm above, or our distance from them.
        properties: What the arm is in each of the table's properties, as text; none for a paper's figures.
    """

    label: str
    finished: int
    declared: int
    cells: tuple[Cell, ...]
    group: str = ""
    published: bool = False
    properties: tuple[str, ...] = ()

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
        properties: What arms are told apart by, one column each: traits in words, then modules as check marks.
        counted: What figures are a mean over: ``seeds``, or the ``trials`` of a search.
    """

    title: str
    question: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    baseline: str
    properties: tuple[str, ...] = ()
    counted: str = "seeds"

    def properties_of(self, line: Line) -> tuple[str, ...]:
        """What a line says in the columns of the properties, in their order."""
        return line.properties or ("",) * len(self.properties)

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
    properties = tuple(dict.fromkeys(name for arm in study.arms for name in (*arm.traits, *arm.modules)))
    properties = tuple(sorted(properties, key=lambda name: not any(name in arm.traits for arm in study.arms)))
    marks = {arm: STAR for arm, one in to_baseline(study).items() if one.significant()}
    lines = tuple(line for group in by_group(study).values() for line in _lines(group, properties, marks))
    baseline = next(arm.label for arm in study.arms if arm.name == study.baseline)
    counted = "trials" if study.is_search else "seeds"
    return Table(study.name, study.question, study.columns, lines, baseline, properties, counted)


def _lines(study: StudyRecord, properties: Sequence[str], marks: Mapping[str, str]) -> Iterator[Line]:
    """The lines of one group of arms."""
    rows = aggregate(study)
    columns = [_column(rows, name) for name in study.columns]
    reference = next(row.arm.published for row in rows if row.arm.name == study.baseline)
    for place, row in enumerate(rows):
        arm = row.arm
        cells = tuple(
            replace(column[place], mark=marks.get(arm.name, "") if name == study.objective else "")
            for name, column in zip(study.columns, columns, strict=True)
        )
        traits = tuple(arm.traits.get(name, CHECK if name in arm.modules else "") for name in properties)
        label = arm.label
        for trait in arm.traits.values():  # it has a column of its own
            label = label.removesuffix(f" ({trait})")
        yield Line(label, len(row.finished()), len(study.seeds[: arm.seeds]), cells, arm.group, properties=traits)
        if arm.published:
            beside = {} if arm.name == study.baseline else reference
            figures = tuple(_published(arm.published.get(name), beside.get(name)) for name in study.columns)
            yield Line("published", 0, 0, figures, arm.group, published=True)
            if row.finished():
                apart = tuple(_apart(row.cells[name], arm.published.get(name)) for name in study.columns)
                yield Line(APART, 0, 0, apart, arm.group, published=True)


def _apart(own: Spread | None, published: float | None) -> Cell:
    return Cell() if own is None or published is None else Cell(signed_percent(own.mean - published))


def _published(value: float | None, reference: float | None) -> Cell:
    if value is None:
        return Cell()
    return Cell(percent(value), gain="" if reference is None else signed_percent(value - reference))


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
