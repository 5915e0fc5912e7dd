"""The settings of the mean teacher; ``siod.methods.steps.mean_teacher`` has the method."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from siod.methods.pseudo import PseudoBoxes
from siod.methods.teaching import Teaching


class AveragedTeaching(Teaching):
    """The settings of a teacher that follows the student.

    Until ``start_epoch`` epochs are done the teacher is a copy of the student and labels nothing. From then on each
    step leaves it ``decay`` of its own weights. ``judged`` says whose detections count.
    """

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.9996
    start_epoch: Annotated[int, Field(ge=0)] = 1
    judged: Literal["teacher", "student"] = "teacher"


class MeanTeacher(AveragedTeaching):
    """The average of the student labels for it, as Unbiased Teacher has it."""

    kind: Literal["mean_teacher"] = "mean_teacher"
    weight: Annotated[float, Field(ge=0)] = 4.0
    pseudo: PseudoBoxes = PseudoBoxes(min_score=0.7)
