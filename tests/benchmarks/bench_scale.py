"""What grows with what: planning over a data set of COCO's size, and the records of 1,000 trials; beside a commit.

Planning: 12 arms with 12 annotation sets of one source and 5 seeds; as many images as COCO has, of 64 x 48 px so that
looking at them counts and not decoding, and 440 MB of annotations. *first* finds no annotation set and no file known,
but images that were decoded before; *anew* decodes them, too; *later* finds everything. Tables: eight processes open
the instances of these annotations at the same time, and hold them. Records: 1,000 trials of 150 epochs with 26 values
each in SQLite; a trial is started beside so many recorded ones, also over a tracking server.

Processor seconds of the whole command, user and system, and resident memory at its peak; of starts the time that
passes, which includes the server's. The two commits take turns. Each has its own process, the earlier one unpacked from
git, the present one copied, into a temporary folder; both use the packages installed here.

Run: OMP_NUM_THREADS=1 python tests/benchmarks/bench_scale.py [--than 94b8280] [--images 118287] [--trials 1000]
[--epochs 150] [--repeat 3] [--only first later tables status report starts server]
"""

# ruff: noqa: T201  (a benchmark prints its table)

from __future__ import annotations

import argparse
import io
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from bench_hot_path import FOLDERS, ROOT, unpack
from bench_report import fill
from PIL import Image

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
COMMAND = "import sys; from siod.cli.main import main; sys.argv = ['siod', *sys.argv[1:]]; main()"
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

    def starts(self, package: str, uri: str) -> float:
        """Start some trials in a store; returns the milliseconds that one takes, at best."""
        process = self.start(package, [START, uri, "6"], stdout=subprocess.PIPE)
        said, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"{package}: starting trials ended with {process.returncode}")
        return 1000 * min(map(float, said.split()))

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


def _starts(bench: Bench, name: str, uri: str) -> Row:
    row = Row(name, "ms")
    for _ in range(bench.repeat):
        for package in bench.packages:
            getattr(row, package).append(bench.starts(package, uri))
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
    every = ["first", "later", "tables", "status", "report", "starts", "server"]
    parser.add_argument("--only", nargs="+", default=every)
    asked = parser.parse_args()
    only = set(asked.only)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unpack(asked.than, folder / "earlier")
        for source, place in FOLDERS.items():  # the sources may be changed meanwhile
            shutil.copytree(ROOT / source, folder / "present" / place, dirs_exist_ok=True)
        bench = Bench(folder, {"before": folder / "earlier", "now": folder / "present"}, asked.repeat)
        print(f"| | | {asked.than}: least | median | spread | now: least | median | spread | ratio |")
        print("| :-- | :-- | --: | --: | --: | --: | --: | --: | --: |", flush=True)
        rows: list[Iterator[Row]] = []
        rows += [planning(bench, asked.images, asked.only)] if only & {"anew", "first", "later"} else []
        rows += [tables(bench, asked.images)] if "tables" in only else []
        rows += [starts(bench, asked.trials, asked.only)] if only & {"starts", "server"} else []
        rows += [records(bench, asked.trials, asked.epochs, asked.only)] if only & {"status", "report"} else []
        for row in (row for some in rows for row in some):
            print(row, flush=True)


if __name__ == "__main__":
    main()
