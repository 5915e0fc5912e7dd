"""The backbones of our own as tables: ResNets and EfficientNet-Lite, and the normalisations backbones can have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

Norm = Literal["batch", "frozen", "group"]

DEFAULT_WIDTH = 64
"""Channels of a ResNet's first stage, as published."""


class Layout(NamedTuple):
    """Blocks and depths of a ResNet's four stages, and whether the stem pools."""

    block: Literal["basic", "bottleneck"]
    depths: tuple[int, int, int, int]
    max_pool: bool = True

    def strides_px(self) -> tuple[int, ...]:
        """Pixels between neighbouring positions of each stage, from the finest to the last."""
        return (4, 8, 16, 32) if self.max_pool else (2, 4, 8, 16)


# Without max-pooling the last stage has stride 16 instead of 32, enough for scenes of about 100 px.
LAYOUTS: Mapping[str, Layout] = {
    "resnet18": Layout("basic", (2, 2, 2, 2)),
    "resnet34": Layout("basic", (3, 4, 6, 3)),
    "resnet50": Layout("bottleneck", (3, 4, 6, 3)),
    "resnet101": Layout("bottleneck", (3, 4, 23, 3)),
    "resnet152": Layout("bottleneck", (3, 8, 36, 3)),
    "tiny_resnet18": Layout("basic", (2, 2, 2, 2), max_pool=False),
}


class Scale(NamedTuple):
    """Factors of an EfficientNet-Lite's channels and number of blocks."""

    width: float
    depth: float


SCALES: Mapping[str, Scale] = {
    "efficientnet_lite0": Scale(1.0, 1.0),
    "efficientnet_lite1": Scale(1.0, 1.1),
    "efficientnet_lite2": Scale(1.1, 1.2),
}
LITE_STRIDES_PX = (2, 4, 8, 16, 32)
