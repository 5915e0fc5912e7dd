"""Runs that have to be finished before another one starts: the teachers of methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siod.data.annotation_sets import WholeImages
from siod.methods.annotated import AnnotatedOnly
from siod.methods.teacher_student import TeacherStudent

if TYPE_CHECKING:
    from siod.training.experiment import Experiment


def teacher_of(experiment: Experiment) -> Experiment | None:
    """The run whose last weights a method labels with.

    The same experiment with one round less, if it has several. Otherwise the experiment that its ``method.teacher``
    makes of it; without one the experiment learnt from the annotated images alone.

    Args:
        experiment: Its ``method`` says whether there is one.

    Raises:
        UserError: ``method.teacher`` names an unknown setting or a refused value.
    """
    method = experiment.method
    if method is None or not method.needs_teacher():
        return None
    if isinstance(method, TeacherStudent) and method.rounds > 1:
        return experiment.with_changes({"method.rounds": method.rounds - 1})
    if not isinstance(method, TeacherStudent) or method.teacher is None:
        return experiment.with_changes({"method": AnnotatedOnly()})
    alone = AnnotatedOnly() if isinstance(experiment.annotations, WholeImages) else None
    return experiment.with_changes({"method": alone, **method.teacher})


def teachers_of(experiment: Experiment) -> tuple[Experiment, ...]:
    """All runs that have to be finished before another one starts, the last one first: its teacher, that one's, ...

    Args:
        experiment: Its ``method`` says whether there are any.

    Raises:
        UserError: As :func:`teacher_of`.
    """
    teacher = teacher_of(experiment)
    return () if teacher is None else (teacher, *teachers_of(teacher))
