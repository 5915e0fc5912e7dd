"""The settings that detectors on a feature pyramid share; ``siod.detectors.networks.fpn`` has what they compute."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from siod.detectors.backbones.architectures import Norm
from siod.detectors.backbones.names import BackboneName, stride_px
from siod.detectors.spec import DetectorSpec, Pixels
from siod.value import Value

PYRAMID_STAGES = 3
"""Levels that come from stages of the backbone: C3, C4 and C5."""


class PyramidMining(Value):
    """Which levels miners look at, from the finest, in which maps, and where annotated instances are drawn on them."""

    levels: Annotated[int, Field(ge=1, le=PYRAMID_STAGES)] = 3
    features: Literal["pyramid", "tower"] = "pyramid"
    references: Literal["every_level", "own_level"] = "every_level"


class PyramidSpec(DetectorSpec):
    """What the settings of detectors on a feature pyramid have in common.

    ``frozen_stages`` first parts of the backbone do not learn, the stem counting as one. ``extra_levels`` 2 adds
    P6 and P7. Detections below ``score_threshold`` are dropped, the best ``candidates`` of each level go through
    suppression.
    """

    dense_outputs: ClassVar[bool] = True

    backbone: BackboneName = "resnet50"
    norm: Norm = "frozen"
    frozen_stages: Annotated[int, Field(ge=0, le=4)] = 2
    pixels: Pixels = "imagenet"
    pyramid_channels: PositiveInt = 256
    extra_levels: Literal[0, 2] = 2
    mining: PyramidMining = PyramidMining()
    score_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.05
    suppression_iou: Annotated[float, Field(gt=0, le=1)] = 0.5
    candidates: PositiveInt = 1000
    max_detections: PositiveInt = 100

    def size_divisor(self) -> int:
        """The stride of the backbone's last stage."""
        return stride_px(self.backbone)

    def mined_levels(self) -> int:
        """The finest ones."""
        return self.mining.levels

    def strides_px(self) -> tuple[int, ...]:
        """Pixels between neighbouring positions, from the finest level to the coarsest."""
        last = self.size_divisor()
        return tuple(last * 2**level // 4 for level in range(PYRAMID_STAGES + self.extra_levels))
