"""From coarse features to fine ones, with or without the backbone's finer stages on the way.

B images, C and D channels, H x W positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import DeformConv2d

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class ModulatedDeformConv(nn.Module):
    """A 3 x 3 convolution that learns where to look, and how much to weigh what it finds there.

    Source: Zhu et al., Deformable ConvNets v2, CVPR 2019, Eq. 1.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        taps = 9
        self.split = [2 * taps, taps]
        self.look = nn.Conv2d(in_channels, sum(self.split), kernel_size=3, padding=1)
        self.convolution = DeformConv2d(in_channels, out_channels, kernel_size=3, padding=1)
        # It starts as a plain convolution: no offsets, all taps weighed alike.
        for parameter in self.look.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Convolve at learnt places."""
        offsets, modulation = torch.split(self.look(features), self.split, dim=1)
        # The operator wants one dtype, which autocast does not see to on every device.
        dtype = self.convolution.weight.dtype
        with torch.autocast(features.device.type, enabled=False):
            convolved: Tensor = self.convolution(features.to(dtype), offsets.to(dtype), modulation.to(dtype).sigmoid())
        return convolved


def plain_convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 3 x 3 convolution without bias, for a normalisation to follow."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)


def upsample(
    before: int, after: int, convolution: Callable[[int, int], nn.Module], norm: Callable[[int], nn.Module]
) -> nn.Sequential:
    """Build a stage that doubles the resolution.

    Args:
        before: Channels it receives.
        after: Channels it gives.
        convolution: Constructor of its first layer, from channels in and out.
        norm: Constructor of its normalisations, from channels.

    Returns:
        Convolution and transposed convolution, each normalised and rectified.
    """
    return nn.Sequential(
        convolution(before, after),
        norm(after),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(after, after, kernel_size=4, stride=2, padding=1, bias=False),
        norm(after),
        nn.ReLU(inplace=True),
    )


class LateralUpsampling(nn.Module):
    """Doublings of resolution, each of which adds the backbone's stage of that resolution.

    Args:
        stage_channels: Of the backbone's stages, from the finest to the last.
        channels: Of the maps it makes, one entry for each doubling; there are as many stages before the last.
        norm: Constructor of its normalisations, from channels.

    Source: Lin et al., Feature Pyramid Networks for Object Detection, CVPR 2017, section 3.
    """

    def __init__(
        self, stage_channels: Sequence[int], channels: Sequence[int], norm: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        before = (stage_channels[-1], *channels[:-1])
        finer = stage_channels[-2 : -2 - len(channels) : -1]
        self.from_coarse = nn.ModuleList(_projection(*pair, norm) for pair in zip(before, channels, strict=True))
        self.from_stage = nn.ModuleList(_projection(*pair, norm) for pair in zip(finer, channels, strict=True))
        self.smooth = nn.ModuleList(
            nn.Sequential(plain_convolution(width, width), norm(width), nn.ReLU(inplace=True)) for width in channels
        )

    def forward(self, stages: Sequence[Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b d h w"]:
        """Make the finest map of a backbone's stages.

        Args:
            stages: Maps from the finest to the last, each of twice the stride of the one before.
        """
        features = stages[-1]
        parts = zip(self.from_coarse, self.from_stage, self.smooth, reversed(stages[:-1]), strict=False)
        for from_coarse, from_stage, smooth, stage in parts:
            coarse = functional.interpolate(from_coarse(features), scale_factor=2.0, mode="nearest")
            features = smooth(functional.relu(coarse + from_stage(stage)))
        return features


def _projection(before: int, after: int, norm: Callable[[int], nn.Module]) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, kernel_size=1, bias=False), norm(after))
