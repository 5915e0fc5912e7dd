"""What cannot train, or would be judged at another scale, is refused before it is paid for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from siod.data.digits import Digits
from siod.errors import UserError
from siod.tuning.planning.jobs import prepare_jobs
from siod.tuning.planning.plan import plan
from siod.tuning.study import Arm, Study


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"augmentation.input_size": (40, 40)}, r"^changed: augmentation\.input_size \[40, 40\]: .* to \[48, 48\]"),
        (
            {"data": Digits(train_images=16, val_images=2, image_size_px=256)},
            r"^changed: .* at 0\.375 of their size and judging at 1, .* set evaluation\.input_size to \[96, 96\]",
        ),
    ],
)
def test_an_arm_that_cannot_be_is_named(a_study: Study, tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    study = a_study.model_copy(update={"arms": (Arm(name="base"), Arm(name="changed", changes=changes))})
    with pytest.raises(UserError, match=sentence):
        prepare_jobs(plan(study), runs_dir=tmp_path / "runs", cache_dir=tmp_path / "cache", baseline="base")
    assert not (tmp_path / "runs").exists()


def test_an_arm_that_is_too_short_for_its_schedule_is_named_before_any_data_is_made(
    a_study: Study, tmp_path: Path
) -> None:
    """Twelve images in batches of four: a third of three steps is one."""
    arms = (
        Arm(name="base"),
        Arm(name="short", changes={"data.train_images": 12, "recipe.epochs": 1, "recipe.schedule.rising": 1 / 3}),
    )
    with pytest.raises(UserError, match=r"^short: recipe\.epochs 1: 12 images in batches of 4 make 3 steps, "):
        prepare_jobs(
            plan(a_study.model_copy(update={"arms": arms})),
            runs_dir=tmp_path / "runs",
            cache_dir=tmp_path / "cache",
            baseline="base",
        )
    assert list(tmp_path.iterdir()) == []
