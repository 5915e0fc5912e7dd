"""ResNet feature extractors, and weights for them.

B images, D channels of the last stage.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from math import gcd
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import torch
from jaxtyping import Float  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import ResNet18_Weights, ResNet50_Weights, ResNet101_Weights
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import FrozenBatchNorm2d

from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

BackboneName = Literal["resnet18", "resnet50", "resnet101", "tiny_resnet18"]
Norm = Literal["batch", "frozen", "group"]
WIDE_CHANNELS = 16
"""From so many input channels on a strided shortcut is a plain convolution; see :class:`NarrowShortcut`."""


class Layout(NamedTuple):
    """Blocks and depths of the four stages, the stem, and torchvision's ImageNet weights if there are any."""

    block: type[BasicBlock | Bottleneck]
    depths: tuple[int, int, int, int]
    max_pool: bool
    imagenet: Any


# Without max-pooling the last stage has stride 16 instead of 32, enough for scenes of about 100 px.
LAYOUTS: Mapping[BackboneName, Layout] = {
    "resnet18": Layout(BasicBlock, (2, 2, 2, 2), True, ResNet18_Weights.IMAGENET1K_V1),
    "resnet50": Layout(Bottleneck, (3, 4, 6, 3), True, ResNet50_Weights.IMAGENET1K_V1),
    "resnet101": Layout(Bottleneck, (3, 4, 23, 3), True, ResNet101_Weights.IMAGENET1K_V1),
    "tiny_resnet18": Layout(BasicBlock, (2, 2, 2, 2), False, None),
}


class BackboneSpec(Protocol):
    """The settings of a detector that decide its backbone."""

    @property
    def backbone(self) -> BackboneName:
        """Which layout."""

    @property
    def base_width(self) -> int:
        """Channels of the first stage."""

    @property
    def norm(self) -> Norm:
        """Which normalisation."""


def stride_px(name: BackboneName) -> int:
    """Pixels between neighbouring positions of the last stage."""
    return 32 if LAYOUTS[name].max_pool else 16


def norm_layer(norm: Norm) -> Callable[[int], nn.Module]:
    """The constructor of a normalisation layer from its number of channels.

    Args:
        norm: ``batch`` uses the statistics of each worker's batch; ``frozen`` applies stored ones, so that a
            loss does not depend on how a batch is split; ``group`` uses those of one image.
    """
    if norm == "batch":
        return nn.BatchNorm2d
    return FrozenNorm if norm == "frozen" else _group_norm


class FrozenNorm(FrozenBatchNorm2d):  # type: ignore[misc]  # torchvision has no types
    """torchvision's, which leaves half precision in half precision.

    Its own product with float32 statistics would be float32, and with it every map that a backbone keeps for the
    backward pass: more memory under autocast than without.
    """

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        """Scale and shift each channel; half precision is rounded once, at the end."""
        if x.dtype == self.weight.dtype:
            scaled: Tensor = super().forward(x)
            return scaled
        return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(gcd(32, channels), channels)


class ResNet(nn.Module):
    """A ResNet up to its last stage; parameters are named as torchvision names them.

    Args:
        layout: Blocks, depths, stem.
        base_width: Channels of the stem and the first stage; doubled in each further stage.
        norm: Normalisation layer.

    Source: He et al., Deep Residual Learning, CVPR 2016.
    """

    def __init__(self, layout: Layout, *, base_width: int, norm: Norm) -> None:
        super().__init__()
        normalised = norm_layer(norm)
        self.conv1 = nn.Conv2d(3, base_width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = normalised(base_width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1) if layout.max_pool else nn.Identity()
        stage = partial(_stage, layout.block, norm=normalised)
        widths = [base_width * factor for factor in (1, 2, 4, 8)]
        outs = [width * layout.block.expansion for width in widths]
        self.layer1 = stage(base_width, widths[0], layout.depths[0], stride=1)
        self.layer2 = stage(outs[0], widths[1], layout.depths[1], stride=2)
        self.layer3 = stage(outs[1], widths[2], layout.depths[2], stride=2)
        self.layer4 = stage(outs[2], widths[3], layout.depths[3], stride=2)
        self.out_channels: int = outs[3]
        self.imagenet = layout.imagenet
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d _ _"]:
        """Extract the features of the last stage from normalised images."""
        features: Tensor = self.layer4(self.trunk(images))
        return features

    def trunk(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d _ _"]:
        """Extract the features of the last stage but one (C4), at half the stride of the last."""
        stem = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        features: Tensor = self.layer3(self.layer2(self.layer1(stem)))
        return features

    def stages(self, images: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, Tensor, Tensor]:
        """Extract the features of the last three stages (C3, C4, C5), each at twice the stride of the one before."""
        stem = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        c3 = self.layer2(self.layer1(stem))
        c4 = self.layer3(c3)
        return c3, c4, self.layer4(c4)


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


def build_backbone(spec: BackboneSpec) -> ResNet:
    """Build the backbone a detector asks for, with random weights.

    Args:
        spec: Names the layout, its width and its normalisation.

    Returns:
        A feature extractor with ``out_channels``.
    """
    return ResNet(LAYOUTS[spec.backbone], base_width=spec.base_width, norm=spec.norm)


def freeze_stages(backbone: ResNet, stages: int) -> None:
    """Let the first parts of a backbone learn nothing.

    Args:
        backbone: Changed in place.
        stages: How many parts, 0 to 4, the stem counting as one.
    """
    stem = nn.ModuleList([backbone.conv1, backbone.bn1])
    for part in (stem, backbone.layer1, backbone.layer2, backbone.layer3)[:stages]:
        part.requires_grad_(False)


def load_backbone_weights(backbone: ResNet, file: Path | None = None) -> None:
    """Load ImageNet weights into a backbone; the classifier's last layer in them is left out.

    Args:
        backbone: Changed in place.
        file: A state dict with torchvision's names; None takes torchvision's own, downloaded once.

    Raises:
        UserError: The file cannot be read, the download fails, or names or shapes do not fit. Nothing is
            loaded in part.
    """
    state = _published_weights(backbone) if file is None else read_weights(file)
    state = {name: value for name, value in state.items() if not name.startswith("fc.")}
    source = "the published ImageNet weights" if file is None else str(file)
    _refuse_misfits(backbone, state, source)
    # Counters of batches are absent from files older than they are, and from frozen normalisation.
    backbone.load_state_dict(OrderedDict(state), strict=False)


def _published_weights(backbone: ResNet) -> Mapping[str, Tensor]:
    if backbone.imagenet is None:
        raise UserError(
            "this backbone has no published ImageNet weights; set weights.kind to none, digits or checkpoint"
        )
    try:
        state: Mapping[str, Tensor] = backbone.imagenet.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{backbone.imagenet.url}: download failed ({error}); set weights.file to a downloaded copy"
        ) from error
    return state


def read_weights(file: Path) -> Mapping[str, Tensor]:
    """Read a state dict from a file that ``torch.save`` wrote.

    Raises:
        UserError: It cannot be read or holds something else.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}; set weights.file to a readable file of weights") from error
    except (EOFError, RuntimeError, UnpicklingError, ValueError) as error:
        raise UserError(f"{file}: not a file of weights; save a state dict with torch.save") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{file}: does not hold a state dict (names and tensors); save the model's state_dict() alone")
    return state


def _refuse_misfits(backbone: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    wanted = {name: tuple(value.shape) for name, value in backbone.state_dict().items() if not _is_counter(name)}
    given = {name: tuple(value.shape) for name, value in state.items() if not _is_counter(name)}
    problems = {
        "missing": sorted(wanted.keys() - given.keys()),
        "unknown": sorted(given.keys() - wanted.keys()),
        "of another shape": sorted(name for name in wanted.keys() & given.keys() if wanted[name] != given[name]),
    }
    found = [f"{kind}: {_shorten(names)}" for kind, names in problems.items() if names]
    if found:
        raise UserError(
            f"{source}: do not fit this backbone ({'; '.join(found)}); name weights of the same backbone and width"
        )


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _shorten(names: Sequence[str], shown: int = 3) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
