"""The settings of teacher and student; ``siod.methods.steps.teacher_student`` has the method."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from siod.methods.pseudo import PseudoBoxes
from siod.methods.spec import ANNOTATED_ONLY
from siod.methods.strong import StrongView
from siod.methods.teaching import Teaching
from siod.value import Value

STAC_VIEW = StrongView(cutouts=(1, 5), cutout_share=0.2, translate=0.1)
"""Colours, one to five patches, a shift by up to a tenth."""

STUDENT_S_OWN = ("data", "annotations", "detector", "seed", "compute")
"""What a teacher has in common with its student: it labels the same images, with weights for the same detector."""


def _as_plain_data(changes: object) -> object:
    """Settings among changes as they are written, so that they are the same once they have been read again."""
    if not isinstance(changes, dict):
        return changes
    return {
        path: setting.model_dump(mode="json") if isinstance(setting, Value) else setting
        for path, setting in changes.items()
    }


class TeacherStudent(Teaching):
    """STAC: the boxes of a finished teacher, learnt on strong views.

    The official threshold is 0.9 of a Faster R-CNN's scores.

    The teacher is the same experiment learnt from the annotated images alone, or, with ``teacher``, the experiment
    without its method (in sets with bare images ``annotated_only``) under these changes by dotted path, such as
    ``{"dminer": DMiner()}``. An arm that is the same experiment serves as the teacher. With ``rounds`` above 1 that is
    the first teacher; it teaches a student, which teaches the next, and this one is the last of so many.
    """

    unsaid_by_default: ClassVar[frozenset[str]] = frozenset({"teacher", "rounds"})

    kind: Literal["teacher_student"] = "teacher_student"
    weight: Annotated[float, Field(ge=0)] = 2.0
    pseudo: PseudoBoxes = PseudoBoxes(min_score=0.9)
    strong: StrongView = STAC_VIEW
    teacher: Annotated[dict[str, Any] | None, BeforeValidator(_as_plain_data)] = None
    rounds: PositiveInt = 1

    @model_validator(mode="after")
    def _a_teacher_fits_its_student(self) -> Self:
        for path in self.teacher or ():
            own = path.partition(".")[0]
            if own in STUDENT_S_OWN:
                message = f"teacher changes {path!r}, but a teacher has the {own} of its student; leave it out"
                raise ValueError(message)
        return self

    def needs_teacher(self) -> bool:
        """One trained on the same set with the same seed; ``Experiment.teacher`` is which."""
        return self.weight > 0

    def teacher_changes(self, *, bare_images: bool) -> dict[str, Any]:
        """One round less, if there are several; then those of ``teacher``."""
        if self.rounds > 1:
            return {"method.rounds": self.rounds - 1}
        if self.teacher is None:
            return super().teacher_changes(bare_images=bare_images)
        return {"method": ANNOTATED_ONLY if bare_images else None, **self.teacher}
