"""Teacher and student in two stages: a detector trained on the annotated images labels for another, once for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from siod.methods.pseudo import PseudoBoxes
from siod.methods.strong import StrongView
from siod.methods.teacher import Teacher
from siod.methods.teaching import Teaching, TeachingMethod

if TYPE_CHECKING:
    from torch import Tensor

    from siod.detectors.detector import Detector
    from siod.methods.method import Moment

STAC_VIEW = StrongView(cutouts=(1, 5), cutout_share=0.2, translate=0.1)
"""Colours, one to five patches, a shift by up to a tenth."""


class TeacherStudent(Teaching):
    """STAC: the boxes of a finished teacher, learnt on strong views.

    The official threshold is 0.9 of a Faster R-CNN's scores.
    """

    kind: Literal["teacher_student"] = "teacher_student"
    weight: Annotated[float, Field(ge=0)] = 2.0
    pseudo: PseudoBoxes = PseudoBoxes(min_score=0.9)
    strong: StrongView = STAC_VIEW

    def needs_teacher(self) -> bool:
        """One trained on the annotated images of the same set, with the same settings and seed."""
        return self.weight > 0


class TeacherStudentMethod(TeachingMethod):
    """A student that starts anew under a teacher that no longer changes.

    Args:
        spec: Threshold, weight and views.
        detector: The student.

    Source: Sohn et al., A Simple Semi-Supervised Learning Framework for Object Detection, 2020.
    """

    def __init__(self, spec: TeacherStudent, detector: Detector) -> None:
        super().__init__(spec, detector)
        self.teacher: Teacher | None = None

    def receive_teacher(self, weights: dict[str, Tensor]) -> None:
        """Make the teacher from a finished run's weights."""
        self.teacher = Teacher(self.detector)
        self.teacher.detector.load_state_dict(weights)

    def teacher_at(self, moment: Moment) -> Teacher:
        """The same at every moment."""
        del moment
        if self.teacher is None:
            raise ValueError("teacher_student must have been given a teacher's weights before it labels, got none")
        return self.teacher
