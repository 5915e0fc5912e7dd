"""A data set of eight scenes, with one box per category or with bare images, and one step on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from siod.data.annotation_sets import WholeImages
from siod.data.digits import Digits
from siod.data.source import PreparedData, prepare
from siod.training.experiment import Experiment, Scratch
from siod.training.presets import digits_centernet

Prepare = Callable[[Experiment], PreparedData]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def prepared(cache_dir: Path) -> Prepare:
    return lambda experiment: prepare(experiment.data, experiment.annotations, cache_dir)


@pytest.fixture(scope="session")
def siod_run() -> Experiment:
    """Two epochs of two steps on keep-1 annotations; statistics of one image at a time."""
    return digits_centernet().with_changes(
        {
            "data": Digits(train_images=8, val_images=2),
            "weights": Scratch(),
            "detector.norm": "group",
            "recipe.epochs": 2,
            "recipe.batch_size": 4,
        }
    )


@pytest.fixture(scope="session")
def ssod_run(siod_run: Experiment) -> Experiment:
    """The same with wholly annotated and bare images."""
    return siod_run.with_changes({"annotations": WholeImages()})
