"""What the process that drives a study takes for each trial, and what the records take, from few trials to many.

The trials do nothing: each writes a result and reports one epoch of 26 values. Everything else is as ever, with as many
at once as the machine pretends to have cores: planning, Ray Tune, the board, the tracking store (SQLite). *driver* is
processor time of the driving process, recorder included, from the first trial on; the trials' own processes compete
with it for the cores of this machine.

Run: OMP_NUM_THREADS=1 python tests/benchmarks/bench_driver.py [--trials 100 1000 10000] [--at-once 16]
"""

# ruff: noqa: T201  (a benchmark prints its table)

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_report import NAMES
from ray import tune

from siod.data.digits import Digits
from siod.json_file import write_json
from siod.training.experiment import Compute, Scratch
from siod.training.placement import Node
from siod.training.presets import digits_centernet
from siod.tuning.running import cluster, driver, runner
from siod.tuning.running.run_config import RunConfig
from siod.tuning.study import Arm, Study

ARMS = 20
METRICS = dict.fromkeys(NAMES, 0.5)


def nothing(config: dict[str, Any], jobs: dict[int, Any], study: Path) -> None:
    """A trial."""
    del study
    run_dir = jobs[config["index"]].run_dir
    write_json(run_dir / "history.json", [METRICS])
    write_json(run_dir / "result.json", METRICS | {"best_ap_s": 0.5, "best_epoch": 1.0, "epochs": 1.0})
    tune.report({"epoch": 1, "metrics": METRICS})


def study_of(trials: int) -> Study:
    """As many trials of twenty arms."""
    base = digits_centernet().with_changes(
        {
            "data": Digits(train_images=16, val_images=4),
            "weights": Scratch(),
            "recipe.epochs": 1,
            "compute": Compute(cpus_per_worker=1, gpus_per_worker=0, loader_workers=0),
        }
    )
    arms = [Arm(name="arm0")]
    arms += [Arm(name=f"arm{place}", changes={"recipe.weight_decay": place * 1e-6}) for place in range(1, ARMS)]
    return Study(
        name="many", question="?", base=base, arms=tuple(arms), baseline="arm0", seeds=tuple(range(trials // ARMS))
    )


def measured(run: Callable[..., None], found: dict[str, float]) -> Callable[..., None]:
    """The function that runs the jobs, and what it takes."""

    def run_measured(*arguments: Any) -> None:
        began, busy = time.perf_counter(), time.process_time()
        run(*arguments)
        found.update(seconds=time.perf_counter() - began, driver=time.process_time() - busy)

    return run_measured


def main() -> None:
    """Run studies of several sizes and print what each took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--at-once", type=int, default=16)
    asked = parser.parse_args()
    cluster.this_machine = lambda: Node(float(asked.at_once), 0.0)
    driver._listed_trial = nothing
    run_jobs = runner.run_jobs
    print("| trials | all in all s | a trial ms | driver a trial ms | driver peak MiB | store KiB a trial |")
    print("| --: | --: | --: | --: | --: | --: |", flush=True)
    for trials in asked.trials:
        with tempfile.TemporaryDirectory() as name:
            folder, found = Path(name), dict[str, float]()
            runner.run_jobs = measured(run_jobs, found)
            runs, cache = folder / "runs", folder / "cache"
            config = RunConfig(runs_dir=runs, cache_dir=cache, store_uri=f"sqlite:///{runs / 'mlflow.db'}")
            began = time.perf_counter()
            outcome = runner.run_study(study_of(trials), config, progress=False)
            if len(outcome.finished) != trials:
                raise SystemExit(f"{len(outcome.finished)} of {trials} finished: {outcome.failed}")
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            store = (runs / "mlflow.db").stat().st_size / 1024 / trials
            print(
                f"| {trials} | {time.perf_counter() - began:.0f} | {1000 * found['seconds'] / trials:.0f} "
                f"| {1000 * found['driver'] / trials:.0f} | {peak:.0f} | {store:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
