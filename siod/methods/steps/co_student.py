"""Co-Student: two views of an image label for each other, after an averaged teacher has revised what they found.

B images, K detections of an image by a student, M by the teacher.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torchvision.ops import box_iou

from siod.methods.method import Objective, View, Views
from siod.methods.steps.labelling import Chosen, Labeller
from siod.methods.steps.mean_teacher import MeanTeacherMethod
from siod.methods.steps.pseudo import merge_boxes, quality
from siod.methods.steps.strong import strong_view
from siod.types import PaddedDetections

if TYPE_CHECKING:
    from siod.detectors.detector import Detector
    from siod.methods.co_student import CoStudent
    from siod.methods.method import Criterion, Moment
    from siod.types import Batch

REVISED_IOU = 0.5
"""Boxes of student and teacher that overlap by more are of one object."""


@dataclass(frozen=True, kw_only=True)
class TaughtViews(Views):
    """The views of the two students, and what the teacher is sure of in these images."""

    taught: PaddedDetections


class CoStudentMethod(MeanTeacherMethod):
    """Two students that learn from each other what the teacher has revised.

    The batch's images are the weak student's view, and the raw one of the teacher. In sets with bare images each image
    has one view, so that nothing can be exchanged: there it is a mean teacher.

    Args:
        spec: Thresholds, weight, decay and strong view.
        detector: The student of both views.

    Source: Wu et al., Co-Student: Collaborating Strong and Weak Students for Sparsely Annotated Object Detection,
        ECCV 2024.
    """

    spec: CoStudent

    def __init__(self, spec: CoStudent, detector: Detector) -> None:
        super().__init__(spec, detector)
        self.student_labeller = Labeller(spec.student, detector)

    def views(self, batch: Batch, moment: Moment) -> Views:
        """The batch and its strong view, with their annotations alone, beside the teacher's boxes."""
        teacher = self.teacher_at(moment) if self.spec.weight > 0 and self.spec.revision else None
        if teacher is None or batch.annotated is not None:
            return super().views(batch, moment)
        weak = View(batch.images, batch.targets)
        strong = strong_view(weak, batch.image_ids, self.spec.strong, moment)
        height, width = batch.images.shape[2:]
        taught = self.labeller.choose(teacher.look(batch.images), batch.targets, (height, width), moment)
        return TaughtViews((weak, strong), batch, moment, taught.figures, taught=taught.boxes)

    def objective(self, views: Views, outputs: Any, criterion: Criterion) -> Objective:
        """Give each view what the other one found and the teacher revised, then compare both."""
        if len(views.views) == 1 or views.batch.annotated is not None:
            return super().objective(views, outputs, criterion)
        from_weak, from_strong = (self._found(views, index, outputs) for index in range(2))
        weak = merge_boxes(self.spec.student, views.views[0].targets, from_strong.boxes)
        strong = merge_boxes(self.spec.student, views.views[1].targets, from_weak.boxes)
        parts = {
            **self.judge(views, 0, outputs, criterion, targets=weak),
            **self.judge(views, 1, outputs, criterion, targets=strong, prefix="strong_", weight=self.spec.weight),
        }
        judged = quality(views.batch.targets, weak, device=views.batch.images.device)
        # Without revision the views have figures of the teacher's boxes alone, in whose place these stand.
        return Objective(parts, {**judged, **from_strong.figures, **views.figures, **judged})

    @torch.no_grad()
    def _found(self, views: Views, index: int, outputs: Any) -> Chosen:
        """What a student is sure of in its view, as the teacher revised it if it does."""
        height, width = views.batch.images.shape[2:]
        found = self.detector.decode_padded(self.detector.select(outputs, views.rows(index)))
        own = self.student_labeller.choose(found, views.batch.targets, (height, width), views.moment)
        return own._replace(boxes=revised(own.boxes, views.taught)) if isinstance(views, TaughtViews) else own

    def state_dict(self) -> dict[str, Any]:
        """The teacher's weights, and what both thresholds are estimated of."""
        return {**super().state_dict(), **self.student_labeller.state_dict("student_labeller")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore all of it."""
        super().load_state_dict(state)
        self.student_labeller.load_state_dict(state, "student_labeller")


def revised(found: PaddedDetections, taught: PaddedDetections) -> PaddedDetections:
    """Let a teacher's boxes correct a student's.

    A student's box takes box, class and score of the teacher's box that overlaps it most, among those that overlap it
    by more than half, whatever their class, and whose score is not lower. The teacher's boxes that overlap no student's
    by half or more are added. A box of the teacher that several take is there once: to a detector whose queries are
    matched one to one, a target beside its double says that an object is to be found twice.

    Args:
        found: Of the student.
        taught: Of the teacher, for the same images in the same frame.

    Returns:
        The teacher's additions first, ``[B, M + K]``.

    Source: Wu et al., Co-Student, ECCV 2024, as its official code has it (``Revision_PRED``).
    """
    if taught.valid.shape[1] == 0:
        return found
    overlaps = box_iou(found.boxes_xyxy, taught.boxes_xyxy)
    overlaps = overlaps.masked_fill(~(found.valid[:, :, None] & taught.valid[:, None]), 0)
    added = taught.valid & (overlaps < REVISED_IOU).all(dim=1)
    surer = taught.scores[:, None] >= found.scores[:, :, None]
    overlap, best = overlaps.masked_fill(~surer, 0).max(dim=2)
    taken = overlap > REVISED_IOU
    alike = (best[:, :, None] == best[:, None]) & (taken[:, :, None] & taken[:, None])
    doubles = alike.tril(diagonal=-1).any(dim=2)
    theirs = taught.boxes_xyxy.take_along_dim(best[..., None], dim=1)
    boxes = torch.where(taken[..., None], theirs, found.boxes_xyxy)
    scores = torch.where(taken, taught.scores.gather(1, best), found.scores)
    labels = torch.where(taken, taught.labels.gather(1, best), found.labels)
    return PaddedDetections(
        torch.cat([taught.boxes_xyxy, boxes], dim=1),
        torch.cat([taught.scores, scores], dim=1),
        torch.cat([taught.labels, labels], dim=1),
        torch.cat([added, found.valid & ~doubles], dim=1),
    )
