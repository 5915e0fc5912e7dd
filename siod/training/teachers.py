"""Runs that have to be finished before another one starts: the teachers of methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siod.methods.annotated import AnnotatedOnly

if TYPE_CHECKING:
    from siod.training.experiment import Experiment


def teacher_of(experiment: Experiment) -> Experiment | None:
    """The run whose last weights a method labels with: the same experiment, learnt from the annotated images alone.

    Args:
        experiment: Its ``method`` says whether there is one.
    """
    if experiment.method is None or not experiment.method.needs_teacher():
        return None
    return experiment.with_changes({"method": AnnotatedOnly()})
