"""Which commands load torch: those that train, predict or time a detector, and no others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from siod.tracking.mlflow import Store
from siod.tracking.records import ArmRecord, StudyHeader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STUDY = """
from siod.data.digits import Digits
from siod.training.presets import digits_centernet
from siod.tuning.space import Float, Search
from siod.tuning.study import Arm, Study

STUDY = Study(
    name="{name}", question="Is slower better?", baseline="base",
    base=digits_centernet().with_changes({{"data": Digits(train_images=4, val_images=2)}}),
    arms=(Arm(name="base"), Arm(name="slow", changes={{"recipe.learning_rate": 1e-4}})),
    {more}
)
"""
SEARCH = 'search=Search(trials=2), space={"recipe.weight_decay": Float(low=1e-5, high=1e-3, log=True)},'
SET = "digits/annotations/instances_train.json"
IMAGES = "digits/train"

# In the order in which they can be carried out, with the exit code.
WITHOUT_TORCH = {
    "study list": 0,
    "study schema": 0,
    "study schema experiment": 0,
    "study new fresh": 0,
    "study plan mine.py --cache cache": 0,
    "study plan searched.py --cache cache": 0,
    "study status mine.py": 0,
    "study best searched.py": 2,  # the search was not run
    "report build mine.py": 0,
    "report index": 0,
    "runs list": 0,
    "runs prune --dry-run": 0,
    "runs repair": 0,
    "data digits digits --images 4 --val-images 2": 0,
    f"data stats {SET}": 0,
    f"data check {SET} --images {IMAGES}": 0,
    f"data annotate {SET} kept.json": 0,
    f"data split {SET} --out halves": 0,
    f"data export yolo {SET} {IMAGES} --out yolo": 0,
    "data import digits --out imported": 0,
    f"data resize {SET} {IMAGES} --longest 48 --cache cache": 0,
    "data cache --cache cache": 0,
    "evaluate digits/annotations/instances_val.json found.json": 0,
}
# A study's trials need it in processes of their own: tests/test_architecture.py.
WITH_TORCH = (
    "train --study mine.py",
    "study new fitted --data digits",
    f"predict run {IMAGES}/000001.jpg --out found_by_run.json",
    "visualize run --out pictures",
    "doctor",
)

# Carries commands out in a process in which torch cannot be loaded, and tells how each ended.
RUN = """
import contextlib, io, json, sys
from importlib.abc import MetaPathFinder

class Refuse(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in ("torch", "torchvision"):
            raise ModuleNotFoundError(f"{name} is not to be loaded", name=name)

sys.meta_path.insert(0, Refuse())
from siod.cli.main import main

ended = {}
for words in json.loads(sys.argv[1]):
    sys.argv = ["siod", *words.split()]
    said = io.StringIO()
    code = 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as left:
            code = left.code or 0
    ended[words] = (code, said.getvalue())
print(json.dumps(ended))
"""


@pytest.fixture
def folder(tmp_path: Path, new_store: Callable[[Path], str]) -> Path:
    """Two studies' files, the records of one, and detections of nothing."""
    (tmp_path / "mine.py").write_text(STUDY.format(name="mine", more=""))
    (tmp_path / "searched.py").write_text(STUDY.format(name="searched", more=SEARCH))
    (tmp_path / "found.json").write_text("[]")
    store = Store(new_store(tmp_path / "runs"))
    arms = (ArmRecord("base", "base"), ArmRecord("slow", "slow"))
    run_id = store.start_study(StudyHeader(name="mine", question="Is slower better?", arms=arms, baseline="base"))
    trial = store.start_trial(run_id, arm="base", seed=0, identity="a", settings={"seed": 0})
    trial.log_epoch(1, {"ap_s": 0.1})
    trial.finish("finished", metrics={f"ap_s{index}": 0.5 for index in (0, 3, 5, 7, 9)})
    return tmp_path


def carry_out(folder: Path, commands: list[str]) -> dict[str, tuple[int, str]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SIOD_", "RAY_"))}
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return {words: (code, said) for words, (code, said) in json.loads(done.stdout.splitlines()[-1]).items()}


@pytest.mark.slow
def test_what_neither_trains_nor_predicts_is_done_without_torch(folder: Path) -> None:
    ended = carry_out(folder, list(WITHOUT_TORCH))
    assert {words: code for words, (code, _) in ended.items()} == WITHOUT_TORCH, ended


@pytest.mark.slow
def test_what_trains_predicts_or_times_a_detector_asks_for_torch(folder: Path) -> None:
    assert carry_out(folder, ["data digits digits --images 4 --val-images 2"]).popitem()[1][0] == 0
    for words, (code, said) in carry_out(folder, list(WITH_TORCH)).items():
        assert code == 1, (words, said)
        assert "torch is not to be loaded" in said, (words, said)
