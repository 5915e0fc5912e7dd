"""Progress is a line now and then where there is no terminal, and a bar that goes away where there is one."""

from __future__ import annotations

import io

from rich.console import Console

from siod.cli.progress import _Lines, progress_bar


def test_lines_come_ten_seconds_apart() -> None:
    written = io.StringIO()
    times = iter([0.0, 9.0, 10.0, 19.0, 20.5])
    lines = _Lines("decoding", Console(file=written, width=80), clock=lambda: next(times))
    for done in (1, 2, 3, 4):
        lines(done, 8)
    assert written.getvalue() == "decoding: 2 of 8\ndecoding: 4 of 8\n"


def test_a_terminal_gets_a_bar() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=80)
    with progress_bar("decoding", console=console) as progress:
        progress(3, 8)
    assert "3/8" in written.getvalue()
