"""The settings of a region proposal network; ``siod.detectors.networks.region_proposals`` has the network."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from siod.detectors.anchors import coinciding_sizes
from siod.value import Value

Overlap = Annotated[float, Field(ge=0, le=1)]


class ProposalNetwork(Value):
    """Anchors, what they are compared with, and how many proposals come of them.

    An anchor is an object from ``object_iou`` with an annotated box, or when no other overlaps that box more;
    it is background below ``background_iou``. ``sampled`` anchors an image enter the loss, at most half of
    them objects. The best ``candidates`` go through suppression and the best ``kept`` of the rest are the
    proposals, each given for training and for inference.
    """

    anchor_sizes_px: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (32, 64, 128, 256, 512)
    anchor_ratios: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (0.5, 1.0, 2.0)
    object_iou: Overlap = 0.7
    background_iou: Overlap = 0.3
    sampled: PositiveInt = 256
    candidates: tuple[PositiveInt, PositiveInt] = (12000, 6000)
    kept: tuple[PositiveInt, PositiveInt] = (2000, 1000)

    @model_validator(mode="after")
    def _thresholds_are_in_order(self) -> Self:
        if self.background_iou > self.object_iou:
            message = f"background_iou {self.background_iou} must not be above object_iou {self.object_iou}"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _anchors_differ(self) -> Self:
        alike = coinciding_sizes(self.anchor_sizes_px, self.anchor_ratios)
        if alike is not None:
            message = (
                f"anchor_sizes_px {alike[0]} and {alike[1]} make an anchor that is the same in whole pixels; set them "
                "further apart, or change anchor_ratios"
            )
            raise ValueError(message)
        return self
