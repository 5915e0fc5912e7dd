"""What a training step costs the host of a GPU, beside what it cost at an earlier commit; counted on a CPU.

*waits* are operations that cannot end before the device has; *launches* are all operations but views. A step is views,
forward, loss, backward, update and log, as the loop does it, on noise with three annotated and six hidden boxes an
image. The copies of a batch to the device are counted apart. *judge* is the judging of mined entries by the hidden
instances: processor time on one thread and peak memory, on a grid of 128 x 128 positions and 80 classes.

The earlier commit is unpacked from git into a temporary folder, and counted in a process of its own.

Run: OMP_NUM_THREADS=1 python tests/benchmarks/bench_hot_path.py [--than 94b8280] [--images 2 8 16] [--only fcos judge]
"""

# ruff: noqa: T201  (a benchmark prints its table)

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"siod": "siod", "cli": "siod/cli", "reports": "siod/reports", "studies": "siod/studies"}

Figures = dict[str, dict[str, float]]


def unpack(commit: str, folder: Path) -> None:
    """Lay the package out as it was at a commit."""
    for source, place in FOLDERS.items():
        archive = subprocess.run(
            ["git", "archive", f"{commit}:{source}"],  # noqa: S607
            cwd=ROOT,
            check=True,
            capture_output=True,
        ).stdout
        (folder / place).mkdir(parents=True, exist_ok=True)
        subprocess.run(["tar", "-x"], cwd=folder / place, input=archive, check=True)  # noqa: S607


def counted(package: Path | None, images: list[int], only: list[str]) -> Figures:
    """What ``hot_path.py`` prints, with siod from a folder or as it is installed."""
    environment = dict(os.environ) if package is None else os.environ | {"PYTHONPATH": str(package)}
    command = [sys.executable, str(Path(__file__).with_name("hot_path.py"))]
    command += ["--images", *map(str, images), "--only", *only]
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures: Figures = json.loads(output.splitlines()[-1])
    return figures


def main() -> None:
    """Count both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--than", default="94b8280", help="the earlier commit")
    parser.add_argument("--images", type=int, nargs="+", default=[2, 8, 16])
    parser.add_argument("--only", nargs="*", default=[], help="parts of the rows' names")
    arguments = parser.parse_args()
    new = counted(None, arguments.images, arguments.only)
    with tempfile.TemporaryDirectory() as name:
        unpack(arguments.than, Path(name))
        old = counted(Path(name), arguments.images, arguments.only)
    print(f"{'row':<34}{'figure':<10}{arguments.than:>10}{'now':>10}{'ratio':>8}")
    for row, figures in new.items():
        for name, value in figures.items():
            before = old[row][name]
            print(f"{row:<34}{name:<10}{before:>10g}{value:>10g}{value / before if before else 1:>8.2f}")


if __name__ == "__main__":
    main()
