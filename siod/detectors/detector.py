"""What every detector offers to training and evaluation; a family from outside finds all it derives from here.

B images of H x W pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, UInt8  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor, nn

from siod.detectors.backbones.pixels import COCO_PIXELS, PixelStatistics
from siod.detectors.spec import DetectorSpec
from siod.errors import UserError
from siod.ops.padding import padded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from siod.detectors.backbones.backbone import Backbone
    from siod.types import DenseLevel, Detections, LossTerm, Mined, PaddedDetections, Target

__all__ = ["Detector", "DetectorSpec", "normalise"]


class Detector(nn.Module, ABC):
    """A detector seen from outside: only ``forward`` touches parameters, everything else is arithmetic.

    ``forward`` may therefore be wrapped (distributed data parallel, compilation) while the other methods
    are called on the bare detector with what it returned. Every parameter takes part in every loss.

    Attributes:
        num_classes: Classes it tells apart.
        backbone: The part that initial weights are loaded into; it has ``out_channels``.
        loss_weights: The factor of each term that ``losses`` returns.
        size_divisor: Height and width of the images must be multiples of it.
        half_precision: What ``forward`` multiplies in, ``torch.bfloat16`` or ``torch.float16``; None for the
            precision of the weights. Nothing else runs under autocast, so what is compared or decoded must be
            returned in float32.
    """

    num_classes: int
    backbone: Backbone
    loss_weights: Mapping[str, float]
    size_divisor: int
    half_precision: torch.dtype | None = None

    def __call__(self, images: Tensor, *others: Any, **named: Any) -> Any:
        """Call ``forward``, under autocast if ``half_precision`` says so."""
        if self.half_precision is None:
            return super().__call__(images, *others, **named)
        with torch.autocast(images.device.type, dtype=self.half_precision):
            return super().__call__(images, *others, **named)

    @abstractmethod
    def forward(self, images: UInt8[Tensor, "b 3 h w"], targets: Sequence[Target] | None = None) -> Any:
        """Compute the outputs; the pixels are normalised here.

        Args:
            images: RGB.
            targets: One per image in training, for a detector whose second stage looks at sampled regions; the
                others do not read them. None where detections are wanted.

        Returns:
            Whatever the family needs; passed on to the methods below.
        """

    def size_of(self, images: UInt8[Tensor, "b 3 h w"]) -> tuple[int, int]:
        """Height and width of the images.

        Raises:
            ValueError: One of them is no multiple of ``size_divisor``.
        """
        height, width = images.shape[-2:]
        if height % self.size_divisor or width % self.size_divisor:
            message = f"multiples of {self.size_divisor}, got {height}x{width}"
            raise ValueError(f"images must have a height and width that are {message}")
        return height, width

    @abstractmethod
    def encode(self, targets: Sequence[Target], outputs: Any) -> Any:
        """Turn boxes into dense targets.

        Args:
            targets: One per image, boxes in pixels of the input. Hidden instances are not read.
            outputs: Of ``forward``; they tell sizes and device.

        Returns:
            Passed on to ``levels`` and ``losses``.
        """

    @abstractmethod
    def levels(self, outputs: Any, encoded: Any) -> tuple[DenseLevel, ...]:
        """What a miner may look at, one entry per feature level."""

    @abstractmethod
    def losses(self, outputs: Any, encoded: Any, mined: Sequence[Mined]) -> dict[str, LossTerm]:
        """Compare outputs and targets.

        Args:
            outputs: Of ``forward``.
            encoded: Of ``encode``; it is not changed.
            mined: One per level, in the order of ``levels``.

        Returns:
            Named, unweighted terms; the names are those of ``loss_weights``.
        """

    def select(self, outputs: Any, images: slice) -> Any:
        """The outputs of some of the images, as if they had been a batch of their own.

        Args:
            outputs: Of ``forward``.
            images: Which ones.

        Returns:
            What the other methods take as outputs of these images.

        Raises:
            UserError: The family keeps nothing that belongs to one image (``DetectorSpec.dense_outputs``).
        """
        del outputs, images
        raise UserError(f"{type(self).__name__} has no dense outputs to select from; take another detector or method")

    @abstractmethod
    def decode(self, outputs: Any) -> list[Detections]:
        """Read detections from the outputs.

        Args:
            outputs: Of ``forward``.

        Returns:
            One per image, best first, boxes in pixels of the input.
        """

    def decode_padded(self, outputs: Any) -> PaddedDetections:
        """The detections of ``decode`` as one table, for work on all images at once.

        A family that finds a fixed number an image overrides it, to spare the wait for their lengths.
        """
        return padded(self.decode(outputs))

    def load_published(
        self, file: Path | None = None, *, category_ids: Sequence[int] | None = None, category_names: Sequence[str] = ()
    ) -> None:
        """Begin with the weights that are published for the family (``weights.kind`` published).

        Args:
            file: They are in it; None where the settings name none, for a family that fetches its own.
            category_ids: The data set's number of each class, for class layers whose rows are COCO's; None takes them
                all.
            category_names: Of the classes, for class layers whose rows have names (``DetectorSpec.published_by_name``).

        Raises:
            UserError: There are none, they cannot be had, or they do not fit.
        """
        del file, category_ids, category_names
        raise UserError("torchvision publishes no detector of this family; set weights.kind to imagenet or checkpoint")


def normalise(images: UInt8[Tensor, "b 3 h w"], pixels: PixelStatistics = COCO_PIXELS) -> Float[Tensor, "b 3 h w"]:
    """Shift and scale pixels by a mean and a standard deviation.

    Args:
        images: RGB.
        pixels: torchvision's detectors were trained with ImageNet's, CenterNet with COCO's.

    Returns:
        float32 with channels last in memory, which convolutions on CPU and GPU alike work faster on.
    """
    shift, scale = _shift_and_scale(images.device, pixels)
    return images.to(torch.float32, memory_format=torch.channels_last).sub_(shift).mul_(scale)


@cache
def _shift_and_scale(device: torch.device, pixels: PixelStatistics) -> tuple[Tensor, Tensor]:
    # Kept per device: a fresh copy in every step would make the host wait for the device.
    with torch.inference_mode(mode=False):
        shift = torch.tensor(pixels.mean, device=device).view(3, 1, 1) * 255
        scale = 1 / (torch.tensor(pixels.deviation, device=device).view(3, 1, 1) * 255)
    return shift, scale
