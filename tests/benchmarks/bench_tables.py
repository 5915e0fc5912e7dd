"""What eight processes take to open the training table of a data set of COCO's size, and to hold it; beside a commit.

As many images as COCO has and 440 MB of annotations; no image is looked at. *first* finds nothing in the cache, *again*
what the first time left there. The memory is what each process has for the table, pages that several share by their
part; the peak is a process's own, torch included. The two commits take turns.

Run: OMP_NUM_THREADS=1 python tests/benchmarks/bench_tables.py [--than 94b8280] [--images 118287] [--repeat 3]
"""

# ruff: noqa: T201  (a benchmark prints its table)

from __future__ import annotations

import argparse
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench_scale import write_set
from side_by_side import Bench, Row, side_by_side

# Opens the training table when told to; then says how much memory it has for it, shared by as many, and its peak.
TABLE = """
import sys
from dataclasses import replace
from pathlib import Path
try:
    import siod.data.loading.loader
    from siod.data.instance_table import train_table
except ImportError:  # an earlier commit
    from siod.data.loader import train_table
from siod.data.source import PreparedData

def mib(file, entry):
    return int(next(line for line in open(f"/proc/self/{file}") if line.startswith(entry)).split()[1]) / 1024

def held():
    return mib("smaps_rollup", "Pss:")

def say(*words):
    print(*words, flush=True)
    sys.stdin.readline()

file, cache = Path(sys.argv[1]), Path(sys.argv[2])
data = PreparedData(
    train=file, train_full=file, train_images=file.parent, val=file, val_images=file.parent, fingerprint="set",
    category_names=(), category_ids=(),
)
if hasattr(data, "tables"):
    data = replace(data, tables=cache / "tables")
before = held()
say("ready")
table = train_table(data)
float(table.boxes_xyxy.sum()) + int(table.labels.sum()) + len(table.images[len(table) - 1].file_name)
say("opened")
say(held() - before, mib("status", "VmHWM:"))
"""
PROCESSES = 8


def tables(bench: Bench, images: int) -> Iterator[Row]:
    """Open the training table in several processes at once, which hold it while the others do."""
    write_set(bench.folder / "set", images, files=False)
    first, again = Row("tables opened, first", "s"), Row("tables opened, again", "s")
    shared, peak = Row("tables held by all", "MiB"), Row("peak of one, again", "MiB")
    for _ in range(bench.repeat):
        for package in bench.packages:
            cache = bench.folder / f"tables-{package}"
            getattr(first, package).append(_opened(bench, package, cache)[0])
            seconds, held, most = _opened(bench, package, cache)
            getattr(again, package).append(seconds)
            getattr(shared, package).append(held)
            getattr(peak, package).append(most)
            shutil.rmtree(cache, ignore_errors=True)
    yield from (first, again, shared, peak)
    shutil.rmtree(bench.folder / "set")


def _opened(bench: Bench, package: str, cache: Path) -> tuple[float, float, float]:
    """Seconds until all processes have the table, the memory they then hold for it, and the greatest peak of one."""
    words = [TABLE, str(bench.folder / "set" / "annotations" / "instances_train.json"), str(cache)]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [bench.start(package, words, **streams) for _ in range(PROCESSES)]
    _heard(processes)
    began = time.perf_counter()
    _go_on(processes)
    _heard(processes)
    seconds = time.perf_counter() - began
    _go_on(processes)
    held, peaks = zip(*_heard(processes), strict=True)
    _go_on(processes)
    for process in processes:
        process.wait()
    return seconds, sum(map(float, held)), max(map(float, peaks))


def _heard(processes: list[subprocess.Popen[Any]]) -> list[list[str]]:
    """The words of one line of each process."""
    lines = [process.stdout.readline().split() for process in processes if process.stdout is not None]
    if not all(lines):
        raise SystemExit("a process that was to open the training table has ended")
    return lines


def _go_on(processes: list[subprocess.Popen[Any]]) -> None:
    for process in processes:
        if process.stdin is not None:
            process.stdin.write("\n")
            process.stdin.flush()


def main() -> None:
    """Measure both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--than", default="94b8280", help="the earlier commit")
    parser.add_argument("--images", type=int, default=118_287)
    parser.add_argument("--repeat", type=int, default=3)
    asked = parser.parse_args()
    with side_by_side(asked.than, asked.repeat) as bench:
        for row in tables(bench, asked.images):
            print(row, flush=True)


if __name__ == "__main__":
    main()
