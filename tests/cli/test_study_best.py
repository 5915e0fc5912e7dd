from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Siod

DECLARED = """
from siod.data.digits import Digits
from siod.training.experiment import Scratch
from siod.training.presets import digits_centernet
from siod.tuning.space import Choice, Search
from siod.tuning.study import Arm, Study

TINY = {"data": Digits(train_images=8, val_images=4), "weights": Scratch(), "recipe.epochs": 1, "recipe.batch_size": 2}
STUDY = Study(
    name="tiny",
    question="Which rate?",
    base=digits_centernet().with_changes(TINY),
    arms=(Arm(name="base"),),
    baseline="base",
    space={"recipe.learning_rate": Choice(values=(0.001, 0.002))},
    search=Search(trials=2, sampler="grid"),
)
"""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_search_is_planned_run_shown_and_exported(siod: Siod, tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text(DECLARED)
    planned = siod("study", "plan", "tiny.py").out
    assert "search of base: 2 trials by grid, pruner none, 2 left; recipe.learning_rate" in planned
    early = siod("study", "best", "tiny.py")
    assert early.code == 2
    assert "the search was not run" in early.err
    assert siod("study", "run", "tiny.py").code == 0
    assert "the search is done; these trials are at each arm's best" in siod("study", "plan", "tiny.py").out
    told = siod("study", "status", "tiny.py").out.splitlines()
    assert told[0] == "search"
    assert "2 of 2 finished" in told
    assert told[-1] == "1 of 1 finished"
    best = siod("study", "best", "tiny.py", "--out", "best.json")
    assert best.code == 0
    assert "too few finished trials" in best.out
    rate = json.loads((tmp_path / "best.json").read_text())["recipe"]["learning_rate"]
    assert f"recipe.learning_rate  {rate:>10}" in best.out
    trained = siod("train", "best.json", "--out", "again")
    assert trained.code == 0
    assert siod("study", "best", "tiny.py", "--out", "best.json").code == 2


def test_a_study_without_a_search_has_no_best(siod: Siod) -> None:
    done = siod("study", "best", "demo")
    assert done.code == 2
    assert "study 'demo' has no search; set search and space" in done.err
