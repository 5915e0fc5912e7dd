"""The settings of pseudo boxes; ``siod.methods.steps.labelling`` makes labels of detections by them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from siod.value import Value

Score = Annotated[float, Field(ge=0, le=1)]

Overlap = Annotated[float, Field(gt=0, le=1)]

LEAST_IMAGES = 100
"""So many images a detector has looked at before its false discoveries are estimated."""


class PseudoBoxes(Value):
    """Which detections become labels.

    Those with a score above ``min_score`` that survive suppression at ``suppression_iou`` and overlap no annotated
    box of their class by more than ``merge_iou``. A CenterNet's scores are lower than those of other detectors.

    With ``clean`` only those of categories of which the image may have instances without a box: none of categories
    that its annotations say to be absent or complete.

    With ``max_fdr`` the threshold of each category is the least score above which at most this share of the labels is
    estimated to be false; ``min_score`` is then only a floor, best low, such as 0.05. The estimate is made of what was
    found lately: ``half_life_images`` images later a find counts half. It needs ``clean``, and errs low for teachers
    that miners trained (docs/methods.md).
    """

    unsaid_by_default: ClassVar[frozenset[str]] = frozenset({"clean", "max_fdr", "half_life_images"})

    min_score: Score = 0.6
    suppression_iou: Overlap = 0.5
    merge_iou: Overlap = 0.4
    clean: bool = False
    max_fdr: Annotated[float, Field(gt=0, lt=1)] | None = None
    half_life_images: Annotated[int, Field(ge=LEAST_IMAGES)] = 2000

    @model_validator(mode="after")
    def _estimates_need_clean_categories(self) -> Self:
        if self.max_fdr is not None and not self.clean:
            message = "max_fdr estimates false labels from categories that are surely absent; set clean to true with it"
            raise ValueError(message)
        default = type(self).model_fields["half_life_images"].default
        if self.max_fdr is None and self.half_life_images != default:
            message = "half_life_images has no effect without max_fdr; set max_fdr, or leave half_life_images out"
            raise ValueError(message)
        return self
