"""Show a running study: a live table on a terminal, one line per event elsewhere."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from siod.tuning.showing.board import DONE, Board, Row, duration, metric_label, percent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from siod.tuning.showing.board import State

STYLES: dict[State, str] = {
    "waiting": "dim",
    "running": "cyan",
    "finished": "green",
    "reused": "green dim",
    "failed": "bold red",
    "interrupted": "yellow",
    "pruned": "magenta",
}
# Lines of the screen that are not trials: title, head, rules, placement, summary.
FRAME_LINES = 9
BAR_CELLS = 12


@contextmanager
def live_display(board: Board, *, console: Console | None = None) -> Iterator[None]:
    """Show a board while the study runs.

    Args:
        board: Read again and again on a terminal; its ``print_line`` prints elsewhere.
        console: Where to; standard error when None, so that results can be piped.
    """
    console = console or Console(stderr=True)
    if not console.is_terminal:
        board.print_line = lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True)
        yield
        return
    live = Live(
        get_renderable=lambda: render(board, height=console.height),
        console=console,
        refresh_per_second=4,
        vertical_overflow="visible",
    )
    with live:
        yield


def render(board: Board, *, height: int) -> RenderableType:
    """Draw the board: a table of the trials and one line of summary.

    Args:
        board: What to draw.
        height: Lines of the screen; when there are more trials, those that neither run nor failed are counted only.
    """
    rows = list(board.rows.values())
    visible = rows if len(rows) + FRAME_LINES <= height else [row for row in rows if row.state in {"running", "failed"}]
    hidden = len(rows) - len(visible)
    parts: list[RenderableType] = [_table(board, visible)]
    if hidden:
        parts.append(Text(f"and {hidden} more trials, waiting or finished", style="dim"))
    parts += [Text(f"{row.name}: {_first_line(row.error)}", style=STYLES["failed"]) for row in visible if row.error]
    parts += [Text(line, style="dim") for line in board.placements]
    parts.append(summary(board))
    return Group(*parts)


def _first_line(error: str) -> str:
    return error.strip().partition("\n")[0]


def _table(board: Board, rows: list[Row]) -> Table:
    metric = metric_label(board.objective)
    table = Table(
        title=f"study {board.study}", title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False
    )
    table.add_column("trial", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("epoch", no_wrap=True)
    for heading in (metric, "best", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    now = board.clock()
    for row in rows:
        table.add_row(
            row.name,
            Text(row.state, style=STYLES[row.state]),
            _bar(row),
            percent(row.current),
            percent(row.best),
            _time(row, now),
        )
    return table


def _bar(row: Row) -> Text:
    filled = BAR_CELLS * row.epoch // max(1, row.total_epochs)
    return Text.assemble(
        ("━" * filled, "green"), ("━" * (BAR_CELLS - filled), "bright_black"), f" {row.epoch}/{row.total_epochs}"
    )


def _time(row: Row, now: float) -> str:
    if row.began_at is None:
        return ""
    return duration((now if row.ended_at is None else row.ended_at) - row.began_at)


def summary(board: Board) -> Text:
    """One line: how many are done, how long it took, how long it will take."""
    done, failed = board.count(*DONE), board.count("failed")
    parts = [f"{done} of {len(board.rows)} done"]
    if failed:
        parts.append(f"{failed} failed")
    parts.append(f"{duration(board.clock() - board.began_at)} so far")
    gpu_hours = board.gpu_hours()
    if gpu_hours:
        parts.append(f"{gpu_hours:.1f} GPU-hours")
    if price := board.priced_so_far():
        parts.append(price)
    left = board.seconds_left()
    if left is not None and done < len(board.rows):
        parts.append(f"about {duration(left)} left")
    if board.activity:
        parts.append(board.activity)
    return Text(", ".join(parts), style="bold")
