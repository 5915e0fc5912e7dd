"""EfficientNet-Lite: inverted residuals without squeeze and excitation, for processors.

B images, D channels. Convolutions are padded alike on both sides; the published weights were learnt with TensorFlow's
padding, which at stride 2 is one position to the right and below. Features differ by that shift of the grid alone.

Source: Tan and Le, EfficientNet, ICML 2019, Table 1; the Lite variants of its authors' code drop the attention, rectify
at 6, and scale neither the stem nor the number of blocks of the first and the last stage.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from jaxtyping import Float  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor, nn

if TYPE_CHECKING:
    from siod.detectors.backbones.architectures import Scale

STEM_CHANNELS = 32
NORM_EPS = 1e-3
CHANNEL_STEP = 8
LEAST_SHARE = 0.9
"""Rounding to a multiple of ``CHANNEL_STEP`` must leave so much of the channels."""


class Stage(NamedTuple):
    """Blocks of one kind: how many, kernel and stride, how wide within, channels out."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class EfficientNetLite(nn.Module):
    """The layers that make maps; the classifier and the convolution before it are left out.

    Args:
        scale: Of channels and blocks.
    """

    def __init__(self, scale: Scale) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_convolution(3, STEM_CHANNELS, kernel=3, stride=2), nn.ReLU6(inplace=True))
        blocks: list[nn.Module] = []
        before = STEM_CHANNELS
        for index, stage in enumerate(STAGES):
            fixed = index in (0, len(STAGES) - 1)
            after = scaled_channels(stage.channels, scale.width)
            for number in range(stage.blocks if fixed else ceil(stage.blocks * scale.depth)):
                blocks.append(InvertedResidual(before, after, stage, stride=stage.stride if number == 0 else 1))
                before = after
        self.blocks = nn.Sequential(*blocks)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d _ _"]:
        """Extract the features of the last stage."""
        features: Tensor = self.blocks(self.stem(images))
        return features


class InvertedResidual(nn.Module):
    """Widen, convolve each channel on its own, narrow; the input is added where it has the output's shape.

    Source: Sandler et al., MobileNetV2, CVPR 2018, Table 1.
    """

    def __init__(self, before: int, after: int, stage: Stage, *, stride: int) -> None:
        super().__init__()
        wide = before * stage.expansion
        layers: list[nn.Module] = []
        if stage.expansion != 1:
            layers += [*_convolution(before, wide), nn.ReLU6(inplace=True)]
        layers += [*_convolution(wide, wide, kernel=stage.kernel, stride=stride, groups=wide), nn.ReLU6(inplace=True)]
        layers += _convolution(wide, after)
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and before == after

    def forward(self, features: Float[Tensor, "b d h w"]) -> Float[Tensor, "b _ _ _"]:
        """Make the features of the next block."""
        made: Tensor = self.layers(features)
        return made + features if self.residual else made


def scaled_channels(channels: int, width: float) -> int:
    """Scale a number of channels to a multiple of 8 that is not much less.

    Example:
        >>> scaled_channels(112, 1.1), scaled_channels(24, 1.1)
        (120, 24)
    """
    wanted = channels * width
    rounded = max(CHANNEL_STEP, int(wanted + CHANNEL_STEP / 2) // CHANNEL_STEP * CHANNEL_STEP)
    return rounded if rounded >= LEAST_SHARE * wanted else rounded + CHANNEL_STEP


def _convolution(before: int, after: int, *, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution and its normalisation."""
    convolution = nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(after, eps=NORM_EPS)]
