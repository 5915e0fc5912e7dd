"""Image files as people see them: the frame their pixels are stored in, the frame they are shown in, and their tones.

siod takes boxes in the stored frame, as COCO does. Tools that turn a photograph before it is annotated write boxes, and
often sizes, of the shown frame, which EXIF data asks for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

UPRIGHT = 1
SIDEWAYS = (5, 6, 7, 8)
"""Orientations that exchange width and height."""

# What undoes Pillow's own turning of TIFF files.
_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def orientation_of(file: Image.Image) -> int:
    """How an image that is not loaded yet asks to be shown: 1 as it is stored, 2 to 8 mirrored or turned.

    Source: Exif 2.32, tag 0x0112.
    """
    found = file.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    return found if found in _BACK else UPRIGHT


def stored(file: Image.Image) -> Image.Image:
    """The image with its pixels as they are stored.

    Pillow turns TIFF files when it loads them, and no other format.

    Args:
        file: Opened and not loaded yet.
    """
    if file.format != "TIFF":
        return file
    orientation = orientation_of(file)
    file.load()
    return file if orientation == UPRIGHT else file.transpose(_BACK[orientation])


def stored_size(file: Image.Image) -> tuple[int, int]:
    """Width and height of the stored pixels of an opened image, without decoding them."""
    width, height = file.size
    turned = file.format == "TIFF" and orientation_of(file) in SIDEWAYS
    return (height, width) if turned else (width, height)


def read_frame(path: Path) -> tuple[tuple[int, int], int]:
    """Stored width and height of an image file, and its orientation, without decoding it.

    Raises:
        OSError: The file is missing or no image; so do ValueError, SyntaxError and Pillow's DecompressionBombError.
    """
    with Image.open(path) as file:
        return stored_size(file), orientation_of(file)


def shown_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Width and height an image of a stored size is shown with.

    Example:
        >>> shown_size((100, 40), 6)
        (40, 100)
    """
    return (size[1], size[0]) if orientation in SIDEWAYS else size


def point_in_stored(x: float, y: float, size: tuple[int, int], orientation: int) -> tuple[float, float]:
    """Where a point of the shown frame lies in the stored one.

    Args:
        x: From the left edge as shown, in pixels.
        y: From the upper edge as shown.
        size: Stored width and height.
        orientation: 1 to 8.

    Example:
        >>> point_in_stored(10, 20, (100, 40), 6)  # the upper edge of what is shown is the left edge of what is stored
        (20, 30)
    """
    width, height = size
    return {
        1: (x, y),
        2: (width - x, y),
        3: (width - x, height - y),
        4: (x, height - y),
        5: (y, x),
        6: (y, height - x),
        7: (width - y, height - x),
        8: (width - y, x),
    }[orientation]


def box_in_stored(corners: Sequence[float], size: tuple[int, int], orientation: int) -> tuple[float, ...]:
    """The box of the stored frame that a box of the shown frame covers.

    Args:
        corners: x1, y1, x2, y2 as shown, in pixels.
        size: Stored width and height.
        orientation: 1 to 8.

    Example:
        >>> box_in_stored((10, 20, 30, 90), (100, 40), 6)
        (20, 10, 90, 30)
    """
    x1, y1, x2, y2 = corners
    first, last = (point_in_stored(x, y, size, orientation) for x, y in ((x1, y1), (x2, y2)))
    # Where an axis points the other way, the far corner is the near one. A box without area stays one.
    origin, unit = (point_in_stored(end, end, size, orientation) for end in (0, 1))
    ends = [(b, a) if turned else (a, b) for a, b, turned in zip(first, last, np.less(unit, origin), strict=True)]
    return ends[0][0], ends[1][0], ends[0][1], ends[1][1]


def box_in_shown(corners: Sequence[float], size: tuple[int, int], orientation: int) -> tuple[float, ...]:
    """The box of the shown frame that a box of the stored frame covers; undoes :func:`box_in_stored`.

    Args:
        corners: x1, y1, x2, y2 as stored, in pixels.
        size: Stored width and height.
        orientation: 1 to 8.

    Example:
        >>> box_in_shown((20, 10, 90, 30), (100, 40), 6)
        (10, 20, 30, 90)
    """
    # A quarter turn is undone by the other one, a mirroring by itself.
    return box_in_stored(corners, shown_size(size, orientation), {6: 8, 8: 6}.get(orientation, orientation))


def visible(file: Image.Image) -> Image.Image:
    """An image as RGB to look at, in its stored frame.

    Args:
        file: Opened and not loaded yet. Tones beyond 8 bits are stretched from the darkest to the brightest, because a
            file does not say how many bits a camera used; NaN is black.

    Returns:
        8 bits a colour.
    """
    image = stored(file)
    if image.mode[0] not in "IF":
        return image.convert("RGB")
    tones = np.nan_to_num(np.asarray(image).astype(np.float64), nan=0.0)
    low, high = float(tones.min()), float(tones.max())
    stretched = (tones - low) * (255 / (high - low) if high > low else 1.0)
    return Image.fromarray(stretched.clip(0, 255).round().astype(np.uint8)).convert("RGB")
