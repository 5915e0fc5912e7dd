"""Decoded images as tensors, and what augmentation does to them: geometries move pixels, colours mix them.

H x W an image's height and width, h x w those of the input, in pixels.
"""

from __future__ import annotations

import numpy as np  # noqa: TC002  (beartype resolves the annotations at run time)
import torch
from jaxtyping import Float64, UInt8  # noqa: TC002  (likewise)
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from siod.data.transforms import Geometry  # noqa: TC001  (likewise)


def as_tensor(pixels: UInt8[np.ndarray, "H W 3"]) -> UInt8[Tensor, "3 H W"]:
    """Decoded pixels as a tensor, not copied.

    They keep the order they come in (interleaved), in which resizing takes half as long.

    Args:
        pixels: Of :func:`siod.data.images.decode_rgb`.

    Returns:
        A view of them, channels first.
    """
    return torch.from_numpy(pixels).permute(2, 0, 1)


def warp_image(image: UInt8[Tensor, "3 H W"], geometry: Geometry) -> UInt8[Tensor, "3 h w"]:
    """Move pixels as the geometry says, interpolating with antialiasing where it shrinks.

    Args:
        image: RGB.
        geometry: Drawn for an image of this size.

    Returns:
        The input, black where the image does not reach.
    """
    if geometry.is_identity:
        return image.contiguous()
    if geometry.size != geometry.source:
        image = tv.resize(image, list(geometry.size), antialias=True)
    if geometry.flip:
        image = tv.horizontal_flip(image)
    (height, width), (y, x) = geometry.input_size, geometry.shift
    canvas = image.new_zeros((3, height, width))
    top, left = max(y, 0), max(x, 0)
    seen = image[:, max(-y, 0) : max(height - y, 0), max(-x, 0) : max(width - x, 0)]
    canvas[:, top : top + seen.shape[1], left : left + seen.shape[2]] = seen
    return canvas


def change_colour(
    image: UInt8[Tensor, "3 h w"], matrix: Float64[np.ndarray, "3 3"], offset: Float64[np.ndarray, " 3"]
) -> UInt8[Tensor, "3 h w"]:
    """Apply an affine change to every pixel's RGB; results are rounded and cut to [0, 255]."""
    pixels = image.flatten(1).float()
    changed = torch.addmm(torch.from_numpy(offset).float()[:, None], torch.from_numpy(matrix).float(), pixels)
    return changed.round_().clamp_(0, 255).to(torch.uint8).reshape(image.shape)


def mean_rgb(image: UInt8[Tensor, "3 h w"]) -> Float64[np.ndarray, " 3"]:
    """Mean colour of an image, each channel in [0, 255]."""
    means: Float64[Tensor, " 3"] = image.flatten(1).sum(dim=1, dtype=torch.int64).double() / image[0].numel()
    return means.numpy()
