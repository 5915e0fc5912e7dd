"""What the watch makes of the events of trials, and why a process died, as far as what Ray wrote tells."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from siod.tuning.running.watch import Watch, why_it_died
from siod.tuning.showing.board import Board


def test_a_process_that_ended_without_a_word_may_have_ended_for_many_reasons(tmp_path: Path) -> None:
    assert why_it_died("The actor died unexpectedly.", tmp_path) == (
        "its process died (out of memory, killed, or a lost node)"
    )


def test_a_file_that_hides_a_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "optuna.py").touch()
    text = "Traceback\nModuleNotFoundError: No module named 'optuna.study'; 'optuna' is not a package\n\nAn error"
    hides = "hides the package of that name; rename the file"
    assert why_it_died(text, tmp_path) == f"its process could not start: {tmp_path}/optuna.py {hides}"
    (tmp_path / "statistics.py").touch()
    text = f"  File \"{tmp_path}/statistics.py\", line 3\nImportError: cannot import name 'A' from 'x'\n"
    assert why_it_died(text, tmp_path) == f"its process could not start: {tmp_path}/statistics.py {hides}"


def test_a_package_that_a_node_lacks_is_told_with_python_s_words(tmp_path: Path) -> None:
    (tmp_path / "mine.py").touch()  # hides nothing
    text = f"  File \"{tmp_path}/mine.py\", line 3\nModuleNotFoundError: No module named 'polars'\n"
    assert why_it_died(text, tmp_path) == (
        "its process could not start (ModuleNotFoundError: No module named 'polars'); install what is missing on every "
        "node"
    )


class Recorded:
    """A recorder that keeps the names of reused jobs."""

    def __init__(self) -> None:
        self.reused: list[str] = []

    def reuse(self, job: Any, metrics: dict[str, float]) -> None:
        del metrics
        self.reused.append(job.name)


def test_a_job_without_a_result_is_not_reused() -> None:
    board, recorder = Board.of("s", {"arm/0": 2}), Recorded()
    job: Any = SimpleNamespace(name="arm/0", number=None, result=lambda: None)
    assert not Watch(board, recorder).reuse(job)  # type: ignore[arg-type]
    assert (board.rows["arm/0"].state, recorder.reused) == ("waiting", [])


def test_no_further_trial_starts_after_a_stop_or_an_abort() -> None:
    stopped = Watch(Board.of("s", {}), Recorded())  # type: ignore[arg-type]
    assert not stopped.ending
    stopped.stop()
    assert stopped.ending
    aborted = Watch(Board.of("s", {}), Recorded())  # type: ignore[arg-type]
    aborted.board.abort_reason = "5 trials in a row failed alike: no space left"
    assert aborted.ending
