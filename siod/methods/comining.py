"""The settings of Co-mining; ``siod.methods.steps.comining`` has the method."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from siod.methods.pseudo import PseudoBoxes
from siod.methods.spec import MethodSpec
from siod.methods.strong import StrongView

RECOLOURED = StrongView(
    jitter=0.8, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, grey=0.0, blur=0.0, cutouts=(0, 0)
)
"""The official code's second view: colours alone, no geometry."""


class CoMining(MethodSpec):
    """Pseudo boxes exchanged between a batch's images and their recoloured copies.

    ``weight`` is that of the copies' loss; 0 leaves them out, and with them all pseudo boxes. Before epoch
    ``start_epoch`` are done nothing is exchanged.
    """

    kind: Literal["comining"] = "comining"
    weight: Annotated[float, Field(ge=0)] = 1.0
    pseudo: PseudoBoxes = PseudoBoxes(min_score=0.6)
    recoloured: StrongView = RECOLOURED
    start_epoch: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _views_lie_on_each_other(self) -> Self:
        if self.recoloured.flip or self.recoloured.translate:
            message = "recoloured.flip and recoloured.translate must be 0: boxes pass from view to view as they are"
            raise ValueError(message)
        return self
