"""A data set of eight scenes, with one box per category or with bare images, and one step on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from siod.data.annotation_sets import WholeImages
from siod.data.digits import Digits
from siod.data.source import PreparedData, prepare
from siod.detectors.detector import Detector
from siod.detectors.spec import DetectorSpec
from siod.detectors.zoo import build
from siod.training.experiment import Compute, Experiment, Scratch
from siod.training.presets import digits_centernet

# Comparisons must not mix devices: what a GPU computes differs.
ON_CPU = Compute(cpus_per_worker=1, gpus_per_worker=0, loader_workers=0)

Prepare = Callable[[Experiment], PreparedData]


def eager_detector(spec: DetectorSpec) -> Detector:
    """A fresh detector that finds something: scores about a quarter, boxes of a few positions."""
    torch.manual_seed(0)
    detector = build(spec, num_classes=5)
    biases = {"cls_logits.bias": -1.0, "heatmap_head.2.bias": -1.0, "bbox_reg.bias": 1.0, "size_head.2.bias": 4.0}
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            for ending, value in biases.items():
                if name.endswith(ending) and not (spec.family == "retinanet" and ending == "bbox_reg.bias"):
                    parameter.fill_(value)
    return detector


@pytest.fixture(scope="session")
def eager() -> Callable[[DetectorSpec], Detector]:
    return eager_detector


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
            "compute": ON_CPU,
        }
    )


@pytest.fixture(scope="session")
def ssod_run(siod_run: Experiment) -> Experiment:
    """The same with wholly annotated and bare images."""
    return siod_run.with_changes({"annotations": WholeImages()})


@pytest.fixture(scope="session")
def both_sets(siod_run: Experiment, ssod_run: Experiment) -> dict[str, Experiment]:
    return {"siod": siod_run, "ssod": ssod_run}
