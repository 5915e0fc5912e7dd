"""Progress of a command: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def progress_bar(label: str, *, console: Console | None = None) -> Iterator[Callable[[int, int], None]]:
    """Show progress on standard error while the block runs.

    Args:
        label: What is done.
        console: Where to; standard error when None, so that results can be piped.

    Yields:
        To be called with the number of things done and of all.
    """
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(label, console)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance


class _Lines:
    """One line every ten seconds; nothing for what takes less."""

    def __init__(self, label: str, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._label = label
        self._console = console
        self._clock = clock
        self._last = clock()

    def __call__(self, done: int, total: int) -> None:
        now = self._clock()
        if now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            self._console.print(f"{self._label}: {done} of {total}", markup=False, highlight=False, soft_wrap=True)
