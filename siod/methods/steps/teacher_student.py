"""Teacher and student in two stages: a detector trained on the annotated images labels for another, once for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siod.methods.steps.teacher import Teacher
from siod.methods.steps.teaching import TeachingMethod

if TYPE_CHECKING:
    from torch import Tensor

    from siod.detectors.detector import Detector
    from siod.methods.method import Moment
    from siod.methods.teacher_student import TeacherStudent


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
