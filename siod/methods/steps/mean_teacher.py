"""Mean teacher: the average of the student's own past weights labels for it, and is what is judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from siod.methods.steps.teacher import Teacher
from siod.methods.steps.teaching import TeachingMethod

if TYPE_CHECKING:
    from siod.detectors.detector import Detector
    from siod.methods.mean_teacher import AveragedTeaching
    from siod.methods.method import Moment


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
        """The teacher's weights, and what thresholds are estimated of."""
        return {"teacher": self.teacher.detector.state_dict(), **super().state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore both."""
        self.teacher.detector.load_state_dict(state["teacher"])
        super().load_state_dict(state)
