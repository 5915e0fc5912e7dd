"""A process that died says why, as far as what Ray wrote tells."""

from __future__ import annotations

from pathlib import Path

from siod.tuning.running.watch import why_it_died


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
