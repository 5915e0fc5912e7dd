"""What every backbone offers to the detectors.

B images of H x W pixels, D channels of a stage. C3, C4 and C5 are the last three stages, each at twice the stride of
the one before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from jaxtyping import Float  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.detectors.backbones.pixels import PixelStatistics


class Backbone(nn.Module, ABC):
    """A feature extractor from normalised images to maps.

    Args:
        name: Of the architecture.

    Attributes:
        stage_channels: Channels of the stages, from the finest to the last; those of C3, C4 and C5 are the last three.
        pixels: What normalised the images its published weights were learnt from, where detectors must do so too; None
            leaves it to the detector.
    """

    stage_channels: tuple[int, ...]
    pixels: PixelStatistics | None = None

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    @property
    def architecture(self) -> nn.Module:
        """The module whose entries have the names of the architecture's own."""
        return self

    @property
    def out_channels(self) -> int:
        """Channels of the last stage."""
        return self.stage_channels[-1]

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d _ _"]:
        """Extract the features of the last stage (C5)."""
        return self.last_stage(self.trunk(images))

    def trunk(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d _ _"]:
        """Extract the features of the last stage but one (C4), at half the stride of the last."""
        return self.early_stages(images)[-1]

    def stages(self, images: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, Tensor, Tensor]:
        """Extract the features of the last three stages (C3, C4, C5)."""
        *_, c3, c4 = self.early_stages(images)
        return c3, c4, self.last_stage(c4)

    @abstractmethod
    def early_stages(self, images: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, ...]:
        """Extract the features of all stages but the last, from the finest to C4."""

    @abstractmethod
    def last_stage(self, features: Float[Tensor, "b d _ _"]) -> Float[Tensor, "b _ _ _"]:
        """Make C5 of C4, or of regions cut out of it."""

    @abstractmethod
    def freezable(self) -> Sequence[nn.Module]:
        """The parts that may be kept from learning, first the stem; the last stage is none of them."""
