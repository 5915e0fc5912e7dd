"""The settings of a CenterNet; ``siod.detectors.networks.centernet`` has the detector."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from siod.detectors.backbones.architectures import Norm
from siod.detectors.backbones.names import stages_of, stride_px
from siod.detectors.spec import DetectorSpec

OUTPUT_STRIDE_PX = 4


class CenterNet(DetectorSpec):
    """The architecture and the loss weights of a CenterNet.

    ``upsampling_channels`` has one entry for each doubling of resolution up to the output stride of 4; the
    last is the number of channels the heads and the miners see. ``upsampling_norm`` None is the backbone's ``norm``.
    ``upsampling`` deformable and plain read the backbone's last stage alone, as published; lateral adds the stage of
    each resolution on the way, and learns from far fewer images.
    ``frozen_stages`` first parts of the backbone do not learn, the stem counting as one.
    """

    dense_outputs: ClassVar[bool] = True
    unsaid_by_default: ClassVar[frozenset[str]] = frozenset({"frozen_stages", "upsampling_norm"})

    family: Literal["centernet"] = "centernet"
    frozen_stages: Annotated[int, Field(ge=0, le=4)] = 0
    upsampling: Literal["deformable", "plain", "lateral"] = "deformable"
    upsampling_channels: tuple[PositiveInt, ...] = (256, 128, 64)
    upsampling_norm: Norm | None = None
    head_channels: PositiveInt = 64
    size_weight: Annotated[float, Field(ge=0)] = 0.1
    offset_weight: Annotated[float, Field(ge=0)] = 1.0
    max_detections: PositiveInt = 100

    @model_validator(mode="after")
    def _upsampling_ends_at_the_output_stride(self) -> Self:
        needed = (stride_px(self.backbone) // OUTPUT_STRIDE_PX).bit_length() - 1
        if len(self.upsampling_channels) != needed:
            message = (
                f"upsampling_channels must have {needed} entries for backbone {self.backbone}, "
                f"which ends at stride {stride_px(self.backbone)}, not {len(self.upsampling_channels)}"
            )
            raise ValueError(message)
        if self.upsampling == "lateral" and stages_of(self.backbone) <= needed:
            message = (
                f"upsampling lateral needs a stage of the backbone at stride {OUTPUT_STRIDE_PX}, which "
                f"{self.backbone} does not have; set upsampling to plain"
            )
            raise ValueError(message)
        return self

    def size_divisor(self) -> int:
        """The stride of the backbone's last stage."""
        return stride_px(self.backbone)

    def unrepeatable_on_cuda(self) -> str | None:
        """Deformable convolution; torchvision has it in no other way there, and says nothing of it."""
        return "the deformable convolution of detector.upsampling" if self.upsampling == "deformable" else None


def __getattr__(name: str) -> Any:
    """``CenterNetDetector``, which families from outside import from here; that loads torch."""
    if name != "CenterNetDetector":
        raise AttributeError(f"module {__name__} has no attribute {name!r}")
    return getattr(import_module("siod.detectors.networks.centernet"), name)
