"""What the study engine costs beside the training itself, and how long planning and status take.

The trials are small CenterNets on a few digits. *bare* is the training loop alone, run after run in processes that
have everything imported, as many at once as in the study; a study of the same runs goes through the command line, Ray
Tune and the MLflow store, as many at once as there are cores. Seconds by the clock: run it on a machine that does
nothing else.

Run: OMP_NUM_THREADS=1 python tests/benchmarks/bench_engine.py [--epochs 6] [--skip-store]
"""

# ruff: noqa: T201  (a benchmark prints its table; the processes are its own)

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag

from siod.data.digits import Digits
from siod.data.source import prepare
from siod.tracking.mlflow import Store
from siod.tracking.records import ArmRecord, StudyHeader
from siod.training.experiment import Experiment, Scratch
from siod.training.presets import digits_centernet
from siod.training.run import train
from siod.tuning.planning.estimate import estimate
from siod.tuning.planning.jobs import prepare_jobs
from siod.tuning.planning.plan import plan
from siod.tuning.study import Arm, Study

IN_PROCESS, RAY_TRAIN, BARE = 8, 3, 4
PLANNED, RECORDED = 10_000, 1_000
DECLARED = """
from siod.training.experiment import Experiment
from siod.tuning.study import Arm, Study
from pathlib import Path

STUDY = Study(
    name="bench",
    question="What does the engine cost?",
    base=Experiment.read(Path({base!r})),
    arms=(Arm(name="base"),),
    baseline="base",
    seeds=tuple(range({seeds})),
)
"""


def small(epochs: int) -> Experiment:
    """A few seconds of training."""
    return digits_centernet().with_changes(
        {
            "data": Digits(train_images=96, val_images=24),
            "weights": Scratch(),
            "recipe.epochs": epochs,
        }
    )


def bare_seconds(experiment: Experiment, folder: Path, at_once: int) -> float:
    """Mean time of a run without the engine, with as many at once as the engine has: they share caches and memory."""
    prepare(experiment.data, experiment.annotations, folder / "cache")
    with ProcessPoolExecutor(at_once, mp_context=get_context("spawn")) as processes:
        taken = processes.map(bare_runs, [experiment] * at_once, [folder] * at_once, range(at_once))
        return statistics.fmean(seconds for each in taken for seconds in each)


def bare_runs(experiment: Experiment, folder: Path, number: int) -> list[float]:
    """Times of runs one after the other; the first warms up and does not count."""
    data = prepare(experiment.data, experiment.annotations, folder / "cache")
    taken = []
    for seed in range(BARE):
        run = experiment.with_changes({"seed": BARE * number + seed})
        began = time.perf_counter()
        train(run, data, folder / f"bare-{number}-{seed}", cache_dir=folder / "cache")
        taken.append(time.perf_counter() - began)
    return taken[1:]


def study_seconds(experiment: Experiment, seeds: int, folder: Path, slots: int) -> tuple[float, float, float]:
    """From the command to the first start, from there to the last end, and to the end of the command."""
    base = folder / "base.json"
    base.write_text(experiment.model_dump_json())
    (folder / "bench.py").write_text(DECLARED.format(base=str(base), seeds=seeds))
    command = [sys.executable, "-c", "from siod.cli.main import main; main()", "study", "run", str(folder / "bench.py")]
    command += ["--runs", str(folder / "runs"), "--cache", str(folder / "cache"), "--max-concurrent", str(slots)]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as driver:
        assert driver.stdout is not None
        told = [(time.perf_counter() - began, line) for line in driver.stdout]
    if driver.returncode:
        raise SystemExit("".join(line for _, line in told))
    starts = [moment for moment, line in told if "started" in line]
    ends = [moment for moment, line in told if "finished in" in line]
    return min(starts), max(ends) - min(starts), time.perf_counter() - began


def compare_overhead(epochs: int) -> None:
    """Print what a trial takes through the engine and without it."""
    experiment = small(epochs)
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        print(f"\n{cores} cores; runs of {epochs} epochs\n")
        print("| | trials | at once | bare run s | to the first start s | overhead a trial s | cores training |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        ways = (("in process", IN_PROCESS, cores, "in_process"), ("Ray Train, one worker", RAY_TRAIN, 1, "ray_train"))
        for name, seeds, slots, carrier in ways:
            place = folder / carrier
            place.mkdir()
            bare = bare_seconds(experiment, place, slots)
            run = experiment.with_changes({"compute.carrier": carrier})
            first, training, _ = study_seconds(run, seeds, place, slots)
            overhead, share = training * slots / seeds - bare, bare * seeds / (training * slots)
            print(
                f"| {name} | {seeds} | {slots} | {bare:.1f} | {first:.1f} | {overhead:.1f} | {share:.0%} |", flush=True
            )


def compare_planning() -> None:
    """Print how long a large study takes to plan."""
    arms = tuple(Arm(name=f"a{i}", changes={"recipe.learning_rate": 1e-3 * (1 + i / 100)}) for i in range(100))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        base = small(1)
        prepare(base.data, base.annotations, folder / "cache")
        began = time.perf_counter()
        study = Study(
            name="large", question="?", base=base, arms=arms, baseline="a0", seeds=tuple(range(PLANNED // len(arms)))
        )
        jobs = prepare_jobs(plan(study), runs_dir=folder / "runs", cache_dir=folder / "cache", baseline="a0")
        left = len(estimate(jobs, {}, slots=2).waiting)
        print(f"\nplanning {left:,} trials: {time.perf_counter() - began:.2f} s")


def compare_status() -> None:
    """Print how long the records of many finished trials take to read."""
    with tempfile.TemporaryDirectory() as temporary:
        store = Store(f"sqlite:///{Path(temporary) / 'mlflow.db'}")
        store.prepare()
        arms = tuple(ArmRecord(name=f"a{i}", label=f"a{i}") for i in range(10))
        header = StudyHeader(
            name="large", question="?", arms=arms, baseline="a0", seeds=tuple(range(RECORDED // len(arms)))
        )
        study_run = store.start_study(header)
        client = MlflowClient(store.uri)
        experiment_id = client.get_run(study_run).info.experiment_id
        for arm in arms:
            for seed in header.seeds:
                tags = {"role": "trial", "study": "large", "arm": arm.name, "seed": str(seed), "identity": f"{seed}"}
                tags["mlflow.parentRunId"] = study_run
                run = client.create_run(experiment_id, tags=tags, run_name=f"{arm.name}/{seed}")
                figures = [Metric("ap_s", 0.1 * epoch, 0, epoch) for epoch in range(1, 7)]
                client.log_batch(run.info.run_id, metrics=figures, tags=[RunTag("note", "")])
                client.set_terminated(run.info.run_id)
        began = time.perf_counter()
        found = store.read_study("large", details=False)
        print(f"reading the status of {len(found.trials):,} finished trials: {time.perf_counter() - began:.2f} s")
        command = [sys.executable, "-c", "from siod.cli.main import main; main()", "study", "status", "large"]
        began = time.perf_counter()
        subprocess.run([*command, "--runs", temporary], check=True, capture_output=True)
        print(f"siod study status of them, start of Python and imports included: {time.perf_counter() - began:.2f} s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--skip-store", action="store_true", help="leave out the slow making of many records")
    arguments = parser.parse_args()
    compare_planning()
    if not arguments.skip_store:
        compare_status()
    compare_overhead(arguments.epochs)


if __name__ == "__main__":
    main()
