"""The settings of strong views; ``siod.methods.steps.strong`` makes them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from siod.data.transforms import Share
from siod.value import Value


class StrongView(Value):
    """What happens to an image, each with its probability or range.

    Args:
        jitter: Probability of changing brightness, contrast, saturation and hue by up to these shares.
        brightness: Greatest relative change.
        contrast: Greatest relative change.
        saturation: Greatest relative change.
        hue: Greatest change, in turns of the colour wheel.
        grey: Probability of losing all colour.
        blur: Probability of blurring by 0.1 to 2 px.
        cutouts: Least and greatest number of grey rectangles.
        cutout_share: Greatest width and height of one, as a share of the image's.
        flip: Probability of mirroring left and right.
        translate: Greatest shift, as a share of width and height; what comes in is black.
    """

    jitter: Share = 0.8
    brightness: Share = 0.4
    contrast: Share = 0.4
    saturation: Share = 0.4
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    grey: Share = 0.2
    blur: Share = 0.5
    cutouts: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = (0, 3)
    cutout_share: Share = 0.4
    flip: Share = 0.0
    translate: Share = 0.0
