"""The settings of a Faster R-CNN on C4 features; ``siod.detectors.networks.faster_rcnn_c4`` has the detector."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from siod.detectors.anchors import LEAST_ANCHOR_STRIDES
from siod.detectors.backbones.architectures import Norm
from siod.detectors.backbones.names import BackboneName, stride_px
from siod.detectors.region_head import RegionHead
from siod.detectors.region_proposals import ProposalNetwork
from siod.detectors.spec import DetectorSpec, Pixels
from siod.value import Value


class MiningBranch(Value):
    """The class-wise classifier beside the proposal network, for DMiner and in training only.

    ``pooling_kernels`` has one width in positions for each anchor size: over how many positions mined labels
    are averaged into that anchor's soft label.
    """

    channels: PositiveInt = 256
    weight: Annotated[float, Field(ge=0)] = 1.0
    pooling_kernels: tuple[PositiveInt, ...] = (1, 3, 5, 7, 9)

    @model_validator(mode="after")
    def _kernels_have_a_middle(self) -> Self:
        if any(kernel % 2 == 0 for kernel in self.pooling_kernels):
            message = f"pooling_kernels must be odd, not {self.pooling_kernels}"
            raise ValueError(message)
        return self


class FasterRCNNC4(DetectorSpec):
    """The architecture and the losses of a Faster R-CNN on C4 features; the defaults are detectron2's R50-C4.

    ``frozen_stages`` first parts of the backbone do not learn, the stem counting as one. ``pixels`` names the
    data set whose mean and deviation normalise the input. The box losses are quadratic below a difference of
    ``box_beta``.
    """

    family: Literal["faster_rcnn_c4"] = "faster_rcnn_c4"
    backbone: BackboneName = "resnet50"
    norm: Norm = "frozen"
    frozen_stages: Annotated[int, Field(ge=0, le=4)] = 2
    pixels: Pixels = "imagenet"
    proposals: ProposalNetwork = ProposalNetwork()
    head: RegionHead = RegionHead()
    box_beta: Annotated[float, Field(ge=0)] = 0.0
    mining_branch: MiningBranch | None = None

    @model_validator(mode="after")
    def _every_anchor_size_has_a_kernel(self) -> Self:
        branch, sizes = self.mining_branch, self.proposals.anchor_sizes_px
        if branch is not None and len(branch.pooling_kernels) != len(sizes):
            message = (
                f"mining_branch.pooling_kernels must have one entry for each of the {len(sizes)} "
                f"proposals.anchor_sizes_px, not {len(branch.pooling_kernels)}"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _the_largest_anchors_cover_the_image(self) -> Self:
        largest, least = max(self.proposals.anchor_sizes_px), LEAST_ANCHOR_STRIDES * self.size_divisor()
        if largest < least:
            message = (
                f"proposals.anchor_sizes_px: anchors of {largest} px at most leave gaps between positions "
                f"{self.size_divisor()} px apart; add one of {least} px or more"
            )
            raise ValueError(message)
        return self

    def size_divisor(self) -> int:
        """The stride of C4, half that of the backbone's last stage."""
        return stride_px(self.backbone) // 2

    def mined_levels(self) -> int:
        """The mining branch's, if it is there."""
        return 0 if self.mining_branch is None else 1

    def unrepeatable_on_cuda(self) -> str:
        """Region pooling; torchvision's substitute weighs every position of the map for each bin of a region."""
        return "roi_align, which looks at regions"
