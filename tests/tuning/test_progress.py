from __future__ import annotations

import io

from rich.console import Console

from siod.tuning.showing.board import Board
from siod.tuning.showing.progress import FRAME_LINES, live_display, render, summary


def a_board(trials: int = 3) -> Board:
    board = Board.of("demo", {f"base/{seed}": 6 for seed in range(trials)})
    board.clock, board.began_at = lambda: 10.0, 0.0
    return board


def drawn(board: Board, *, height: int = 40, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(render(board, height=height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_shows_state_epoch_and_objective_of_every_trial() -> None:
    board = a_board()
    board.begin("base/0")
    board.epoch("base/0", 3, {"ap_s": 0.213})
    board.fail("base/1", "loss is NaN\nTraceback ...")
    lines = drawn(board).splitlines()
    assert "AP@S" in lines[1]
    (running,) = [line for line in lines if line.startswith("base/0")]
    assert "running" in running
    assert "3/6" in running
    assert running.split()[-3:-1] == ["21.3", "21.3"]
    assert "base/1: loss is NaN" in lines
    assert lines[-1] == "1 of 3 done, 1 failed, 0:10 so far"


def test_a_study_longer_than_the_screen_lists_what_runs_and_counts_the_rest() -> None:
    board = a_board(trials=50)
    board.begin("base/7")
    lines = drawn(board, height=20).splitlines()
    assert len(lines) <= 20
    assert [line.split()[0] for line in lines if line.startswith("base/")] == ["base/7"]
    assert "and 49 more trials, waiting or finished" in lines


def test_a_study_that_just_fits_is_listed_whole() -> None:
    board = a_board(trials=10)
    assert len(drawn(board, height=10 + FRAME_LINES).splitlines()) <= 10 + FRAME_LINES
    assert "more trials" not in drawn(board, height=10 + FRAME_LINES)


def test_off_a_terminal_every_event_is_one_plain_line() -> None:
    board = a_board()
    console = Console(file=io.StringIO(), width=40)
    with live_display(board, console=console):
        board.set_activity("preparing the data")
        board.fail("base/1", "[red]a sentence longer than forty columns is not wrapped[/red]")
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "demo: preparing the data",
        "base/1: failed: [red]a sentence longer than forty columns is not wrapped[/red]",
    ]


def test_on_a_terminal_the_table_is_redrawn_in_place() -> None:
    board = a_board()
    console = Console(file=io.StringIO(), width=80, height=30, force_terminal=True)
    with live_display(board, console=console):
        board.begin("base/0")
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "\x1b[" in text
    assert "running" in text
    assert "base/0: started" not in text


def test_the_summary_names_what_the_study_is_busy_with() -> None:
    board = a_board()
    board.set_activity("pretraining the backbone")
    assert str(summary(board)) == "0 of 3 done, 0:10 so far, pretraining the backbone"
