"""The command's tree, its exit codes, and what it loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from siod import __version__
from siod.cli import main as command

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Siod

HEAVY = ("torch", "ray", "mlflow", "numpy", "pydantic", "matplotlib", "optuna")
COMMANDS = [
    ["data", "digits"],
    ["data", "annotate"],
    ["data", "check"],
    ["data", "cache"],
    ["data", "convert"],
    ["data", "resize"],
    ["data", "stats"],
    ["train"],
    ["evaluate"],
    ["study", "list"],
    ["study", "run"],
    ["study", "schema"],
    ["study", "status"],
    ["report", "build"],
    ["ui"],
    ["doctor"],
]


def python(code: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )


def test_help_loads_nothing_heavy() -> None:
    code = f"""
import sys
from siod.cli.main import main
try:
    main()
except SystemExit as left:
    assert left.code == 0, left.code
print("loaded:", *(name for name in {HEAVY!r} if name in sys.modules))
"""
    done = python(code, "--help")
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "loaded:"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(siod: Siod, words: list[str]) -> None:
    done = siod(*words, "--help")
    assert done.code == 0
    assert done.out.startswith(f"Usage: siod {' '.join(words)}")


def test_the_version_is_printed(siod: Siod) -> None:
    assert siod("--version").out == f"siod {__version__}\n"


def test_an_unknown_command_is_answered_with_the_closest(siod: Siod) -> None:
    done = siod("evaluat")
    assert done.code == 2
    assert "Did you mean 'evaluate'?" in done.err


def test_a_full_disk_is_named_however_deep_it_is_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    error = RuntimeError("PytorchStreamWriter failed writing file")
    error.__cause__ = OSError(28, "No space left on device")
    assert command._explain(error) == 2
    assert capsys.readouterr().err == (
        "siod: no space left on the device; free some, or name another place with --runs or --cache\n"
    )


def test_a_place_that_cannot_be_used_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert command._explain(OSError(30, "Read-only file system", "/mnt/runs")) == 2
    assert capsys.readouterr().err == "siod: /mnt/runs: Read-only file system; name another place, or mend this one\n"


def test_a_defect_is_one_sentence_too_and_says_how_to_see_more(capsys: pytest.CaptureFixture[str]) -> None:
    assert command._explain(KeyError("a\nb")) == 1
    sentence = capsys.readouterr().err
    assert sentence.count("\n") == 1
    assert "run again with --debug" in sentence


def test_debug_shows_the_traceback(siod: Siod) -> None:
    with pytest.raises(command.UserError, match="unknown study 'dmo'"):
        siod("study", "run", "dmo", "--debug")


def test_a_reader_that_leaves_early_leaves_no_traceback() -> None:
    code = "from siod.cli.main import main; main()"
    pipe = subprocess.run(
        ["/bin/sh", "-c", f'"{sys.executable}" -c "{code}" study list | true'],
        capture_output=True,
        text=True,
        check=False,
    )
    assert pipe.stderr == ""


def test_a_terminal_of_another_encoding_shows_what_it_can(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(
        json.dumps({"images": [], "categories": [{"id": 1, "name": "猫"}], "annotations": []})
    )
    done = subprocess.run(
        [sys.executable, "-c", "from siod.cli.main import main; main()", "data", "check", "x.json"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")  # an unused category is a remark
    assert b"id 1 '\\u732b'" in done.stdout
