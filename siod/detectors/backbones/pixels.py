"""What normalises images: the statistics of the pixels that weights were learnt from."""

from __future__ import annotations

from typing import NamedTuple


class PixelStatistics(NamedTuple):
    """Mean and standard deviation of a data set's pixels in [0, 1], in RGB order."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


COCO_PIXELS = PixelStatistics((0.470, 0.447, 0.408), (0.278, 0.274, 0.289))

IMAGENET_PIXELS = PixelStatistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

# Pixels x in [0, 255] become (x - 127) / 128.
LITE_PIXELS = PixelStatistics((127 / 255,) * 3, (128 / 255,) * 3)

# Pixels in [0, 1] as they are.
UNIT_PIXELS = PixelStatistics((0.0,) * 3, (1.0,) * 3)
