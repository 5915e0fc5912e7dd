"""The settings of pseudo boxes; ``siod.methods.steps.pseudo`` chooses them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from siod.value import Value

Score = Annotated[float, Field(ge=0, le=1)]

Overlap = Annotated[float, Field(gt=0, le=1)]


class PseudoBoxes(Value):
    """Which detections become labels.

    Those with a score above ``min_score`` that survive suppression at ``suppression_iou`` and overlap no annotated
    box of their class by more than ``merge_iou``. A CenterNet's scores are lower than those of other detectors.
    """

    min_score: Score = 0.6
    suppression_iou: Overlap = 0.5
    merge_iou: Overlap = 0.4
