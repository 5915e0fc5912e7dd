"""How long a report of 1,000 trials with 150 epochs each takes, and how much memory and page: 15 s, 1 GB, 15 MB.

Run: python tests/benchmarks/bench_report.py [--arms 40] [--seeds 25] [--epochs 150]
What was measured stands in docs/reports.md.
"""

from __future__ import annotations

import argparse
import gc
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from siod.tracking.mlflow import Store
from siod.tracking.records import ArmRecord, StudyHeader

THRESHOLDS = ("ap_s", *(f"ap_s{step}" for step in range(10)))
LOSSES = ("train/loss", "train/heatmap", "train/size", "train/offset", "train/pgcl", "train/learning_rate")
MINING = tuple(
    f"mining/{miner}_{figure}" for miner in ("splg", "pgcl") for figure in ("per_image", "precision", "recall")
)
NAMES = (*THRESHOLDS, *LOSSES, *MINING, "cost/epoch_seconds", "cost/peak_memory_mib", "epoch")
OTHERS = tuple(f"{kind}_s{step}" for kind in ("ap50", "ap75", "ap_small", "ar100", "ar10") for step in range(10))
LIMITS = {"seconds": 15.0, "peak MiB": 1024.0, "page MiB": 15.0}
# Builds the report in a fresh process and says how much memory that took.
PROGRAM = """
import resource, sys, time
start = time.perf_counter()
from pathlib import Path
from siod.reports.build import build_report
from siod.reports.figures.drawing import FigurePrinter
from siod.reports.figures.study import arms_drawn
printer = FigurePrinter()
from siod.tracking.mlflow import Store
record = Store(sys.argv[1]).read_study("many", curves=arms_drawn)
read = time.perf_counter()
files = build_report(record, Path(sys.argv[2]), printer=printer)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(read - start, time.perf_counter() - start, time.process_time(), peak)
"""


def main() -> None:
    """Make a store, report it, and print what that took beside the limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=25)
    parser.add_argument("--epochs", type=int, default=150)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        start = time.perf_counter()
        rows = fill(uri, folder, arms=asked.arms, seeds=asked.seeds, epochs=asked.epochs)
        made = time.perf_counter() - start
        command = [sys.executable, "-c", PROGRAM, uri, str(folder / "report")]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        reading, seconds, busy, peak = map(float, told.split())
        page = (folder / "report" / "index.html").stat().st_size / 2**20
    table = Table(
        title=f"{asked.arms * asked.seeds} trials x {asked.epochs} epochs, {rows:,} values (made in {made:.0f} s)"
    )
    for column in ("", "measured", "limit"):
        table.add_column(column)
    table.add_row("seconds of reading", f"{reading:.1f}", "")
    table.add_row("seconds of processor", f"{busy:.1f}", "")
    for (label, limit), value in zip(LIMITS.items(), (seconds, peak, page), strict=True):
        table.add_row(label, f"{value:.1f}", f"{limit:.0f}")
    Console().print(table)


def fill(uri: str, folder: Path, *, arms: int, seeds: int, epochs: int) -> int:
    """Make a study in a new store: one trial through the front door, the others as copies of its rows.

    Returns:
        How many values by epoch there are.
    """
    store = Store(uri)
    store.prepare()
    names = [f"arm{place:03}" for place in range(arms)]
    declared = tuple(ArmRecord(name, f"Arm {name}", changes={"recipe.lr": place}) for place, name in enumerate(names))
    header = StudyHeader(name="many", question="How fast?", arms=declared, baseline="arm000", seeds=tuple(range(seeds)))
    study = store.start_study(header)
    settings = {"recipe": {"epochs": epochs, "lr": 0.1}, "seed": 0}
    first = store.start_trial(study, arm="arm000", seed=0, identity="0", settings=settings, tags={"git_commit": "abc"})
    first.log_epoch(epochs, dict.fromkeys((*NAMES, *OTHERS), 0.1))
    first.finish("finished")
    detections = {str(image): [[1, 2, 3, 4, 0.5, 0]] * 20 for image in range(8)}
    first.log_json("gallery.json", detections)
    first.log_json("diagnosis.json", diagnosis())
    with sqlite3.connect(folder / "mlflow.db") as database:
        copies = [(name, seed) for name in names for seed in range(seeds)][1:]
        ids = [first.run_id, *(copy(database, first.run_id, arm, seed) for arm, seed in copies)]
        random = np.random.default_rng(0)
        database.execute("DELETE FROM metrics")
        for run_id in ids:
            values = random.random((epochs, len(NAMES)))
            database.executemany(
                "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, 0, ?, ?, 0)",
                ((key, value, run_id, epoch ) for epoch, row in enumerate(values.tolist(), 1)
                 for key, value in zip(NAMES, row, strict=True)),
            )  # fmt: skip
    gc.collect()
    return len(ids) * epochs * len(NAMES)


def copy(database: sqlite3.Connection, source: str, arm: str, seed: int) -> str:
    """Copy a trial's rows for another arm and seed; the artifacts are shared."""
    run_id = uuid.uuid4().hex
    for table in ("runs", "tags", "params", "latest_metrics"):
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        chosen = ", ".join(f"'{run_id}'" if column == "run_uuid" else column for column in columns)
        database.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {chosen} FROM {table} WHERE run_uuid = ?",  # noqa: S608
            (source,),
        )
    for tag, value in {"arm": arm, "seed": str(seed), "identity": run_id, "mlflow.runName": f"{arm}/{seed}"}.items():
        database.execute("UPDATE tags SET value = ? WHERE run_uuid = ? AND key = ?", (value, run_id, tag))
    noisy = float(np.random.default_rng([seed, *arm.encode()]).random())
    database.execute("UPDATE latest_metrics SET value = ? WHERE run_uuid = ? AND key = 'ap_s'", (noisy, run_id))
    return run_id


def diagnosis() -> dict[str, object]:
    """As large as a trial's on COCO."""
    return {
        "right": [50] * 20,
        "wrong": [50] * 20,
        "scores": [40.0] * 20,
        "precision": {f"0.{place}": [0.5] * 101 for place in range(50, 100, 5)},
        "categories": {f"category {place}": {"ap_s": 0.3, "ap_s0": 0.4} for place in range(80)},
    }


if __name__ == "__main__":
    main()
