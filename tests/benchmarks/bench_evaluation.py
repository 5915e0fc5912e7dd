# ruff: noqa: T201, PLC0415  (a benchmark prints its table, and each way loads its own library)
"""The score-aware table next to one plain pass of the evaluators for COCO, and to reading the files.

Run: ``pip install hotcoco faster-coco-eval orjson pysimdjson``, then
``python tests/benchmarks/bench_evaluation.py [--scale 1.0] [--rounds 5] [--only NAME ...] [--growth]``. The problem has
the counts of COCO val2017 with 100 detections per image. Each way runs in a fresh process with one thread, the
ways in turns; the table shows medians. *Reading* and *judging* are processor seconds (other work on the machine
does not count). *Peak* is the most resident memory beyond what the process held after its imports, reading and
judging together. pycocotools takes minutes and runs once; ``--only`` names the ways to run beside siod;
``--growth`` adds siod and hotcoco at ten times the scale.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.util
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np

IMAGES, CATEGORIES, ANNOTATIONS, PER_IMAGE = 5_000, 80, 36_800, 100
BLOCK = 100_000
ONE_THREAD = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

Way = Callable[[Path, Path], Callable[[], object]]


def write_problem(folder: Path, scale: float) -> None:
    """Annotations and detections as JSON: some detections lie near objects and score high, most do not."""
    rng = np.random.default_rng(0)
    images, annotations = int(IMAGES * scale), int(ANNOTATIONS * scale)
    owner = np.sort(rng.integers(0, images, annotations))
    category = (owner * 7 + rng.geometric(0.4, annotations)) % CATEGORIES
    sides = np.exp(rng.normal(4.0, 1.0, (annotations, 2))).clip(4, 400)
    boxes = np.round(np.concatenate([rng.uniform(0, 240, (annotations, 2)), sides], axis=1), 2)
    crowd = rng.random(annotations) < 0.01
    fill = rng.uniform(0.4, 0.9, annotations)
    document = {
        "images": [{"id": i + 1, "width": 640, "height": 640, "file_name": f"{i:012d}.jpg"} for i in range(images)],
        "categories": [{"id": k + 1, "name": f"category {k + 1}"} for k in range(CATEGORIES)],
        "annotations": [
            {
                "id": n + 1,
                "image_id": int(owner[n]) + 1,
                "category_id": int(category[n]) + 1,
                "bbox": boxes[n].tolist(),
                "area": float(boxes[n, 2] * boxes[n, 3] * fill[n]),
                "iscrowd": int(crowd[n]),
                "segmentation": [np.round(rng.uniform(0, 640, 40), 2).tolist()],
            }
            for n in range(annotations)
        ],
    }
    (folder / "truth.json").write_bytes(msgspec.json.encode(document))
    del document
    with (folder / "found.json").open("wb") as file:
        file.write(b"[")
        for first in range(0, images * PER_IMAGE, BLOCK):
            image = np.arange(first, min(first + BLOCK, images * PER_IMAGE)) // PER_IMAGE
            begin, end = np.searchsorted(owner, image), np.searchsorted(owner, image + 1)
            about = np.minimum(
                begin + rng.integers(0, 1 << 30, len(image)) % np.maximum(end - begin, 1), len(owner) - 1
            )
            near = (rng.random(len(image)) < 0.4) & (end > begin)
            shaken = boxes[about] + rng.normal(0, 0.12, (len(image), 4)) * np.tile(boxes[about, 2:], 2)
            anywhere = np.concatenate([rng.uniform(0, 320, (len(image), 2)), rng.uniform(5, 300, (len(image), 2))], 1)
            placed = np.round(np.where(near[:, None], shaken, anywhere), 3)
            placed[:, 2:] = placed[:, 2:].clip(1)
            label = np.where(
                near | (rng.random(len(image)) < 0.5), category[about], rng.integers(0, CATEGORIES, len(image))
            )
            score = np.where(near, rng.beta(1.2, 2.5, len(image)), rng.beta(0.7, 7.0, len(image)))
            rows = [
                {"image_id": i + 1, "category_id": k + 1, "bbox": box, "score": s}
                for i, k, box, s in zip(image.tolist(), label.tolist(), placed.tolist(), score.tolist(), strict=True)
            ]
            file.write((b"," if first else b"") + msgspec.json.encode(rows)[1:-1])
        file.write(b"]")


def siod_way(truth: Path, found: Path) -> Callable[[], object]:
    """The whole table of 11 rows and 12 figures."""
    from siod.evaluation.score_aware import DetectionColumns, GroundTruth, ScoreAwareEvaluator

    evaluator = ScoreAwareEvaluator(GroundTruth.from_coco(truth))
    evaluator.merge(DetectionColumns.from_coco(found))
    return lambda: evaluator.compute().values


def hotcoco_way(truth: Path, found: Path) -> Callable[[], object]:
    """One plain pass."""
    import hotcoco

    annotated = hotcoco.COCO(str(truth))
    evaluation = hotcoco.COCOeval(annotated, annotated.load_res(str(found)), "bbox")
    return lambda: one_pass(evaluation)


def faster_way(truth: Path, found: Path) -> Callable[[], object]:
    """One plain pass."""
    from faster_coco_eval import COCO, COCOeval_faster

    annotated = COCO(str(truth))
    evaluation = COCOeval_faster(annotated, annotated.loadRes(str(found)), "bbox")
    return lambda: one_pass(evaluation)


def pycocotools_way(truth: Path, found: Path) -> Callable[[], object]:
    """One plain pass."""
    evaluation = official(truth, found)
    return lambda: one_pass(evaluation)


def authors_way(truth: Path, found: Path) -> Callable[[], object]:
    """One matching, then for each threshold: low scores made false positives, accumulated, summarized."""
    evaluation = official(truth, found)

    def table() -> np.ndarray[Any, Any]:
        evaluation.evaluate()
        rows = []
        for threshold in np.arange(0, 1, 0.1):
            for image in filter(None, evaluation.evalImgs):
                low = ~(np.array(image["dtScores"]) >= threshold)
                image["dtMatches"][:, low] = 0
                image["dtIgnore"][:, low] = 0
            evaluation.accumulate()
            evaluation.summarize()
            rows.append(evaluation.stats)
        return np.array(rows)

    return table


def official(truth: Path, found: Path) -> Any:
    """The evaluation of pycocotools with both files read."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotated = COCO(str(truth))
    return COCOeval(annotated, annotated.loadRes(str(found)), "bbox")


def one_pass(evaluation: Any) -> Any:
    """The three steps all of them have."""
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


def reading_way(library: str) -> Way:
    """Both files into Python's lists and dictionaries, nothing judged."""

    def way(truth: Path, found: Path) -> Callable[[], object]:
        if library == "orjson":
            import orjson

            content = [orjson.loads(path.read_bytes()) for path in (truth, found)]
        elif library == "pysimdjson":
            import simdjson

            content = [simdjson.loads(path.read_bytes()) for path in (truth, found)]
        elif library == "json":
            content = [json.loads(path.read_bytes()) for path in (truth, found)]
        else:
            content = [msgspec.json.decode(path.read_bytes()) for path in (truth, found)]
        return lambda: len(content)

    return way


READERS = ("orjson", "pysimdjson", "msgspec", "json")
MODULES = {"faster-coco-eval": "faster_coco_eval", "pysimdjson": "simdjson", "siod": "siod.evaluation.score_aware"}
WAYS: dict[str, Way] = {
    "siod: 11 x 12 table": siod_way,
    "hotcoco: one pass": hotcoco_way,
    "faster-coco-eval: one pass": faster_way,
    "pycocotools: one pass": pycocotools_way,
    "pycocotools: authors' loop, 10 x 12": authors_way,
    **{f"{name}: reading only": reading_way(name) for name in READERS},
}
SLOW = {"pycocotools: one pass", "pycocotools: authors' loop, 10 x 12"}


def module_of(way: str) -> str:
    """The module a way stands on."""
    name = way.partition(":")[0]
    return MODULES.get(name, name)


def carry_out(name: str, folder: Path) -> None:
    """One way in this process; prints what it took as the last line."""
    importlib.import_module("pycocotools.cocoeval" if name in SLOW else module_of(name))
    gc.collect()
    before = resident("VmRSS")
    began = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        judge = WAYS[name](folder / "truth.json", folder / "found.json")
        read = time.process_time()
        judge()
        judged = time.process_time()
    print(json.dumps({"read": read - began, "judge": judged - read, "peak": resident("VmHWM") - before}))


def resident(field: str) -> float:
    """Mebibytes this process holds (VmRSS) or held at most (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) / 1024


def measure(name: str, folder: Path) -> dict[str, float]:
    """What one way takes in a fresh process with one thread."""
    command = [sys.executable, __file__, "--way", name, "--folder", str(folder)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **ONE_THREAD})
    taken: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return taken


def compare(names: list[str], scale: float, rounds: int) -> None:
    """Measure the ways in turns and print their medians; the slow ones run once."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_problem(folder, scale)
        sizes = [(folder / name).stat().st_size / 2**20 for name in ("truth.json", "found.json")]
        taken: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for turn in range(rounds):
            for name in (name for name in names if turn == 0 or name not in SLOW):
                taken[name].append(measure(name, folder))
    count = f"{int(IMAGES * scale):,} images, {int(IMAGES * scale) * PER_IMAGE:,} detections"
    print(f"\n{count}, files of {sizes[0]:.0f} and {sizes[1]:.0f} MiB, median of {rounds} runs (slow ways: one run):\n")
    print(
        "| | reading s | judging s | both s | peak MiB | judging, siod = 1 |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: |"
    )
    middle = {
        name: {key: median(run[key] for run in runs) for key in ("read", "judge", "peak")}
        for name, runs in taken.items()
    }
    ruler = middle[names[0]]["judge"]
    for name, run in middle.items():
        reads = name.endswith("reading only")
        judged, ratio = ("-", "-") if reads else (f"{run['judge']:.3f}", f"{run['judge'] / ruler:.2f}")
        both = run["read"] + (0.0 if reads else run["judge"])
        print(f"| {name} | {run['read']:.2f} | {judged} | {both:.2f} | {run['peak']:.0f} | {ratio} |", flush=True)


def machine() -> str:
    """Processor, Python and the versions of what is compared."""
    cpu = Path("/proc/cpuinfo").read_text().partition("model name")[2].partition("\n")[0].strip("\t :")
    names = ("numpy", "hotcoco", "faster-coco-eval", "pycocotools", "orjson", "pysimdjson", "msgspec")
    versions = [
        f"{name} {metadata.version(name)}" for name in names if importlib.util.find_spec(MODULES.get(name, name))
    ]
    return f"{cpu}, one thread; Python {platform.python_version()}, {', '.join(versions)}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[""], metavar="NAME", help="beginnings of ways; siod is in")
    parser.add_argument("--growth", action="store_true", help="ten times the problem as well")
    parser.add_argument("--way")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.way:
        carry_out(arguments.way, arguments.folder)
        return
    names = [name for name in WAYS if importlib.util.find_spec(module_of(name).partition(".")[0])]
    print(machine(), flush=True)
    wanted = [name for name in names if name.startswith(("siod", *arguments.only))]
    compare(wanted, arguments.scale, arguments.rounds)
    if arguments.growth:
        compare([name for name in names if name.startswith(("siod", "hotcoco"))], 10 * arguments.scale, 1)


if __name__ == "__main__":
    main()
