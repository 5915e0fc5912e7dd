"""What grows with what: planning over a data set of COCO's size, and the records of 1,000 trials; beside a commit.

Planning: 12 arms with 12 annotation sets of one source and 5 seeds; as many images as COCO has, of 64 x 48 px so that
looking at them counts and not decoding, and 440 MB of annotations. *first* finds no annotation set and no file known,
but images that were decoded before; *anew* decodes them, too; *later* finds everything. Records: 1,000
trials of 150 epochs with 26 values each in SQLite; a trial is started beside so many recorded ones, also over a
tracking server.

Processor seconds of the whole command, user and system, and resident memory at its peak; of starts the time that
passes, which includes the server's. The two commits take turns. Each has its own process, the earlier one unpacked from
git, the present one copied, into a temporary folder; both use the packages installed here.

Run: OMP_NUM_THREADS=1 python tests/benchmarks/bench_scale.py [--than 94b8280] [--images 118287] [--trials 1000]
[--epochs 150] [--repeat 3] [--only first later status report starts server]
"""

# ruff: noqa: T201  (a benchmark prints its table)

from __future__ import annotations

import argparse
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
from bench_report import fill
from PIL import Image
from side_by_side import Bench, Row, side_by_side

SIZE_PX = (64, 48)
BOXES_AN_IMAGE = 7.27
CORNERS = 52
VAL_SHARE = 5000 / 118287
STARTED_AT = (1, 100, 1000)
SERVER_SECONDS = 120.0

STUDY = """
from pathlib import Path
from siod.data.annotation_sets import Full, Keep, Matched, Missing, Sparse
from siod.data.source import CocoFolder
from siod.training.presets import digits_centernet
from siod.tuning.study import Arm, Study

SETS = (
    Full(), Keep(), Keep(k=2), Keep(k=3), Keep(choice="largest"), Keep(seed=1), Sparse(level="easy"),
    Sparse(level="hard"), Sparse(level="extreme"), Missing(fraction=0.3), Missing(fraction=0.5), Matched(),
)[:{arms}]
BASE = digits_centernet().with_changes({{"weights": {{"kind": "none"}}, "data": CocoFolder(root=Path({root!r}))}})
STUDY = Study(
    name="scale", question="What grows with what?", base=BASE, baseline="arm0", seeds=(0, 1, 2, 3, 4),
    arms=tuple(Arm(name=f"arm{{place}}", changes={{"annotations": chosen}}) for place, chosen in enumerate(SETS)),
)
"""
# Starts trials that are not recorded yet, and says what each took.
START = """
import sys, time, uuid
from siod.tracking.mlflow import Store
from siod.tracking.connection import client_of
store = Store(sys.argv[1])
store.prepare()
experiment = client_of(store.uri).get_experiment_by_name("many")
study = client_of(store.uri).search_runs([experiment.experiment_id], "tags.role = 'study'")[0].info.run_id
for place in range(int(sys.argv[2])):
    settings = {"recipe": {"epochs": 2}}
    begun = time.perf_counter()
    store.start_trial(study, arm=f"new{uuid.uuid4().hex}", seed=place, identity="1d", settings=settings)
    if place: # the first opens the connection
        print(time.perf_counter() - begun)
"""


def write_set(root: Path, images: int, *, files: bool = True) -> None:
    """A data set in COCO's layout, with as much text an annotation as COCO's; perhaps without its images' files."""
    width, height = SIZE_PX
    stream = io.BytesIO()
    Image.new("RGB", SIZE_PX, (120, 130, 140)).save(stream, "JPEG")
    rng = np.random.default_rng(0)
    outlines = [[rng.uniform(0, 640, CORNERS).round(2).tolist()] for _ in range(100)]
    (root / "annotations").mkdir(parents=True)
    for split, count in (("train", images), ("val", max(8, round(images * VAL_SHARE)))):
        (root / split).mkdir()
        for number in range(count if files else 0):
            (root / split / f"{number:012}.jpg").write_bytes(stream.getvalue())
        boxes = round(count * BOXES_AN_IMAGE)
        owner, category = rng.integers(0, count, boxes).tolist(), (rng.geometric(0.2, boxes) % 80).tolist()
        corner, side = rng.uniform(0, 30, (boxes, 2)).round(2), rng.uniform(2, 17, (boxes, 2)).round(2)
        document = {
            "images": [
                {
                    "id": n,
                    "file_name": f"{n:012}.jpg",
                    "width": width,
                    "height": height,
                    "coco_url": f"http://x/{n:080}",
                }
                for n in range(count)
            ],
            "annotations": [
                {
                    "segmentation": outlines[n % len(outlines)],
                    "area": float(w * h),
                    "iscrowd": 0,
                    "image_id": owner[n],
                    "bbox": [x, y, w, h],
                    "category_id": category[n],
                    "id": n + 1,
                }
                for n, (x, y, w, h) in enumerate(np.concatenate([corner, side], axis=1).tolist())
            ],
            "categories": [{"id": n, "name": f"category {n}"} for n in range(80)],
        }
        (root / "annotations" / f"instances_{split}.json").write_bytes(msgspec.json.encode(document))


def planning(bench: Bench, images: int, only: list[str]) -> Iterator[Row]:
    """Plan before anything is known of the files, and after."""
    write_set(bench.folder / "set", images)
    for name, arms in (("one.py", 1), ("twelve.py", 12)):
        (bench.folder / name).write_text(STUDY.format(arms=arms, root=str(bench.folder / "set")))
    rows = {name: Row(f"{name} planning", "CPU s") for name in ("anew", "first", "later")}
    for package in bench.packages:
        _plan(bench, package, "one.py")
    for _ in range(bench.repeat):
        for package in bench.packages:
            cache = bench.folder / f"cache-{package}"
            if "anew" in only:
                kept = (cache / "checked").rename(bench.folder / "kept")
                shutil.rmtree(cache)
                getattr(rows["anew"], package).append(_plan(bench, package, "twelve.py"))
                kept.rename(cache / "unused")
            for path in cache.iterdir():
                if path.name != "checked":
                    shutil.rmtree(path)
            getattr(rows["first"], package).append(_plan(bench, package, "twelve.py"))
            getattr(rows["later"], package).append(_plan(bench, package, "twelve.py"))
    yield from (row for row in rows.values() if row.now)
    shutil.rmtree(bench.folder / "set")


def _plan(bench: Bench, package: str, study: str) -> float:
    cache = str(bench.folder / f"cache-{package}")
    return bench.command(package, "study", "plan", study, "--runs", str(bench.folder / "none"), "--cache", cache)[0]


def records(bench: Bench, trials: int, epochs: int, only: list[str]) -> Iterator[Row]:
    """Read a large store, by the status and by the report."""
    runs = bench.folder / "runs"
    runs.mkdir()
    arms = min(40, trials)
    fill(f"sqlite:///{runs / 'mlflow.db'}", runs, arms=arms, seeds=trials // arms, epochs=epochs)
    status, report, memory = (
        Row("status", "CPU s"), Row("report build", "CPU s"), Row("report build", "MiB")
    )  # fmt: skip
    for _ in range(bench.repeat):
        for package in bench.packages:
            if "status" in only:
                words = ("study", "status", "many", "--runs", str(runs))
                getattr(status, package).append(bench.command(package, *words)[0])
            if "report" in only:
                words = (
                    "report",
                    "build",
                    "many",
                    "--runs",
                    str(runs),
                    "--out",
                    str(bench.folder / f"report-{package}"),
                )
                seconds, mib = bench.command(package, *words)
                getattr(report, package).append(seconds)
                getattr(memory, package).append(mib)
    yield from (row for row in (status, report, memory) if row.now)


def starts(bench: Bench, trials: int, only: list[str]) -> Iterator[Row]:
    """Start a trial where so many are recorded."""
    for recorded in (count for count in STARTED_AT if count <= trials):
        folder = bench.folder / f"recorded-{recorded}"
        folder.mkdir()
        database = f"sqlite:///{folder / 'mlflow.db'}"
        fill(database, folder, arms=1, seeds=recorded, epochs=1)
        if "starts" in only:
            yield _starts(bench, f"start beside {recorded:,}, SQLite", database)
        if "server" in only:
            with served(database, folder) as uri:
                yield _starts(bench, f"start beside {recorded:,}, server", uri)


def _start(bench: Bench, package: str, uri: str) -> float:
    """Start some trials in a store; returns the milliseconds that one takes, at best."""
    process = bench.start(package, [START, uri, "6"], stdout=subprocess.PIPE)
    said, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{package}: starting trials ended with {process.returncode}")
    return 1000 * min(map(float, said.split()))


def _starts(bench: Bench, name: str, uri: str) -> Row:
    row = Row(name, "ms")
    for _ in range(bench.repeat):
        for package in bench.packages:
            getattr(row, package).append(_start(bench, package, uri))
    return row


@contextmanager
def served(database: str, folder: Path) -> Iterator[str]:
    """An MLflow server over a database; ended with the context."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", database, "--artifacts-destination", str(folder / "artifacts")]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, env=environment, start_new_session=True, **quiet)
    until = time.monotonic() + SERVER_SECONDS
    try:
        while not _answers(f"http://127.0.0.1:{port}/health"):
            if time.monotonic() > until:
                raise SystemExit("the MLflow server does not answer")
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):  # noqa: S310  (http only)
            return True
    except OSError:
        return False


def main() -> None:
    """Measure both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--than", default="94b8280", help="the earlier commit")
    parser.add_argument("--images", type=int, default=118_287)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=["first", "later", "status", "report", "starts", "server"])
    asked = parser.parse_args()
    only = set(asked.only)
    with side_by_side(asked.than, asked.repeat) as bench:
        rows: list[Iterator[Row]] = []
        rows += [planning(bench, asked.images, asked.only)] if only & {"anew", "first", "later"} else []
        rows += [starts(bench, asked.trials, asked.only)] if only & {"starts", "server"} else []
        rows += [records(bench, asked.trials, asked.epochs, asked.only)] if only & {"status", "report"} else []
        for row in (row for some in rows for row in some):
            print(row, flush=True)


if __name__ == "__main__":
    main()
