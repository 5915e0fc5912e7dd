"""The settings of Co-Student; ``siod.methods.steps.co_student`` has the method."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from siod.methods.mean_teacher import AveragedTeaching
from siod.methods.pseudo import PseudoBoxes
from siod.methods.strong import StrongView

CO_STUDENT_VIEW = StrongView(cutouts=(1, 5), cutout_share=0.2)
"""Colours and one to five patches, no geometry: boxes pass between the views as they are."""


class CoStudent(AveragedTeaching):
    """Labels for each of two views from the other one (``student``), revised by the averaged teacher (``pseudo``).

    Without ``revision`` the teacher's boxes join the annotated ones beside what the other view found, as it found it.
    """

    kind: Literal["co_student"] = "co_student"
    weight: Annotated[float, Field(ge=0)] = 1.0
    pseudo: PseudoBoxes = PseudoBoxes(min_score=0.6)
    student: PseudoBoxes = PseudoBoxes(min_score=0.5)
    strong: StrongView = CO_STUDENT_VIEW
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    revision: bool = True

    @model_validator(mode="after")
    def _views_lie_on_each_other(self) -> Self:
        if self.strong.flip or self.strong.translate:
            message = "strong.flip and strong.translate must be 0: boxes pass from view to view as they are"
            raise ValueError(message)
        return self
