"""A study as its test split judges it: the split that nothing was chosen by, shown apart from the validation split."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from siod.tracking.records import StudyRecord

PREFIX = "test/"
TITLE = "On the test split"


def on_test_split(study: StudyRecord) -> StudyRecord | None:
    """Put the figures of the test split in place of those of the validation split.

    Args:
        study: As recorded.

    Returns:
        The study with these figures alone, and without a paper's, which are not of this split; None when no trial has
        any.
    """
    trials = tuple(
        replace(
            trial,
            metrics={
                name.removeprefix(PREFIX): value for name, value in trial.metrics.items() if name.startswith(PREFIX)
            },
            history={},
        )
        for trial in study.trials
    )
    if not any(trial.metrics for trial in trials):
        return None
    return replace(study, trials=trials, arms=tuple(replace(arm, published={}) for arm in study.arms))
