"""The settings that methods with a teacher share; ``siod.methods.steps.teaching`` has what they do."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from siod.methods.pseudo import PseudoBoxes
from siod.methods.spec import MethodSpec
from siod.methods.strong import StrongView


class Teaching(MethodSpec):
    """The settings of a method with a teacher.

    ``weight`` is that of the strong views' loss; at 0 the teacher is not asked.
    """

    weight: Annotated[float, Field(ge=0)] = 1.0
    pseudo: PseudoBoxes = PseudoBoxes()
    strong: StrongView = StrongView()
