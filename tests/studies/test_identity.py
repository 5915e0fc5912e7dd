"""Finished results are found again by identity: what a known run is called must not change by accident.

If one of these numbers has to change, every finished result of the studies is trained again.
"""

from __future__ import annotations

from pathlib import Path

from siod.data.annotation_sets import Keep
from siod.data.digits import Digits
from siod.data.source import prepare
from siod.studies.digits_modules import STUDY

DATA = "d4975f37d7f0c937"  # fingerprint of the study's prepared data, recorded 2026-11-23


def test_the_base_arm_of_digits_modules_is_called_what_its_finished_results_are_called() -> None:
    experiment = STUDY.experiment(STUDY.arm("base"), 0)
    assert experiment.identity(DATA) == "323a2f041f9c28bc"


def test_what_the_base_arm_learns_from_is_described_by_the_same_settings() -> None:
    experiment = STUDY.experiment(STUDY.arm("base"), 0)
    assert experiment.annotations.model_dump(mode="json") == {
        "policy": "keep",
        "k": 1,
        "choice": "random",
        "seed": 0,
    }
    assert experiment.data == Digits()


def test_generated_scenes_and_their_keep_1_set_have_the_same_bytes(tmp_path: Path) -> None:
    spec = Digits(train_images=12, val_images=4, seed=3)
    assert prepare(spec, Keep(k=1, seed=0), tmp_path).fingerprint == "0043925503ea4b17"
