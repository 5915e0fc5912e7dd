"""How a study is run, as one value."""

from __future__ import annotations

from pathlib import Path

import pytest

from siod.errors import UserError
from siod.tuning.running.run_config import RunConfig

LEAST = {"runs_dir": "/runs", "cache_dir": "/cache", "store_uri": "sqlite:////runs/mlflow.db"}


def test_folders_and_a_store_are_enough_to_run_all_trials_on_this_machine() -> None:
    config = RunConfig.parse(LEAST, source="test")
    assert (config.runs_dir, config.cache_dir) == (Path("/runs"), Path("/cache"))
    assert (config.arms, config.seeds, config.address, config.max_concurrent) == (None, None, None, None)
    assert (config.max_failures, config.fresh, config.check_images) == (1, False, "refuse")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"max_concurrent": 0}, r"test: max_concurrent: .* greater than 0 \(received 0\)"),
        ({"max_failures": -1}, r"test: max_failures: .* greater than or equal to 0 \(received -1\)"),
        ({"max_failure": 2}, "test: unknown setting 'max_failure' in RunConfig.*'max_failures'"),
        ({"check_images": "ignore"}, "test: check_images: .*'refuse', 'skip' or 'off'"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        RunConfig.parse(LEAST | wrong, source="test")
