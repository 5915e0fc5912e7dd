"""A data set and an experiment small enough to train in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from siod.data.digits import Digits
from siod.data.source import PreparedData, prepare
from siod.training.experiment import Compute, Experiment, Scratch
from siod.training.presets import DIGITS_DMINER, digits_centernet

# Comparisons must not mix devices: what a GPU computes differs.
ON_CPU = Compute(cpus_per_worker=1, gpus_per_worker=0, loader_workers=0)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def small() -> Experiment:
    """Two epochs of four steps, DMiner on, weights random."""
    return digits_centernet().with_changes(
        {
            "data": Digits(train_images=16, val_images=6),
            "weights": Scratch(),
            "dminer": DIGITS_DMINER,
            "recipe.epochs": 2,
            "recipe.batch_size": 4,
            "compute": ON_CPU,
        }
    )


@pytest.fixture(scope="session")
def small_data(small: Experiment, cache_dir: Path) -> PreparedData:
    return prepare(small.data, small.annotations, cache_dir)
