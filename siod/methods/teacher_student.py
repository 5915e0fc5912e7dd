"""The settings of teacher and student; ``siod.methods.steps.teacher_student`` has the method."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from siod.methods.pseudo import PseudoBoxes
from siod.methods.strong import StrongView
from siod.methods.teaching import Teaching

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
