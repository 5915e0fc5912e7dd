"""What everybody waits for before a first result: commands that look, a study's first epoch, the trials after it.

Processor seconds of whole commands and their resident memory at its peak, without what their child processes take; of
studies the seconds that pass from the command to the end of the first epoch, and from there what each further trial
takes. A trial is one step of four images and one judgement, so that almost all of it is the engine's. *fresh* finds
neither records nor data, *again* finds both. The two commits take turns, as in ``side_by_side.py``.

Run: OMP_NUM_THREADS=1 python tests/benchmarks/bench_first_result.py [--than 94b8280] [--repeat 3]
[--only commands studies]
"""

# ruff: noqa: T201  (a benchmark prints its table)

from __future__ import annotations

import argparse
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from side_by_side import COMMAND, Bench, Row, side_by_side

TRIALS = 5
STUDY = """
from siod.data.digits import Digits
from siod.training.presets import digits_centernet
from siod.tuning.study import Arm, Study

TINY = {{
    "data": Digits(train_images=4, val_images=2),
    "weights": {{"kind": "none"}},
    "recipe.epochs": 1,
    "recipe.batch_size": 4,
    "compute.carrier": "{carrier}",
}}
STUDY = Study(
    name="first", question="How long until there is something?", base=digits_centernet().with_changes(TINY),
    baseline="base", arms=(Arm(name="base"),), seeds=tuple(range({trials})),
)
"""
COMMANDS = {
    "study list": ("study", "list"),
    "study plan demo": ("study", "plan", "demo", "--cache", "cache"),
    "study schema": ("study", "schema"),
    "data check": ("data", "check", "digits/annotations/instances_train.json", "--images", "digits/train"),
    "doctor": ("doctor", "--runs", "runs", "--cache", "cache"),
}


def commands(bench: Bench) -> Iterator[Row]:
    """Commands that look and do not train."""
    bench.command("now", "data", "digits", "digits", "--images", "20", "--val-images", "10")
    for name, words in COMMANDS.items():
        seconds, memory = Row(name, "CPU s"), Row(name, "MiB")
        for _ in range(bench.repeat):
            for package in bench.packages:
                taken, mib = bench.command(package, *words)
                getattr(seconds, package).append(taken)
                getattr(memory, package).append(mib)
        yield from (seconds, memory)


def studies(bench: Bench) -> Iterator[Row]:
    """The first epoch of a study, and the trials that follow one after the other."""
    for carrier in ("in_process", "ray_train"):
        fresh, again, each = (
            Row(f"first epoch, {carrier}, {state}", "s") for state in ("fresh", "again", "each further trial")
        )
        file = bench.folder / f"{carrier}.py"
        file.write_text(STUDY.format(carrier=carrier, trials=TRIALS))
        for _ in range(bench.repeat):
            for package in bench.packages:
                place = bench.folder / f"{carrier}-{package}"
                for row in (fresh, again):
                    first, further = _times(bench, package, file, place)
                    getattr(row, package).append(first)
                    getattr(each, package).append(further)
                    shutil.rmtree(place / "trials")  # records, data and settings stay
                shutil.rmtree(place)
        yield from (fresh, again, each)


def _times(bench: Bench, package: str, study: Path, runs: Path) -> tuple[float, float]:
    """Seconds from the command to the end of the first epoch, and from there for each further trial."""
    words = ["study", "run", str(study), "--runs", str(runs), "--cache", str(runs / "cache"), "--max-concurrent", "1"]
    began = time.perf_counter()
    process = bench.start(package, [COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    told = [(time.perf_counter() - began, str(line)) for line in process.stdout]
    if process.wait():
        raise SystemExit("".join(line for _, line in told))
    epochs = [moment for moment, line in told if "epoch 1/1" in line]
    ends = [moment for moment, line in told if "finished in" in line]
    return epochs[0], (ends[-1] - ends[0]) / (TRIALS - 1)


def main() -> None:
    """Measure both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--than", default="94b8280", help="the earlier commit")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=["commands", "studies"])
    asked = parser.parse_args()
    with side_by_side(asked.than, asked.repeat) as bench:
        for part in (commands, studies):
            for row in part(bench) if part.__name__ in asked.only else ():
                print(row, flush=True)


if __name__ == "__main__":
    main()
