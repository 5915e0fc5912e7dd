"""The settings of PGCL; ``siod.dminer.mining.pgcl`` has its equations."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from siod.value import Value

Reduction = Literal["authors", "paper"]


class PGCL(Value):
    """Pixel-level group contrastive learning; it starts when ``start_epoch`` epochs are done.

    ``top_m`` is one number, or one for each feature level. ``reduction`` authors averages as the released
    code does, which the published numbers come from; paper as Eq. 6 is printed. ``mask_selected`` leaves the
    selected positions out of the negative focal loss, for all classes: the released code does so where PGCL is
    trained without SPLG, the paper does not say. ``mask_own_class`` leaves them out for the class each was
    selected for and for no other.
    """

    unsaid_by_default: ClassVar[frozenset[str]] = frozenset({"mask_selected", "mask_own_class"})

    top_m: PositiveInt | Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = 128
    temperature: PositiveFloat = 0.07
    weight: PositiveFloat = 0.1
    reduction: Reduction = "authors"
    start_epoch: NonNegativeInt = 0
    mask_selected: bool = False
    mask_own_class: bool = False

    @model_validator(mode="after")
    def _one_mask(self) -> Self:
        if self.mask_selected and self.mask_own_class:
            message = "mask_own_class has no effect with mask_selected, which leaves out all classes; set one of them"
            raise ValueError(message)
        return self
