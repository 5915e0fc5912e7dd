# ruff: noqa: T201  (a benchmark prints its table)
"""Deriving keep-1 from a file of COCO2017 train's size, next to what JSON libraries need to copy it.

Run: ``python tests/benchmarks/bench_annotation_files.py [--scale 1.0]``; ``pip install orjson`` adds a row. Each
way runs in a process of its own, in turns, three times. The table shows the least processor time (other work
on the machine does not count) and the greatest growth of resident memory. Goals: 1.5 times the time of the
fastest JSON library's load and dump, 3 times the size of the file in memory.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

ROUNDS = 3
IMAGES, ANNOTATIONS, CATEGORIES = 118_287, 860_001, 80
CORNERS_PER_SEGMENT = 28  # makes 448 MB, as COCO2017 train with its polygons


def write_file(path: Path, scale: float) -> None:
    """A synthetic file with the counts of COCO2017 train."""
    rng = np.random.default_rng(0)
    images, annotations = int(IMAGES * scale), int(ANNOTATIONS * scale)
    sides = rng.integers(300, 641, (images, 2))
    owner = np.sort(rng.integers(0, images, annotations))
    # A few categories per image, as in COCO; keep-1 leaves rather more than half of the boxes.
    category = (owner * 7 + rng.geometric(0.35, annotations)) % CATEGORIES + 1
    fractions = rng.uniform(0.01, 0.5, (annotations, 4))
    boxes = np.round(fractions * np.tile(sides[owner], 2), 2)
    polygons = np.round(rng.uniform(0, 300, (annotations, 2 * CORNERS_PER_SEGMENT)), 2)
    document = {
        "info": {"description": "synthetic", "year": 2017},
        "licenses": [{"id": 1, "name": "none", "url": "http://example.org"}],
        "images": [
            {
                "license": 1,
                "file_name": f"{i:012d}.jpg",
                "coco_url": f"http://images.example.org/train2017/{i:012d}.jpg",
                "height": int(h),
                "width": int(w),
                "date_captured": "2013-11-14 11:18:45",
                "id": i,
            }
            for i, (w, h) in enumerate(sides.tolist(), start=1)
        ],
        "annotations": [
            {
                "segmentation": [polygon],
                "area": round(box[2] * box[3] * 0.6, 4),
                "iscrowd": 0,
                "image_id": image + 1,
                "bbox": box,
                "category_id": label,
                "id": i,
            }
            for i, (polygon, box, image, label) in enumerate(
                zip(polygons.tolist(), boxes.tolist(), owner.tolist(), category.tolist(), strict=True), start=1
            )
        ],
        "categories": [{"id": i, "name": f"category {i}", "supercategory": "x"} for i in range(1, CATEGORIES + 1)],
    }
    path.write_bytes(msgspec.json.encode(document))


def siod_way(source: Path, out: Path) -> None:
    """Read, check and write keep-1."""
    from siod.data import coco  # noqa: PLC0415  (each way loads its own library)
    from siod.data.annotation_sets import Keep, annotate  # noqa: PLC0415

    coco.write(out, annotate(coco.read(source), Keep()))


def msgspec_way(source: Path, out: Path) -> None:
    """Load and dump."""
    out.write_bytes(msgspec.json.encode(msgspec.json.decode(source.read_bytes())))


def orjson_way(source: Path, out: Path) -> None:
    """Load and dump."""
    import orjson  # noqa: PLC0415

    out.write_bytes(orjson.dumps(orjson.loads(source.read_bytes())))


def json_way(source: Path, out: Path) -> None:
    """Load and dump."""
    import json  # noqa: PLC0415

    with source.open() as file:
        document = json.load(file)
    with out.open("w") as file:
        json.dump(document, file)


def pycocotools_way(source: Path, out: Path) -> None:  # noqa: ARG001  (pycocotools has nothing to write with)
    """Load only."""
    from pycocotools.coco import COCO  # noqa: PLC0415

    COCO(str(source))


def check_way(source: Path, out: Path) -> None:
    """Look for every defect and write the repaired copy."""
    from siod.data import coco  # noqa: PLC0415
    from siod.data.checking.check import examine  # noqa: PLC0415

    coco.write(out, examine(source).repaired or {})


WAYS = {
    "siod: read, check, write keep-1": siod_way,
    "siod: every defect, write a copy": check_way,
    "orjson: load, dump": orjson_way,
    "msgspec: load, dump": msgspec_way,
    "json: load, dump": json_way,
    "pycocotools: load": pycocotools_way,
}


def measure(name: str, source: Path, out: Path) -> tuple[float, float]:
    """Seconds and mebibytes of one way in a fresh process."""
    command = [sys.executable, __file__, "--way", name, "--source", str(source), "--out", str(out)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, mebibytes = answer.stdout.split()[-2:]
    return float(seconds), float(mebibytes)


def carry_out(name: str, source: Path, out: Path) -> None:
    """One way in this process; prints seconds and mebibytes last."""
    if "siod" in name:
        import siod.data.checking.check  # noqa: F401, PLC0415  (imports do not count)
    before = resident("VmRSS")
    began = time.process_time()
    WAYS[name](source, out)
    seconds = time.process_time() - began
    print(seconds, resident("VmHWM") - before)


def resident(field: str) -> float:
    """Mebibytes this process holds (VmRSS) or held at most (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--way")
    parser.add_argument("--source", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.way:
        carry_out(arguments.way, arguments.source, arguments.out)
        return
    names = [name for name in WAYS if importlib.util.find_spec(name.split(":")[0])]
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "instances.json"
        write_file(source, arguments.scale)
        size = source.stat().st_size / 2**20
        taken = [
            {name: measure(name, source, Path(temporary) / "out.json") for name in names}
            for _ in range(arguments.rounds)
        ]
    print(
        f"A file of {size:.0f} MiB:\n\n| | processor seconds | MiB | of the file's size |\n| --- | ---: | ---: | ---: |"
    )
    for name in names:
        seconds, mebibytes = min(row[name][0] for row in taken), max(row[name][1] for row in taken)
        print(f"| {name} | {seconds:.2f} | {mebibytes:.0f} | {mebibytes / size:.1f} |")


if __name__ == "__main__":
    main()
