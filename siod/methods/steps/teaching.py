"""What methods with a teacher share: it labels images as they are, the student learns the labels on strong views."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from siod.methods.method import Method, Objective, View, Views
from siod.methods.steps.annotated import annotated_view, open_rows, pick
from siod.methods.steps.labelling import Labeller
from siod.methods.steps.pseudo import merge_boxes, quality
from siod.methods.steps.strong import strong_view
from siod.ops.padding import take

if TYPE_CHECKING:
    from collections.abc import Mapping

    from siod.detectors.detector import Detector
    from siod.methods.method import Criterion, Moment
    from siod.methods.steps.teacher import Teacher
    from siod.methods.teaching import Teaching
    from siod.types import Batch, LossTerm


class TeachingMethod(Method):
    """Annotated images, and strong views of the images that are open to labels.

    Bare images get the teacher's boxes alone; those in which it finds nothing are left out, because a loss that is
    counted by boxes would make much of them. Where any image may lack instances, they join the annotated ones, both
    in the image and in its strong view: left out of the image itself they would be taught as background there.

    Args:
        spec: Thresholds, weight and views.
        detector: The student.
    """

    def __init__(self, spec: Teaching, detector: Detector) -> None:
        super().__init__(detector)
        self.spec = spec
        self.labeller = Labeller(spec.pseudo, detector)

    @abstractmethod
    def teacher_at(self, moment: Moment) -> Teacher | None:
        """Who labels at a moment of the run; None while nobody does."""

    def views(self, batch: Batch, moment: Moment) -> Views:
        """Annotated images; with a teacher at work, strong views of the open ones beside them."""
        known = annotated_view(batch)
        teacher = None if self.spec.weight == 0 else self.teacher_at(moment)
        if teacher is None:
            return Views((known,), batch, moment)
        rows = open_rows(batch)
        labelled, estimated = self._labelled(batch, rows, teacher, moment)
        before = [batch.targets[row] for row in rows]
        found = quality(before, labelled.targets[: len(rows)], device=batch.images.device)
        image_ids = [batch.image_ids[row] for row in rows or [0]]
        if batch.annotated is None:
            known = labelled
        else:
            labelled, image_ids = _with_boxes(labelled, image_ids)
        strong = strong_view(labelled, image_ids, self.spec.strong, moment)
        return Views((known, strong), batch, moment, {**found, **estimated})

    def _labelled(
        self, batch: Batch, rows: list[int], teacher: Teacher, moment: Moment
    ) -> tuple[View, Mapping[str, LossTerm]]:
        """The open images with the teacher's boxes, and what is reported of these."""
        # What is found in annotated images tells how much of the rest is false.
        every = self.spec.pseudo.max_fdr is not None
        view = View(batch.images, batch.targets) if every else pick(batch, rows)
        if view.without_loss:
            return view, {}
        height, width = view.images.shape[2:]
        chosen = self.labeller.choose(teacher.look(view.images), view.targets, (height, width), moment)
        targets = merge_boxes(self.spec.pseudo, view.targets, chosen.boxes)
        if every:
            return pick(replace(batch, targets=targets), rows), chosen.figures
        return view._replace(targets=targets), chosen.figures

    def objective(self, views: Views, outputs: Any, criterion: Criterion) -> Objective:
        """The loss of the images, and ``weight`` times that of the strong views, under ``strong_...``."""
        parts = self.judge(views, 0, outputs, criterion)
        if len(views.views) > 1:
            parts |= self.judge(views, 1, outputs, criterion, prefix="strong_", weight=self.spec.weight)
        return Objective(parts, views.figures)

    def state_dict(self) -> dict[str, Any]:
        """What thresholds are estimated of."""
        return self.labeller.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self.labeller.load_state_dict(state)


def _with_boxes(view: View, image_ids: list[int]) -> tuple[View, list[int]]:
    """The images of a view that have boxes; the first one, without loss, if none has."""
    rows = [row for row, target in enumerate(view.targets) if len(target.labels) > 0 and not view.without_loss]
    chosen = rows or [0]
    targets = tuple(view.targets[row] for row in chosen)
    return View(take(view.images, chosen), targets, without_loss=not rows), [image_ids[row] for row in chosen]
