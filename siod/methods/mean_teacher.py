"""Mean teacher: the average of the student's own past weights labels for it, and is what is judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from siod.methods.pseudo import PseudoBoxes
from siod.methods.teacher import Teacher
from siod.methods.teaching import Teaching, TeachingMethod

if TYPE_CHECKING:
    from siod.detectors.detector import Detector
    from siod.methods.method import Moment


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


class MeanTeacherMethod(TeachingMethod):
    """Student and averaged teacher, trained together.

    Args:
        spec: Threshold, weight, decay and views.
        detector: The student.

    Source: Liu et al., Unbiased Teacher for Semi-Supervised Object Detection, ICLR 2021.
    """

    spec: AveragedTeaching

    def __init__(self, spec: AveragedTeaching, detector: Detector) -> None:
        super().__init__(spec, detector)
        self.teacher = Teacher(detector)

    def teacher_at(self, moment: Moment) -> Teacher | None:
        """The average, once it is one."""
        return self.teacher if moment.epoch > self.spec.start_epoch else None

    def after_update(self, moment: Moment) -> None:
        """Follow the student."""
        self.teacher.follow(self.detector, self.spec.decay if moment.epoch > self.spec.start_epoch else 0.0)

    def judged(self) -> Detector:
        """The teacher, unless the settings say otherwise."""
        return self.teacher.detector if self.spec.judged == "teacher" else self.detector

    def state_dict(self) -> dict[str, Any]:
        """The teacher's weights."""
        return {"teacher": self.teacher.detector.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the teacher."""
        self.teacher.detector.load_state_dict(state["teacher"])
