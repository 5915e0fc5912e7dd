"""Two views of one image, weakly and strongly augmented, and the way of boxes between them.

A teacher looks at the weak view and labels it; the student learns those labels on the strong one.

N boxes; H x W the image, h x w a view, in pixels. Frames are continuous: the upper left pixel covers 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, UInt8  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor  # noqa: TC002  (likewise)

from siod.data.loading.pixels import change_colour, mean_rgb, warp_image
from siod.data.transforms import Augmentation, Geometry, draw_colour, draw_geometry


@dataclass(frozen=True)
class View:
    """An image as one augmentation shows it, and where it lies in the image's frame."""

    image: UInt8[Tensor, "3 h w"]
    geometry: Geometry


@dataclass(frozen=True)
class ViewPair:
    """Two views of the same image."""

    weak: View
    strong: View


def draw_views(
    image: UInt8[Tensor, "3 H W"],
    weak: Augmentation,
    strong: Augmentation,
    key: tuple[int, int, int],
    *,
    same_geometry: bool = False,
) -> ViewPair:
    """Draw the two views of an image.

    Args:
        image: RGB.
        weak: What the teacher's view may undergo.
        strong: What the student's may.
        key: Seed, epoch and place of the image; equal keys give equal views.
        same_geometry: Show both views in the weak one's place; only colours differ then.

    Returns:
        The views. The strong one's randomness does not depend on the weak one's settings.
    """
    rngs = [np.random.default_rng((*key, stream)) for stream in range(2)]
    first = _view(image, weak, rngs[0], None)
    return ViewPair(first, _view(image, strong, rngs[1], first.geometry if same_geometry else None))


def _view(
    image: UInt8[Tensor, "3 H W"], augmentation: Augmentation, rng: np.random.Generator, given: Geometry | None
) -> View:
    height, width = image.shape[1:]
    geometry = draw_geometry(augmentation, rng, height, width)
    if given is not None:
        geometry = given
    shown = warp_image(image, geometry)
    if augmentation.changes_colour:
        shown = change_colour(shown, *draw_colour(augmentation, rng, mean_rgb(shown)))
    return View(shown, geometry)


def between(source: Geometry, target: Geometry) -> Float64[np.ndarray, "2 3"]:
    """Affine map of one view's coordinates (x, y, 1) to those of another view of the same image.

    Example:
        >>> one = Geometry((10, 20), (10, 20), (0, 0), flip=False, input_size=(10, 20))
        >>> other = Geometry((10, 20), (20, 40), (0, 3), flip=True, input_size=(20, 40))
        >>> between(one, other).tolist()
        [[-2.0, 0.0, 43.0], [0.0, 2.0, 0.0]]
    """
    back, forward = source.to_original(), target.matrix()
    linear = forward[:, :2] @ back[:, :2]
    return np.concatenate([linear, forward[:, :2] @ back[:, 2:] + forward[:, 2:]], axis=1)


def move_boxes(
    boxes_xyxy: Float64[np.ndarray, "N 4"], source: Geometry, target: Geometry
) -> tuple[Float64[np.ndarray, "N 4"], Bool[np.ndarray, " N"]]:
    """Move boxes from one view to another of the same image and cut them at its edges.

    Args:
        boxes_xyxy: In the source's frame.
        source: Where the boxes were found.
        target: Where they are wanted.

    Returns:
        The boxes in the target's frame, and for each whether anything of it is left.
    """
    matrix = between(source, target)
    corners = boxes_xyxy.reshape(-1, 2, 2) * np.diag(matrix) + matrix[:, 2]
    limits = np.array(target.input_size[::-1], dtype=np.float64)
    low, high = corners.min(axis=1).clip(0, limits), corners.max(axis=1).clip(0, limits)
    return np.concatenate([low, high], axis=1), (high > low).all(axis=1)
