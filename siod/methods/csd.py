"""The settings of CSD; ``siod.methods.steps.csd`` has the method."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from siod.data.transforms import Share
from siod.detectors.centernet import CenterNet
from siod.methods.spec import MethodSpec

if TYPE_CHECKING:
    from siod.detectors.spec import DetectorSpec
    from siod.methods.method import Moment

# How steeply the weight rises and falls (Laine and Aila 2017, as CSD has it).
RISE, FALL = 5.0, 12.5


class CSD(MethodSpec):
    """Consistency between an image and its mirror image.

    Positions count whose best score in the image itself is above ``foreground_score``. The weight rises over the
    first share ``rising`` of the run to ``weight`` and falls over the last share ``falling``.
    """

    kind: Literal["csd"] = "csd"
    weight: Annotated[float, Field(ge=0)] = 1.0
    foreground_score: Share = 0.3
    rising: Share = 32 / 120
    falling: Share = 20 / 120

    def refusal(self, detector: DetectorSpec) -> str | None:
        """It is written for the three maps of a CenterNet."""
        if isinstance(detector, CenterNet):
            return None
        return (
            f"method csd compares a CenterNet's heatmap, size and offset, which {detector.family} has not; use comining"
        )

    def weight_at(self, moment: Moment) -> float:
        """The weight of consistency at a moment of the run.

        Source: Jeong et al., CSD, NeurIPS 2019, section 4.2.

        Example:
            >>> from siod.methods.method import Moment
            >>> CSD().weight_at(Moment(seed=0, epoch=60, step=0, steps=1, epochs=120))
            1.0
        """
        done = moment.share_done()
        if done < self.rising:
            return self.weight * math.exp(-RISE * (1 - done / self.rising) ** 2)
        if done > 1 - self.falling:
            return self.weight * math.exp(-FALL * (1 - (1 - done) / self.falling) ** 2)
        return self.weight
