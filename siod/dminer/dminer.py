"""The settings of DMiner; ``siod.dminer.mining.levels`` attaches its parts to a detector."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, PositiveInt, model_validator

from siod.dminer.pgcl import PGCL
from siod.dminer.reject import Reject
from siod.dminer.splg import SPLG
from siod.value import Value


class Staged(Value):
    """Two stages, as the authors' published model: PGCL first, then SPLG from there at a lower learning rate.

    Theirs leaves the selected positions out of the negative loss in the first: ``PGCL(mask_selected=True)``.
    """

    second_epochs: PositiveInt = 140
    lr_factor: Annotated[float, Field(gt=0, le=1)] = 0.1


class DMiner(Value):
    """Which miners a run uses; ``staged`` None means all from the start, and ``reject`` is in both stages."""

    unsaid_by_default: ClassVar[frozenset[str]] = frozenset({"reject"})

    splg: SPLG | None = SPLG()
    pgcl: PGCL | None = PGCL()
    reject: Reject | None = None
    staged: Staged | None = None

    @model_validator(mode="after")
    def _miners_fit_together(self) -> Self:
        if self.splg is None and self.pgcl is None and self.reject is None:
            message = "splg, pgcl and reject are all absent; set dminer to null for a run without mining"
            raise ValueError(message)
        if self.staged is not None and (self.splg is None or self.pgcl is None):
            message = "staged needs both splg and pgcl; set staged to null"
            raise ValueError(message)
        return self
