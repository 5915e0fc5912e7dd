"""How fast scenes of digits are drawn and loaded again, per core.

Run: ``python tests/benchmarks/bench_digits.py``. Processor time, not the clock, so that other work on the
machine does not count; one thread. The best of three rounds.
"""

# ruff: noqa: T201  (a benchmark prints its table)

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from siod.data.annotation_sets import Keep
from siod.data.digits import Digits, digit_crops, write_digits
from siod.data.loading.loader import train_batches
from siod.data.source import prepare
from siod.data.transforms import CENTERNET_AUGMENTATION, Augmentation

ROUNDS = 3
SPEC = Digits(train_images=900, val_images=100)
PLAIN = Augmentation(input_size=(96, 96))
AUGMENTED = CENTERNET_AUGMENTATION.with_changes({"input_size": (96, 96), "shift_border_px": 16})


def per_second(count: int, work: Callable[[], object]) -> float:
    """Best rate of a few rounds, in processor seconds."""
    seconds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return count / min(seconds)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        numbers = iter(range(ROUNDS + 1))
        write_digits(SPEC.with_changes({"train_images": 1, "val_images": 1}), folder / f"warm-up-{next(numbers)}")
        data = prepare(SPEC, Keep(), folder / "cache")

        def epoch(augmentation: Augmentation) -> None:
            for _ in train_batches(data, augmentation, batch_size=10, seed=0, epoch=1):
                pass

        rates = {
            "draw and write scenes (goal 300)": per_second(
                1000, lambda: write_digits(SPEC, folder / f"scenes-{next(numbers)}")
            ),
            "draw crops of 48 px": per_second(500, lambda: digit_crops(SPEC, 500, 48, seed=0)),
            "load, no augmentation, in memory (goal 1000)": per_second(900, lambda: epoch(PLAIN)),
            "load, scaled, mirrored, recoloured": per_second(900, lambda: epoch(AUGMENTED)),
        }
    print("| images per second and core | |\n| --- | ---: |")
    for name, rate in rates.items():
        print(f"| {name} | {rate:.0f} |")


if __name__ == "__main__":
    main()
