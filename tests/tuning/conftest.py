from __future__ import annotations

import pytest

from siod.data.annotation_sets import Full
from siod.data.digits import Digits
from siod.training.experiment import Compute, Experiment, Scratch
from siod.training.presets import DIGITS_DMINER, digits_centernet
from siod.tuning.study import Arm, Study

# Comparisons must not mix devices: what a GPU computes differs.
ON_CPU = Compute(cpus_per_worker=1, gpus_per_worker=0, loader_workers=0)


@pytest.fixture(scope="session")
def small() -> Experiment:
    """Two epochs of four steps on random weights: a second or two."""
    return digits_centernet().with_changes(
        {
            "data": Digits(train_images=16, val_images=6),
            "weights": Scratch(),
            "recipe.epochs": 2,
            "recipe.batch_size": 4,
            "compute": ON_CPU,
        }
    )


@pytest.fixture(scope="session")
def a_study(small: Experiment) -> Study:
    return Study(
        name="small",
        question="Does it run?",
        base=small,
        arms=(
            Arm(name="full", changes={"annotations": Full()}),
            Arm(name="base"),
            Arm(name="dminer", label="SIOD (DMiner)", changes={"dminer": DIGITS_DMINER}),
        ),
        baseline="base",
        seeds=(0, 1),
    )
