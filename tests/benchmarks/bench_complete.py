# ruff: noqa: T201  (a benchmark prints its table)
"""``siod complete`` on 5,000 images of COCO's size with 100 detections each, beyond the detector's own time.

Run: ``python tests/benchmarks/bench_complete.py [--images 5000]``. One process, stage by stage: processor and wall
time, and the greatest resident memory so far. Goals: 20 seconds in all and 1.5 GB.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from siod.completion.candidates import Detected
from siod.completion.choosing import Wanted, choose
from siod.completion.preannotations import write_preannotations
from siod.completion.proposals import Origin, write_proposals
from siod.data import coco
from siod.data.annotation_sets import Keep, annotate
from siod.data.category_states import category_states
from siod.reports.review.page import write_review

CATEGORIES, OBJECTS, DETECTIONS = 80, 7, 100
WIDTH, HEIGHT = 640, 480


def write_set(folder: Path, images: int) -> None:
    """Seven objects of about three categories an image, one box of each category kept; every image the same file."""
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(images), OBJECTS)
    category = (owner * 7 + rng.geometric(0.35, len(owner))) % CATEGORIES
    corner = rng.uniform(0, 400, (len(owner), 2))
    side = rng.uniform(10, 80, (len(owner), 2))
    (folder / "train").mkdir()
    noise = rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((WIDTH, HEIGHT)).save(folder / "one.jpg")
    for number in range(images):
        (folder / "train" / f"{number}.jpg").hardlink_to(folder / "one.jpg")
    document = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": WIDTH, "height": HEIGHT} for n in range(images)],
        "annotations": [
            {
                "id": n,
                "image_id": int(owner[n]),
                "category_id": int(category[n]),
                "bbox": [*corner[n].tolist(), *side[n].tolist()],
            }
            for n in range(len(owner))
        ],
        "categories": [{"id": n, "name": f"category {n}"} for n in range(CATEGORIES)],
    }
    coco.write(folder / "full.json", document)
    coco.write(folder / "keep1.json", annotate(coco.read(folder / "full.json"), Keep()))


def detections(full: coco.CocoDataset) -> Detected:
    """Every object with a high score, and as many boxes beside as make a hundred an image."""
    rng = np.random.default_rng(1)
    images = len(full.images)
    more = images * DETECTIONS - len(full.labels)
    corner = rng.uniform(0, 400, (more, 2))
    boxes = np.concatenate([full.boxes_xyxy, np.concatenate([corner, corner + rng.uniform(10, 80, (more, 2))], axis=1)])
    image = np.concatenate([full.image_index, np.arange(more) % images])
    label = np.concatenate([full.labels, rng.integers(0, CATEGORIES, more)])
    scores = np.concatenate([rng.uniform(0.3, 1, len(full.labels)), rng.uniform(0, 0.5, more) ** 2])
    return Detected(image, label, boxes, scores)


class Stages:
    """Prints what each stage took."""

    def __init__(self) -> None:
        self.all = [0.0, 0.0]
        self.begin()

    def begin(self) -> None:
        """Start the clocks."""
        self.cpu, self.wall = time.process_time(), time.perf_counter()

    def end(self, name: str) -> None:
        """Print the row of a stage and start the next."""
        took = (time.process_time() - self.cpu, time.perf_counter() - self.wall)
        self.all = [before + more for before, more in zip(self.all, took, strict=True)]
        print(f"{name:<34} {took[0]:6.1f} {took[1]:6.1f} {peak_mib():6.0f}")
        self.begin()


def peak_mib() -> float:
    """The greatest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    images = parser.parse_args().images
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_set(folder, images)
        found = detections(coco.read(folder / "full.json"))
        print(f"{'stage':<34} {'cpu s':>6} {'wall s':>6} {'MiB':>6}")
        stages = Stages()
        stages.end("(before)")
        dataset = coco.read(folder / "keep1.json")
        states = category_states(dataset, dataset, None)
        stages.end("reading, states")
        chosen = choose(found, dataset, states, Wanted(0.1))
        stages.end("candidates and rates")
        rates = chosen.rates
        (folder / "review").mkdir()
        origin = Origin(
            str(dataset.path), dataset.sha256, str(folder / "train"), "synthetic", 0.1, None, None, 0.9, rates
        )
        made = write_proposals(folder / "review" / "proposals.json", origin, dataset, chosen.boxes)
        stages.end(f"{len(chosen.boxes)} proposals written")
        write_preannotations(made, folder / "review" / "preannotations")
        stages.end("pre-annotations")
        write_review(made, folder / "review")
        stages.end("page and pictures")
        print(f"{'all':<34} {stages.all[0]:6.1f} {stages.all[1]:6.1f} {peak_mib():6.0f}")


if __name__ == "__main__":
    main()
