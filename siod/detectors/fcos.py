"""The settings of an FCOS; ``siod.detectors.networks.fcos`` has the detector."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from siod.detectors.fpn import PyramidSpec


class FCOS(PyramidSpec):
    """The architecture and the losses of an FCOS; the defaults are torchvision's with ResNet-50.

    The head has ``tower_convolutions`` before its last one, normalised in ``tower_groups``. A position belongs to
    a box if it is less than ``centre_radius`` strides from its centre. A level detects boxes whose farthest side
    is up to ``range_strides`` strides away, and more than half of that; the first and last have no limit below
    and above.
    """

    family: Literal["fcos"] = "fcos"
    tower_convolutions: Annotated[int, Field(ge=0)] = 4
    tower_groups: PositiveInt = 32
    centre_radius: PositiveFloat = 1.5
    range_strides: PositiveFloat = 8.0
    box_weight: Annotated[float, Field(ge=0)] = 1.0
    centre_weight: Annotated[float, Field(ge=0)] = 1.0
    score_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.2
    suppression_iou: Annotated[float, Field(gt=0, le=1)] = 0.6
