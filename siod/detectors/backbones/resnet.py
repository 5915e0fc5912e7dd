"""ResNets, of torchvision's and other widths and normalisations.

B images, D channels.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from jaxtyping import Float  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock, Bottleneck

from siod.detectors.backbones.architectures import LAYOUTS
from siod.detectors.backbones.backbone import Backbone
from siod.detectors.backbones.norms import norm_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from siod.detectors.backbones.architectures import Norm

WIDE_CHANNELS = 16
"""From so many input channels on a strided shortcut is a plain convolution; see :class:`NarrowShortcut`."""
BLOCKS: Mapping[str, type[BasicBlock | Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}


class ResNet(Backbone):
    """A ResNet up to its last stage; parameters are named as torchvision names them.

    Args:
        name: Of its layout.
        base_width: Channels of the stem and the first stage; doubled in each further stage.
        norm: Normalisation layer.

    Source: He et al., Deep Residual Learning, CVPR 2016.
    """

    def __init__(self, name: str, *, base_width: int, norm: Norm) -> None:
        super().__init__(name)
        layout = LAYOUTS[name]
        block = BLOCKS[layout.block]
        normalised = norm_layer(norm)
        self.conv1 = nn.Conv2d(3, base_width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = normalised(base_width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1) if layout.max_pool else nn.Identity()
        stage = partial(_stage, block, norm=normalised)
        widths = [base_width * factor for factor in (1, 2, 4, 8)]
        outs = [width * block.expansion for width in widths]
        self.layer1 = stage(base_width, widths[0], layout.depths[0], stride=1)
        self.layer2 = stage(outs[0], widths[1], layout.depths[1], stride=2)
        self.layer3 = stage(outs[1], widths[2], layout.depths[2], stride=2)
        self.layer4 = stage(outs[2], widths[3], layout.depths[3], stride=2)
        self.stage_channels = tuple(outs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def early_stages(self, images: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, ...]:
        """Extract the features of the first three stages (C2, C3, C4)."""
        c2 = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(images)))))
        c3 = self.layer2(c2)
        return c2, c3, self.layer3(c3)

    def last_stage(self, features: Float[Tensor, "b d _ _"]) -> Float[Tensor, "b _ _ _"]:
        """Make C5 of C4."""
        c5: Tensor = self.layer4(features)
        return c5

    def freezable(self) -> tuple[nn.Module, ...]:
        """The stem and three stages."""
        return (nn.ModuleList([self.conv1, self.bn1]), self.layer1, self.layer2, self.layer3)


class NarrowShortcut(nn.Conv2d):
    """A 1 x 1 convolution that steps over positions, which takes them out before it multiplies: the same numbers.

    In torch 2.14.1 the backward pass of the other order ends the process on CPUs with AVX-512, channels last, with
    fewer than 16 input channels.
    """

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """Convolve every ``stride``-th position."""
        down, across = self.stride
        taken: Tensor = functional.conv2d(features[:, :, ::down, ::across], self.weight, self.bias)
        return taken


def _stage(
    block: type[BasicBlock | Bottleneck],
    channels: int,
    width: int,
    depth: int,
    *,
    stride: int,
    norm: Callable[[int], nn.Module],
) -> nn.Sequential:
    out = width * block.expansion
    shortcut = None
    if stride != 1 or channels != out:
        kind = NarrowShortcut if channels < WIDE_CHANNELS and stride != 1 else nn.Conv2d
        shortcut = nn.Sequential(kind(channels, out, kernel_size=1, stride=stride, bias=False), norm(out))
    first = block(channels, width, stride, shortcut, norm_layer=norm)
    return nn.Sequential(first, *(block(out, width, norm_layer=norm) for _ in range(depth - 1)))
