"""The table on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from siod.reports.analysis.categories import category_tables
from siod.reports.analysis.differences import HEADINGS, differences, reading
from siod.reports.analysis.spending import spending
from siod.reports.analysis.test_split import TITLE, on_test_split
from siod.reports.sentences.category_answer import disagreements
from siod.reports.sentences.caveats import caveats
from siod.reports.tables.sweeps import sweeps
from siod.reports.tables.table import tabulate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.reports.analysis.differences import Difference
    from siod.reports.tables.table import Cell, Line, Table
    from siod.tracking.records import StudyRecord

UNBOUNDED = 10_000
# More lines by category would drive the table itself off the screen.
MOST_CATEGORIES = 20


def print_study(study: StudyRecord, console: Console | None = None, *, price: float | None = None) -> None:
    """Print a study's question, its table and what limits it.

    Args:
        study: Finished or not.
        console: Where to; standard output when None.
        price: Of an hour of a GPU, or of a core where no trial reserved a GPU; None leaves money out.
    """
    console = console or Console(highlight=False)
    table = tabulate(study)
    console.print(Text(table.question, style="italic"))
    _print_fitted(table, console)
    for note in caveats(study):
        console.print(Text(note, style="dim"))
    tested = on_test_split(study)
    if tested is not None:
        console.print(Text(f"{TITLE}, which nothing was chosen by:"))
        _print_fitted(tabulate(tested), console)
    _print_categories(study, console)
    for sweep in sweeps(study):
        console.print(_grid(sweep.rows()))
    found = differences(study)
    for one in found:
        console.print(_line(one))
    for sentence in reading(study, found):
        console.print(Text(sentence, style="dim"))
    spent = spending(study)
    if spent is not None:
        console.print(Text(spent.sentence(price), style="dim"))


def _print_categories(study: StudyRecord, console: Console) -> None:
    """The tables by category that are short, and where categories disagree."""
    for table in category_tables(study):
        if not table.rows:
            console.print(Text(table.notes[0], style="dim"))
        elif len(table.rows) <= MOST_CATEGORIES + 1:
            console.print(_grid(((table.title, *table.rows[0][1:]), *table.rows[1:])))
        else:
            console.print(Text(f"{table.title}: {len(table.rows) - 1} rows in table.md and on the page", style="dim"))
    for sentence in disagreements(study):
        console.print(Text(sentence))


def _print_fitted(table: Table, console: Console) -> None:
    """Print the table in as few lines as let every figure be read; a terminal narrower than that breaks its lines."""

    def width_of(drawn: RichTable) -> int:
        return console.measure(drawn, options=console.options.update(max_width=UNBOUNDED)).maximum

    drawn = terminal_table(table)
    names = [table.title.replace("_", "_ "), *(line.label for line in table.lines)]
    longest, word = max(map(cell_len, names)), max(cell_len(word) for name in names for word in name.split())
    for spreads in ("", "\n"):
        if width_of(drawn) <= console.width:
            break
        others = width_of(terminal_table(table, spreads=spreads, gains="\n", names=word)) - word
        left = min(longest, max(word, console.width - others))
        drawn = terminal_table(table, spreads=spreads, gains="\n", names=left)
    drawn.width = width_of(drawn)
    console.print(drawn, crop=False)


def _line(one: Difference) -> Text:
    said = ", ".join(f"{name} {cell}" for name, cell in zip(HEADINGS, one.cells(), strict=True) if cell)
    return Text.assemble((one.label, "bold" if one.significant() else ""), f": {said}")


def _grid(rows: Sequence[Sequence[str]]) -> RichTable:
    """Text in columns; the first row is the header, the first column the names."""
    drawn = RichTable(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for place, name in enumerate(rows[0]):
        drawn.add_column(Text(name), justify="right" if place else "left", no_wrap=not place)
    for row in rows[1:]:
        drawn.add_row(*map(Text, row))
    return drawn


def terminal_table(table: Table, *, spreads: str = "", gains: str = " ", names: int | None = None) -> RichTable:
    """Make a table that rich prints.

    Args:
        table: Of a study.
        spreads: Between a mean and its standard deviation; a line break makes the table narrow.
        gains: In front of a gain, likewise.
        names: Width of the first column, as wide as it needs to be if None.

    Returns:
        A renderable; text is text, never markup.
    """
    drawn = RichTable(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    title = table.title
    drawn.add_column(title.replace("_", "_ ") if names and names < cell_len(title) else title, width=names)
    for name in table.properties:
        drawn.add_column(Text(name), justify="center", no_wrap=True)
    for name in (table.counted, *table.headings()):
        drawn.add_column(name, justify="right", no_wrap=True)
    for group, lines in table.groups():
        if group:
            drawn.add_section()
            drawn.add_row(Text(group, style="bold"))
        for line in lines:
            drawn.add_row(
                Text(line.label, style="italic" if line.published else ""),
                *table.properties_of(line),
                line.seeds,
                *_cells(line, spreads, gains),
            )
    return drawn


def _cells(line: Line, spreads: str, gains: str) -> list[Text]:
    if not line.shown:
        return [Text("-", style="dim") for _ in line.cells]
    return [_cell(cell, spreads, gains) for cell in line.cells]


def _cell(cell: Cell, spreads: str, gains: str) -> Text:
    drawn = Text(cell.mean, style="bold" if cell.best else "")
    if cell.std:
        drawn.append(f"{spreads}±{cell.std}", style="not bold dim")
    if cell.gain:
        drawn.append(
            f"{gains}({cell.gain}){cell.mark}",
            style="not bold green" if cell.gain.startswith("+") else "not bold red",
        )
    return drawn
