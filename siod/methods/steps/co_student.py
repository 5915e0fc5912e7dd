"""Co-Student: an averaged teacher labels for two views of an image, and these label for each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from siod.methods.method import Objective, Views
from siod.methods.steps.mean_teacher import MeanTeacherMethod
from siod.methods.steps.pseudo import choose_boxes, merge_boxes, quality

if TYPE_CHECKING:
    from siod.detectors.detector import Detector
    from siod.methods.co_student import CoStudent
    from siod.methods.method import Criterion
    from siod.types import Target


class CoStudentMethod(MeanTeacherMethod):
    """A mean teacher whose students also learn from each other.

    In sets with bare images each image has one view, so that nothing can be exchanged: there it is a mean teacher.

    Args:
        spec: Thresholds, weight, decay and strong view.
        detector: The student of both views.

    Source: Wu et al., Co-Student: Collaborating Strong and Weak Students for Sparsely Annotated Object Detection,
        ECCV 2024.
    """

    def __init__(self, spec: CoStudent, detector: Detector) -> None:
        super().__init__(spec, detector)
        self.student = spec.student

    def objective(self, views: Views, outputs: Any, criterion: Criterion) -> Objective:
        """Find labels in each view for the other, beside the teacher's, then compare both."""
        if len(views.views) == 1 or views.batch.annotated is not None:
            return super().objective(views, outputs, criterion)
        weak, strong = (self._joined(views, index, outputs) for index in range(2))
        parts = {
            **self.judge(views, 0, outputs, criterion, targets=weak),
            **self.judge(views, 1, outputs, criterion, targets=strong, prefix="strong_", weight=self.spec.weight),
        }
        return Objective(parts, quality(views.batch.targets, weak, device=views.batch.images.device))

    @torch.no_grad()
    def _joined(self, views: Views, index: int, outputs: Any) -> tuple[Target, ...]:
        """The targets of a view, the teacher's boxes among them, with what the other view finds beyond."""
        height, width = views.batch.images.shape[2:]
        found = self.detector.decode_padded(self.detector.select(outputs, views.rows(1 - index)))
        return merge_boxes(self.student, views.views[index].targets, choose_boxes(self.student, found, (height, width)))
