"""The file that is written loads, says what was chosen, and is in the style of the house."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from siod.data.annotation_sets import Full, Keep
from siod.data.source import CocoFolder
from siod.training.experiment import Scratch
from siod.tuning.arms import confounded
from siod.tuning.fitting.detector import fit_detector
from siod.tuning.fitting.recipe import fit
from siod.tuning.fitting.study_file import Draft, render
from siod.tuning.study import load_study
from tests.tuning.test_fitting import data

PROFILE = data([50, 60, 70])
FIT = fit(PROFILE, gpu=False)
BOXES = PROFILE.box_sizes_at(FIT.input_size)


def draft(family: str = "centernet", backbone: str = "tiny_resnet18") -> Draft:
    return Draft(
        name="cells",
        root=Path("/somewhere/of mine/cells"),
        beside="cells",
        profile=PROFILE,
        fit=FIT,
        detector=fit_detector(family, backbone, BOXES),
        weights="none",
        single=False,
        command="siod study new cells --data cells",
        cost="not known",
    )


def written(tmp_path: Path, drafted: Draft) -> Path:
    path = tmp_path / "cells.py"
    path.write_text(render(drafted))
    return path


def test_the_study_is_the_one_that_was_chosen(tmp_path: Path) -> None:
    study = load_study(str(written(tmp_path, draft())))
    base = study.base
    # Boxes of 50 px are 12.5 px at 160 px, a quarter of 640.
    assert base.data == CocoFolder(root=tmp_path / "cells", longest_px=160)
    assert (base.annotations, base.weights) == (Keep(k=1), Scratch())
    assert base.augmentation.input_size == base.evaluation.input_size == (128, 160)
    assert (base.recipe.epochs, base.recipe.batch_size, base.recipe.learning_rate) == (40, 8, 2e-3)
    assert [arm.name for arm in study.arms] == ["fsod", "base", "dminer"]
    assert (study.seeds, study.baseline, confounded(study)) == ((0, 1, 2), "base", {})
    assert study.experiment(study.arm("fsod"), 0).annotations == Full()
    dminer = study.experiment(study.arm("dminer"), 0).dminer
    assert dminer is not None
    assert dminer.pgcl is not None
    assert dminer.pgcl.top_m == 36  # 40 x 32 positions


def test_without_other_boxes_there_is_no_full_supervision(tmp_path: Path) -> None:
    text = render(replace(draft(), single=True))
    (tmp_path / "cells.py").write_text(text)
    study = load_study(str(tmp_path / "cells.py"))
    assert ([arm.name for arm in study.arms], study.factors) == (["base", "dminer"], ("dminer",))
    assert study.base.annotations == Keep(k=1)
    assert "Full" not in text


def test_data_elsewhere_is_named_by_its_whole_path(tmp_path: Path) -> None:
    study = load_study(str(written(tmp_path, replace(draft(), beside=None))))
    assert study.base.data == CocoFolder(root=Path("/somewhere/of mine/cells"), longest_px=160)


@pytest.mark.parametrize("family", ["fcos", "retinanet", "faster_rcnn"])
def test_every_family_can_be_written(tmp_path: Path, family: str) -> None:
    drafted = draft(family)
    study = load_study(str(written(tmp_path, drafted)))
    assert study.base.detector == drafted.detector.spec()
    assert confounded(study) == {}


def test_each_number_has_its_reason_beside_it() -> None:
    lines = [line.strip() for line in render(draft()).splitlines()]
    assert (
        "INPUT = (128, 160)  # height and width in px; 0% of the boxes are below 12 px on their shorter side then"
        in (lines)
    )
    assert "epochs=40,  # 8,000 images seen in 1,000 steps; about 1,000 were wanted" in lines
    assert "batch_size=8,  # 25 steps an epoch" in lines
    assert "seeds=(0, 1, 2),  # the spread of a result takes at least three" in lines


def test_a_path_with_quotes_does_not_break_the_file(tmp_path: Path) -> None:
    odd = replace(
        draft(), beside='my "best" \\ cells', command='siod study new cells --data \'my """best""" \\ cells\''
    )
    study = load_study(str(written(tmp_path, odd)))
    assert study.base.data == CocoFolder(root=tmp_path / 'my "best" \\ cells', longest_px=160)


@pytest.mark.parametrize("family", ["centernet", "retinanet", "faster_rcnn"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_the_formatter_and_the_linter_leave_it_as_it_is(tmp_path: Path, family: str, seeds: int) -> None:
    path = written(tmp_path, replace(draft(family), fit=replace(FIT, seeds=seeds)))
    config = ["--config", str(Path(__file__).resolve().parents[2] / "pyproject.toml"), "--no-cache"]
    for words in (["format", "--diff"], ["check", "--ignore", "INP001"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, *config, str(path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
