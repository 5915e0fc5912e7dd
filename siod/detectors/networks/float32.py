"""Layers that compute in float32 while the network around them computes in half precision.

bfloat16 has eight significant bits: between 64 and 128 neighbouring numbers are half a unit apart. A last layer whose
sum is rounded like that gives boxes that are off by pixels, and neighbouring positions of one score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


class _Float32Conv2d(nn.Conv2d):
    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.to(self.weight.dtype))


class _Float32Linear(nn.Linear):
    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.to(self.weight.dtype))


_TWINS: Mapping[type[nn.Module], type[nn.Module]] = {nn.Conv2d: _Float32Conv2d, nn.Linear: _Float32Linear}


def in_float32(*layers: nn.Module) -> None:
    """Let layers leave autocast alone: their input is taken to the precision of their weights, and so is their sum.

    Without autocast nothing changes, not a bit. Names of parameters stay, also those of torchvision's modules.

    Args:
        layers: Convolutions and linear layers, changed in place.

    Raises:
        ValueError: A layer is of another kind.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> with torch.autocast("cpu", dtype=torch.bfloat16):
        ...     before = layer(torch.ones(1)).dtype
        ...     in_float32(layer)
        ...     print(before, layer(torch.ones(1)).dtype)
        torch.bfloat16 torch.float32
    """
    for layer in layers:
        if type(layer) not in _TWINS:
            raise ValueError(f"layers must be convolutions or linear layers, got {type(layer).__name__}")
        layer.__class__ = _TWINS[type(layer)]
