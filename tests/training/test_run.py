"""Whose folder a run's folder is."""

from __future__ import annotations

from pathlib import Path

import pytest

from siod.data.source import PreparedData
from siod.errors import RunError, UserError
from siod.training.experiment import Experiment
from siod.training.run import train


def test_a_run_that_failed_before_its_first_epoch_does_not_claim_its_folder(
    small: Experiment, small_data: PreparedData, tmp_path: Path, cache_dir: Path
) -> None:
    with pytest.raises(RunError, match=r"fewer usable images than recipe\.batch_size 99"):
        train(small.with_changes({"recipe.batch_size": 99}), small_data, tmp_path, cache_dir=cache_dir)
    assert (tmp_path / "train.log").exists()
    short = small.with_changes({"recipe.epochs": 1, "dminer": None})
    assert train(short, small_data, tmp_path, cache_dir=cache_dir)["epochs"] == 1
    with pytest.raises(UserError, match="holds the run of another experiment"):
        train(small, small_data, tmp_path, cache_dir=cache_dir)


def test_whoever_trains_a_run_that_is_judged_at_another_scale_is_refused(
    small: Experiment, small_data: PreparedData, tmp_path: Path, cache_dir: Path
) -> None:
    """A search may propose it long after the study was planned."""
    with pytest.raises(UserError, match=r"of their size and judging at 1, .* set evaluation\.input_size to \[48, 48\]"):
        train(
            small.with_changes({"augmentation.input_size": (48, 48)}), small_data, tmp_path / "run", cache_dir=cache_dir
        )
    assert not (tmp_path / "run").exists()
