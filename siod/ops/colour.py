"""Changes of colour and sharpness of many images at once, each by its own amount.

The arithmetic is that of torchvision's functions for one image, to the bit on a CPU's single thread; those take one
amount for all images of a call. The mean grey of an image above 65,793 pixels depends in its last bit on the number of
threads, there and here.

B images, H x W pixels.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, UInt8  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor
from torch.nn import functional

from siod.ops.padding import send

# ITU-R BT.601.
LUMA = (0.2989, 0.587, 0.114)
WHITE = 255
# Just under 256, so that each of the 256 values gets an equal share of [0, 1].
LEVELS = WHITE + 1 - 1e-3
# Below 1 / 255, the least difference of two values: keeps quotients of 0 at 0.
LEAST = 1 / 512
BLUR_WIDTH = 7
# Which of value, p, q and t (below) red, green and blue are in each sixth of the colour wheel; a whole turn is as none.
CHANNELS = np.array([[0, 2, 1, 1, 3, 0, 0], [3, 0, 0, 2, 1, 1, 3], [1, 1, 3, 0, 0, 2, 1]])


def grey_levels(images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
    """How bright each pixel is to the eye, in [0, 255], not rounded.

    Example:
        >>> grey_levels(torch.tensor([200, 100, 0], dtype=torch.uint8).view(1, 3, 1, 1)).flatten()
        tensor([118.4800])
    """
    red, green, blue = images.unbind(dim=1)
    return red.mul(LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2]).unsqueeze(1)


def blend(
    images: UInt8[Tensor, "b 3 h w"], factors: Float[Tensor, " b"], rests: Float[Tensor, " b"], *, around_mean: int = 0
) -> UInt8[Tensor, "b 3 h w"]:
    """Scale colours around a grey: brightness, contrast and saturation are three cases of it.

    Args:
        images: RGB.
        factors: f, of each image's colours.
        rests: 1 - f, of each image's grey; 0 around black, which changes brightness.
        around_mean: Of so many images, the first ones, the grey is their mean, which changes contrast; of the others it
            is that of each pixel, which changes saturation.

    Returns:
        f x + (1 - f) grey, rounded down and cut to [0, 255].

    Example:
        >>> image = torch.tensor([200, 100, 0], dtype=torch.uint8).view(1, 3, 1, 1)
        >>> half, none = torch.tensor([0.5]), torch.tensor([0.0])
        >>> blend(image, half, none).flatten(), blend(image, half, half).flatten()
        (tensor([100,  50,   0], dtype=torch.uint8), tensor([159, 109,  59], dtype=torch.uint8))
    """
    grey = grey_levels(images).floor_()
    if around_mean:
        grey[:around_mean].copy_(grey[:around_mean].mean(dim=(1, 2, 3), keepdim=True))
    return images.mul(_each(factors)).addcmul_(grey, _each(rests)).clamp_(0, WHITE).to(torch.uint8)


def turn_hue(images: UInt8[Tensor, "b 3 h w"], turns: Float[Tensor, " b"]) -> UInt8[Tensor, "b 3 h w"]:
    """Turn the colour wheel.

    Args:
        images: RGB.
        turns: Of each image, in whole turns; half a turn makes red cyan.

    Returns:
        RGB.

    Source: Smith, Color gamut transform pairs, SIGGRAPH 1978 (the hexcone model).

    Example:
        >>> turn_hue(torch.tensor([200, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1), torch.tensor([0.5])).flatten()
        tensor([  0, 200, 200], dtype=torch.uint8)
    """
    hue, saturation, value = _hexcone(images.float().mul_(1 / WHITE))
    hue.add_(turns[:, None, None])
    sixths = hue.sub_(hue.floor()).mul_(6)
    sixth = sixths.floor()
    within = sixths.sub_(sixth)
    # p = v (1 - s), q = v (1 - s f), t = v (1 - s (1 - f)), where f is how far into its sixth the hue lies
    less, pale = saturation * within, 1 - saturation
    q, t, p = (1 - less).mul_(value), (less + pale).mul_(value), pale * value
    table = send(CHANNELS, images.device).expand(len(images), -1, -1)
    places = table.gather(2, sixth.long().flatten(1)[:, None].expand(-1, 3, -1)).view(images.shape)
    return torch.stack([value, p, q, t], dim=1).gather(1, places).mul_(LEVELS).to(torch.uint8)


def _hexcone(shown: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b h w"], ...]:
    """Hue in turns, saturation and value of colours in [0, 1]; the hue of a grey is 0."""
    high = shown.amax(dim=1)
    spread = high - shown.amin(dim=1)
    saturation = spread / high.clamp(min=LEAST)
    red, green, blue = ((high[:, None] - shown) / spread.clamp(min=LEAST)[:, None]).unbind(dim=1)
    is_red, is_green = shown[:, 0] == high, shown[:, 1] == high
    sixths = torch.where(is_green, (red + 2).sub_(blue), (green + 4).sub_(red))
    sixths = torch.where(is_red, blue - green, sixths)
    return sixths.mul_(1 / 6).add_(1).frac_(), saturation, high


def blur(images: UInt8[Tensor, "b 3 h w"], sigmas_px: Float[Tensor, " b"]) -> UInt8[Tensor, "b 3 h w"]:
    """Blur by a Gaussian of 7 x 7 pixels, mirrored at the edges.

    Args:
        images: RGB, at least 4 pixels high and wide.
        sigmas_px: Standard deviation for each image, above 0.

    Returns:
        RGB, rounded to the nearest value.
    """
    # torchvision's places are 1 / sqrt(2) px apart, so that exp(-x^2) needs no factor.
    reach = (BLUR_WIDTH - 1) / (2 * math.sqrt(2))
    places = torch.linspace(-reach, reach, BLUR_WIDTH, device=images.device)
    line = (places / sigmas_px[:, None]).square().neg().softmax(dim=1)
    squares = (line[:, :, None] * line[:, None, :])[:, None]
    kernels = squares.expand(-1, 3, -1, -1).reshape(-1, 1, BLUR_WIDTH, BLUR_WIDTH)
    border = BLUR_WIDTH // 2
    shown = functional.pad(images.float(), [border] * 4, mode="reflect").flatten(0, 1)[None]
    return functional.conv2d(shown, kernels, groups=len(kernels)).round_().to(torch.uint8).view(images.shape)


def lose_colour(images: UInt8[Tensor, "b 3 h w"]) -> UInt8[Tensor, "b 3 h w"]:
    """Show the grey levels, rounded down."""
    return grey_levels(images).to(torch.uint8).expand_as(images)


def _each(amounts: Float[Tensor, " b"]) -> Float[Tensor, "b 1 1 1"]:
    return amounts[:, None, None, None]
