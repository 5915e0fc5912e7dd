"""Augmentation for training: where an image lands in the detector's input, and how its colours change.

A geometry is a resize to whole pixels, an optional mirroring and a shift by whole pixels, so boxes follow
pixels exactly. Coordinates are continuous: the upper left pixel covers 0 to 1.

N boxes, H x W an image's height and width, h x w those of the input, in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from jaxtyping import Float64  # noqa: TC002  (beartype resolves the annotations at run time)
from pydantic import Field, model_validator

from siod.value import Value

Share = Annotated[float, Field(ge=0, le=1)]

# Principal components of ImageNet's RGB values (Krizhevsky et al. 2012), as fb.resnet.torch published them.
_LIGHT_DEVIATIONS = np.array([0.2175, 0.0188, 0.0045])
_LIGHT_COMPONENTS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
_LUMA = np.array([0.299, 0.587, 0.114])


PAD_TO_PX = 32
"""Inputs that keep an image's proportions are padded right and below to a multiple of this."""


class ShortEdge(Value):
    """A resize that keeps proportions: the shorter edge gets one of ``lengths``, unless the longer passes ``longest``.

    All in pixels; a training image draws its length anew in every epoch.
    """

    lengths: Annotated[tuple[Annotated[int, Field(ge=32)], ...], Field(min_length=1)] = (640, 672, 704, 736, 768, 800)
    longest: Annotated[int, Field(ge=32)] = 1333


class Augmentation(Value):
    """What may happen to a training image. The defaults only fit it into the input.

    Args:
        input_size: Height and width of the detector's input in pixels; None with ``short_edge``.
        short_edge: Resize by the shorter edge instead; the images of a batch are padded to the largest of them.
        group_shapes: With ``short_edge``, images of like shape share a batch: wide or high, drawn to like lengths.
        scale: Least and greatest zoom, 1 fits the whole image; None leaves the zoom at 1.
        scale_step: Zooms are multiples of this step above the least; None draws from the whole range.
        shift_border_px: With ``scale``, the image point at the input's centre stays this far from the
            image's edge, or a half, a quarter, ... of it for images too small. 0 keeps the image's centre.
        flip: Probability of mirroring left and right.
        brightness: Greatest relative change.
        contrast: Greatest relative change, around the image's mean grey.
        saturation: Greatest relative change, around each pixel's grey.
        lighting: Standard deviation of the change along ImageNet's principal colour components.
    """

    unsaid_by_default: ClassVar[frozenset[str]] = frozenset({"short_edge", "group_shapes"})

    input_size: tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]] | None = None
    short_edge: ShortEdge | None = None
    group_shapes: bool = False
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] | None = None
    scale_step: Annotated[float, Field(gt=0)] | None = None
    shift_border_px: Annotated[int, Field(ge=0)] = 0
    flip: Share = 0.0
    brightness: Share = 0.0
    contrast: Share = 0.0
    saturation: Share = 0.0
    lighting: Share = 0.0

    @property
    def changes_colour(self) -> bool:
        """Whether pixels change more than their place."""
        return any((self.brightness, self.contrast, self.saturation, self.lighting))

    @model_validator(mode="after")
    def _settings_have_an_effect(self) -> Augmentation:
        if (self.input_size is None) == (self.short_edge is None):
            raise ValueError("set one of input_size and short_edge, and leave the other null")
        if self.short_edge is not None and self.scale is not None:
            raise ValueError("scale has no effect with short_edge; set it to null")
        if self.short_edge is None and self.group_shapes:
            raise ValueError("group_shapes has no effect with input_size, which is one shape for all; set it to false")
        if self.scale is None and (self.scale_step is not None or self.shift_border_px):
            raise ValueError("scale_step and shift_border_px have no effect without scale; set scale too")
        if self.scale is not None and self.scale[0] > self.scale[1]:
            raise ValueError(f"scale must go from the least to the greatest zoom, not {self.scale}")
        return self


CENTERNET_AUGMENTATION = Augmentation(
    input_size=(512, 512),
    scale=(0.6, 1.3),
    scale_step=0.1,
    shift_border_px=128,
    flip=0.5,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    lighting=0.1,
)
"""CenterNet's settings for COCO, which the paper trains with."""


SHORT_EDGE_AUGMENTATION = Augmentation(short_edge=ShortEdge(), group_shapes=True, flip=0.5)
"""detectron2's for COCO: one of six lengths, mirrored half of the time, wide and high images apart."""


@dataclass(frozen=True)
class Geometry:
    """Resize to ``size``, mirror if ``flip``, then put the upper left corner at ``shift`` of the input.

    All in whole pixels as (y, x); what leaves the input is cut, what stays empty is black.
    """

    source: tuple[int, int]
    size: tuple[int, int]
    shift: tuple[int, int]
    flip: bool
    input_size: tuple[int, int]

    @property
    def is_identity(self) -> bool:
        """Whether the input is the image as it is."""
        return self.source == self.size == self.input_size and self.shift == (0, 0) and not self.flip

    def matrix(self) -> Float64[np.ndarray, "2 3"]:
        """Affine map of image coordinates (x, y, 1) to those of the input."""
        (height, width), (y, x) = self.size, self.shift
        scale_y, scale_x = height / self.source[0], width / self.source[1]
        if self.flip:
            return np.array([[-scale_x, 0.0, x + width], [0.0, scale_y, y]])
        return np.array([[scale_x, 0.0, x], [0.0, scale_y, y]])

    def to_original(self) -> Float64[np.ndarray, "2 3"]:
        """Affine map of input coordinates (x, y, 1) to those of the image."""
        forward = self.matrix()
        scales = np.diag(1 / np.diag(forward))
        return np.concatenate([scales, -scales @ forward[:, 2:]], axis=1)


def draw_geometry(augmentation: Augmentation, rng: np.random.Generator, height: int, width: int) -> Geometry:
    """Draw where an image lands in the input.

    Args:
        augmentation: The ranges.
        rng: The image's own stream.
        height: Of the image in pixels.
        width: Of the image in pixels.

    Returns:
        A geometry; without ``scale`` the image fits the input and is centred.
    """
    if augmentation.short_edge is not None:
        length = augmentation.short_edge.lengths[int(rng.integers(len(augmentation.short_edge.lengths)))]
        flip = bool(augmentation.flip) and float(rng.random()) < augmentation.flip
        return fit_short_edge((height, width), length, augmentation.short_edge.longest, flip=flip)
    zoom, centre = 1.0, (height / 2, width / 2)
    if augmentation.scale is not None:
        zoom = _draw_zoom(augmentation.scale, augmentation.scale_step, rng)
        if augmentation.shift_border_px:
            centre = (
                _draw_centre(height, augmentation.shift_border_px, rng),
                _draw_centre(width, augmentation.shift_border_px, rng),
            )
    flip = bool(augmentation.flip) and float(rng.random()) < augmentation.flip
    input_size = augmentation.input_size or (height, width)
    return fit((height, width), input_size, zoom=zoom, centre=centre, flip=flip)


def fit_short_edge(source: tuple[int, int], length: int, longest: int, *, flip: bool = False) -> Geometry:
    """Scale an image to a length of its shorter edge, or less where its longer edge would pass its own.

    Args:
        source: Height and width of the image.
        length: Of the shorter edge in pixels.
        longest: Of the longer edge in pixels.
        flip: Mirror left and right.

    Returns:
        The geometry; the image lies in the upper left corner of an input that is a multiple of 32 px.

    Example:
        >>> fit_short_edge((480, 640), 800, 1333).size, fit_short_edge((480, 640), 800, 1333).input_size
        ((800, 1067), (800, 1088))
    """
    scale = min(length / min(source), longest / max(source))
    height, width = (max(round(side * scale), 1) for side in source)
    input_size = (-(-height // PAD_TO_PX) * PAD_TO_PX, -(-width // PAD_TO_PX) * PAD_TO_PX)
    return Geometry(source, (height, width), (0, 0), flip, input_size)


def fit(
    source: tuple[int, int],
    input_size: tuple[int, int],
    *,
    zoom: float = 1.0,
    centre: tuple[float, float] | None = None,
    flip: bool = False,
) -> Geometry:
    """Scale an image by ``zoom`` times what fits it into the input, and put one point of it at the centre.

    Args:
        source: Height and width of the image.
        input_size: Height and width of the input.
        zoom: 1 makes the image touch two opposite edges.
        centre: The (y, x) of the image that comes to lie at the input's centre; None for its own centre.
        flip: Mirror left and right.

    Returns:
        The geometry, rounded to whole pixels.
    """
    scale = zoom * min(input_size[0] / source[0], input_size[1] / source[1])
    size = (max(round(source[0] * scale), 1), max(round(source[1] * scale), 1))
    y, x = (source[0] / 2, source[1] / 2) if centre is None else centre
    middle = (y * size[0] / source[0], (source[1] - x if flip else x) * size[1] / source[1])
    shift = (round(input_size[0] / 2 - middle[0]), round(input_size[1] / 2 - middle[1]))
    return Geometry(source, size, shift, flip, input_size)


def _draw_zoom(scale: tuple[float, float], step: float | None, rng: np.random.Generator) -> float:
    if step is None:
        return float(rng.uniform(*scale))
    choices = int((scale[1] - scale[0]) / step + 1e-6) + 1
    return scale[0] + step * int(rng.integers(choices))


def _draw_centre(length: int, border: int, rng: np.random.Generator) -> float:
    while 2 * border >= length:
        border //= 2
    return float(rng.integers(border, length - border))


def warp_boxes(
    boxes_xyxy: Float64[np.ndarray, "N 4"], geometry: Geometry
) -> tuple[Float64[np.ndarray, "N 4"], np.ndarray]:
    """Move boxes as the geometry says and cut them at the input's edges.

    Args:
        boxes_xyxy: In the image's frame.
        geometry: The image's.

    Returns:
        The boxes in the input's frame, and for each whether anything of it is left.
    """
    forward = geometry.matrix()
    corners = boxes_xyxy.reshape(-1, 2, 2) * np.diag(forward) + forward[:, 2]
    limits = np.array(geometry.input_size[::-1], dtype=np.float64)
    low = corners.min(axis=1).clip(0, limits)
    high = corners.max(axis=1).clip(0, limits)
    return np.concatenate([low, high], axis=1), (high > low).all(axis=1)


def draw_colour(
    augmentation: Augmentation, rng: np.random.Generator, mean_rgb: Float64[np.ndarray, " 3"]
) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, " 3"]]:
    """Draw a change of colour: brightness, contrast and saturation in random order, then lighting.

    Each is affine in RGB, hence so is all of them together.

    Args:
        augmentation: The ranges.
        rng: The image's own stream.
        mean_rgb: Mean colour of the image, each in [0, 255]; contrast turns around its grey.

    Returns:
        Matrix and offset for RGB in [0, 255].
    """
    ranges = (augmentation.brightness, augmentation.contrast, augmentation.saturation)
    matrix, offset = np.eye(3), np.zeros(3)
    to_grey = np.tile(_LUMA, (3, 1))
    factors = 1 + np.array(ranges) * rng.uniform(-1, 1, size=3)
    for kind in rng.permutation(3).tolist():
        factor = factors[kind]
        if kind == 0:  # brightness: f x
            matrix, offset = factor * matrix, factor * offset
        elif kind == 1:  # contrast: f x + (1 - f) mean grey
            grey = _LUMA @ (matrix @ mean_rgb + offset)
            matrix, offset = factor * matrix, factor * offset + (1 - factor) * grey
        else:  # saturation: f x + (1 - f) grey of each pixel
            blend = factor * np.eye(3) + (1 - factor) * to_grey
            matrix, offset = blend @ matrix, blend @ offset
    lights = rng.standard_normal(3) * augmentation.lighting
    return matrix, offset + 255 * (_LIGHT_COMPONENTS @ (_LIGHT_DEVIATIONS * lights))
