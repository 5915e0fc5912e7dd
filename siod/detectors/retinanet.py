"""The settings of a RetinaNet; ``siod.detectors.networks.retinanet`` has the detector."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from siod.detectors.anchors import LEAST_ANCHOR_STRIDES, coinciding_sizes
from siod.detectors.fpn import PyramidSpec

TORCHVISION_CONVOLUTIONS = 4
OCTAVE_SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
RATIOS = (0.5, 1.0, 2.0)


class RetinaNet(PyramidSpec):
    """The architecture and the losses of a RetinaNet; the defaults are torchvision's with ResNet-50.

    The smallest of a position's anchors is ``anchor_strides`` strides wide, at least 2, the others 2^(1/3) and 2^(2/3)
    times that, each in three ratios. An anchor is an object from ``object_iou`` with a box, or when no other overlaps
    that box more; it is background below ``background_iou``. The head has ``tower_convolutions`` before its last
    one, normalised in ``tower_groups`` if that is set. The box loss is quadratic below a difference of
    ``box_beta``.

    ``pooling_kernels``: over how many positions mined labels are averaged into the soft label of each of the
    three sizes. The paper's kernels 1, 3, 5, 7, 9 belong to anchors of 2, 4, 8, 16, 32 strides, so an anchor of
    a strides has about 2 log2(a) - 1, which is 3, 3.7 and 4.3 for the three sizes here.
    """

    family: Literal["retinanet"] = "retinanet"
    anchor_strides: PositiveFloat = 4.0
    object_iou: Annotated[float, Field(ge=0, le=1)] = 0.5
    background_iou: Annotated[float, Field(ge=0, le=1)] = 0.4
    tower_convolutions: Annotated[int, Field(ge=0, le=TORCHVISION_CONVOLUTIONS)] = TORCHVISION_CONVOLUTIONS
    tower_groups: PositiveInt | None = None
    pooling_kernels: tuple[PositiveInt, PositiveInt, PositiveInt] = (3, 3, 5)
    box_weight: Annotated[float, Field(ge=0)] = 1.0
    box_beta: Annotated[float, Field(ge=0)] = 0.0
    max_detections: PositiveInt = 300

    @model_validator(mode="after")
    def _settings_are_in_order(self) -> Self:
        if any(kernel % 2 == 0 for kernel in self.pooling_kernels):
            message = f"pooling_kernels must be odd, not {self.pooling_kernels}"
            raise ValueError(message)
        if self.background_iou > self.object_iou:
            message = f"background_iou {self.background_iou} must not be above object_iou {self.object_iou}"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _anchors_cover_the_image_and_differ(self) -> Self:
        strides, least = self.anchor_strides, LEAST_ANCHOR_STRIDES
        if strides < least:
            message = f"anchor_strides {strides:g} leaves gaps between anchors; set it to {least} or more"
            raise ValueError(message)
        finest = self.anchor_sizes_px()[0]
        if coinciding_sizes(finest, RATIOS) is not None:
            message = (
                f"anchor_strides {strides:g} makes anchors of {finest} px at the finest level, some of "
                "which are the same in whole pixels; set it higher"
            )
            raise ValueError(message)
        return self

    def anchor_sizes_px(self) -> tuple[tuple[int, ...], ...]:
        """The widths of square anchors in whole pixels, by level from the finest, as in torchvision."""
        return tuple(
            tuple(int(self.anchor_strides * stride * scale) for scale in OCTAVE_SCALES) for stride in self.strides_px()
        )
