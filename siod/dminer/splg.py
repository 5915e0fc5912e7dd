"""The settings of SPLG; ``siod.dminer.mining.splg`` has its equations."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat

from siod.value import Value


class SPLG(Value):
    """Similarity-based pseudo label generation; it starts when ``start_epoch`` epochs are done."""

    min_similarity: Annotated[float, Field(ge=-1, le=1)] = 0.6
    scale: PositiveFloat = 1.0
    start_epoch: NonNegativeInt = 0
