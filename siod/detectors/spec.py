"""What the settings of all detectors have in common."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import PositiveInt, model_validator

from siod.detectors.backbones.architectures import DEFAULT_WIDTH, Norm
from siod.detectors.backbones.names import BackboneName, own_pixels, refusal
from siod.detectors.backbones.pixels import COCO_PIXELS, IMAGENET_PIXELS, PixelStatistics
from siod.value import Value

Pixels = Literal["coco", "imagenet", "backbone"]
"""Whose mean and deviation normalise the input: a data set's, or those the backbone's weights were learnt with."""


class DetectorSpec(Value):
    """The settings of a detector; each family derives its own, whose ``family`` is a literal that names it."""

    dense_outputs: ClassVar[bool] = False
    """Whether ``Detector.select`` is there, which methods with several views need."""
    published_by_name: ClassVar[bool] = False
    """Whether ``Detector.load_published`` finds categories by their names, in any data set, not by COCO's numbers."""

    family: str
    backbone: BackboneName = "resnet18"
    base_width: PositiveInt = DEFAULT_WIDTH
    norm: Norm = "batch"

    @model_validator(mode="after")
    def _backbone_is_as_the_settings_want_it(self) -> Self:
        refused = refusal(self, frozen_stages=getattr(self, "frozen_stages", 0))
        if refused is not None:
            raise ValueError(refused)
        return self

    @model_validator(mode="after")
    def _images_are_normalised_as_the_backbone_knows_them(self) -> Self:
        own = own_pixels(self.backbone)
        if own is not None and self.pixel_statistics() != own:
            message = f"backbone {self.backbone} was trained on images of other statistics; set pixels to backbone"
            raise ValueError(message)
        return self

    def pixel_statistics(self) -> PixelStatistics:
        """What normalises the images: by ``pixels`` where a family has that, or else as the backbone knows them."""
        pixels: Pixels | None = getattr(self, "pixels", None)
        named = {"coco": COCO_PIXELS, "imagenet": IMAGENET_PIXELS}
        if pixels in named:
            return named[pixels]
        return own_pixels(self.backbone) or (COCO_PIXELS if pixels is None else IMAGENET_PIXELS)

    def backbone_identity(self) -> dict[str, object]:
        """The settings on which weights of the backbone depend."""
        return {"backbone": self.backbone, "base_width": self.base_width, "norm": self.norm}

    def size_divisor(self) -> int | None:
        """What height and width of the inputs must be multiples of, in pixels; None if only the detector knows."""
        return None

    def mined_levels(self) -> int:
        """How many maps a miner may look at (entries of ``Detector.levels``)."""
        return 1

    def unrepeatable_on_cuda(self) -> str | None:
        """Name the operation whose gradient CUDA adds up in an order of its own; None if each has a fixed one."""
        return None
