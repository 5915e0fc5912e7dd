"""Two versions of siod side by side: an earlier commit and the present one, which take turns."""

# ruff: noqa: T201  (a benchmark prints its table)

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench_hot_path import FOLDERS, ROOT, unpack

COMMAND = "import sys; from siod.cli.main import main; sys.argv = ['siod', *sys.argv[1:]]; main()"


@dataclass
class Row:
    """What one thing took in each measurement.

    Args:
        name: Of the row.
        unit: Of the numbers.
        before: At the earlier commit.
        now: As it is.
    """

    name: str
    unit: str
    before: list[float] = field(default_factory=list)
    now: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        """As a line of a Markdown table."""
        ratio = statistics.median(self.now) / statistics.median(self.before)
        return f"| {self.name} | {self.unit} | {_summary(self.before)} | {_summary(self.now)} | {ratio:.2f} |"


def _summary(values: list[float]) -> str:
    """Least, median, and the difference of greatest and least."""
    middle = statistics.median(values)
    digits = 0 if middle >= 100 else 1 if middle >= 10 else 2 if middle >= 0.1 else 3
    return f"{min(values):.{digits}f} | {middle:.{digits}f} | {max(values) - min(values):.{digits}f}"


@dataclass(frozen=True)
class Bench:
    """Takes measurements of two packages in turn.

    Args:
        folder: For everything that is written.
        packages: Folder of each package.
        repeat: How often each is measured.
    """

    folder: Path
    packages: dict[str, Path]
    repeat: int

    def command(self, package: str, *words: str) -> tuple[float, float]:
        """Carry out a command of siod; returns its processor seconds and peak resident memory in MiB."""
        process = self.start(package, [COMMAND, *words])
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{package}: siod {' '.join(words)} ended with {process.returncode}")
        return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024

    def start(self, package: str, words: list[str], **streams: Any) -> subprocess.Popen[Any]:
        """Start Python with siod from a package; its output is not shown."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("SIOD_", "PYTHONPATH"))
        }
        environment["PYTHONPATH"] = str(self.packages[package])
        return subprocess.Popen(
            [sys.executable, "-c", *words],
            cwd=self.folder,
            env=environment,
            **{"stdout": subprocess.DEVNULL, **streams},
        )


@contextmanager
def side_by_side(commit: str, repeat: int) -> Iterator[Bench]:
    """Lay out an earlier commit and the present sources in a folder, and print the head of the table.

    Args:
        commit: The earlier one.
        repeat: How often each is measured.

    Yields:
        What takes the measurements; its folder goes in the end.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unpack(commit, folder / "earlier")
        for source, place in FOLDERS.items():  # the sources may be changed meanwhile
            shutil.copytree(ROOT / source, folder / "present" / place, dirs_exist_ok=True)
        print(f"| | | {commit}: least | median | spread | now: least | median | spread | ratio |")
        print("| :-- | :-- | --: | --: | --: | --: | --: | --: | --: |", flush=True)
        yield Bench(folder, {"before": folder / "earlier", "now": folder / "present"}, repeat)
