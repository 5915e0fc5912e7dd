"""Strong views: the batch's images again, with other colours, covered patches, perhaps mirrored and moved.

They are made from the batch on its device, so that boxes known in its frame follow by whole pixels. Randomness comes
from seed, epoch and image, whatever the number of workers.

B images, H x W pixels, N boxes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from jaxtyping import UInt8  # noqa: TC002  (beartype resolves the annotations at run time)
from pydantic import Field
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from siod.data.transforms import Geometry, Share, warp_image
from siod.methods.method import View
from siod.value import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.methods.method import Moment
    from siod.types import Target

GREY = 128
LEAST_VISIBLE_PX = 2.0


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


def strong_view(view: View, image_ids: Sequence[int], strong: StrongView, moment: Moment) -> View:
    """Show images again, strongly changed, with their boxes where they are now.

    Args:
        view: The images and targets to start from; they are not changed.
        image_ids: One per image.
        strong: What may happen.
        moment: With the image ids, decides what does.

    Returns:
        A view of the same images; instances that left it are dropped.
    """
    images, targets = [], []
    for image, target, image_id in zip(view.images, view.targets, image_ids, strict=True):
        rng = np.random.default_rng((moment.seed, moment.epoch, image_id))
        geometry = _geometry(strong, rng, image.shape[1], image.shape[2])
        images.append(_covered(_recoloured(warp_image(image, geometry), strong, rng), strong, rng))
        targets.append(moved(target, geometry))
    return View(torch.stack(images), tuple(targets), view.mute)


def moved(target: Target, geometry: Geometry) -> Target:
    """Move the boxes of a target as its image was moved, cut at the edges; what left the image is dropped.

    Args:
        target: In the frame of the image.
        geometry: Where the image went.

    Returns:
        The target in the frame of the view.
    """
    if geometry.is_identity:
        return target
    boxes, seen = _moved(target.boxes_xyxy, geometry)
    hidden, hidden_seen = _moved(target.hidden_boxes_xyxy, geometry)
    return replace(
        target,
        boxes_xyxy=boxes[seen],
        labels=target.labels[seen],
        hidden_boxes_xyxy=hidden[hidden_seen],
        hidden_labels=target.hidden_labels[hidden_seen],
    )


def _moved(boxes_xyxy: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    matrix = torch.from_numpy(geometry.matrix()).to(boxes_xyxy)
    corners = boxes_xyxy.reshape(-1, 2, 2) * matrix[:, :2].diagonal() + matrix[:, 2]
    height, width = geometry.input_size
    limits = corners.new_tensor([width, height])
    low, high = corners.amin(dim=1).clamp(min=0).minimum(limits), corners.amax(dim=1).clamp(min=0).minimum(limits)
    return torch.cat([low, high], dim=1), ((high - low) >= LEAST_VISIBLE_PX).all(dim=1)


def _geometry(strong: StrongView, rng: np.random.Generator, height: int, width: int) -> Geometry:
    """All randomness is drawn whatever the settings, so that one setting does not change what another draws."""
    flip = float(rng.random()) < strong.flip
    y, x = rng.uniform(-1, 1, size=2) * strong.translate * (height, width)
    return Geometry((height, width), (height, width), (round(y), round(x)), flip, (height, width))


def _recoloured(image: UInt8[Tensor, "3 h w"], strong: StrongView, rng: np.random.Generator) -> UInt8[Tensor, "3 h w"]:
    jitter, grey, blur = rng.random(3)
    brightness, contrast, saturation, hue = rng.uniform(-1, 1, size=4)
    order, sigma = rng.permutation(4).tolist(), float(rng.uniform(0.1, 2.0))
    if jitter < strong.jitter:
        changes = (
            lambda shown: tv.adjust_brightness(shown, 1 + float(brightness) * strong.brightness),
            lambda shown: tv.adjust_contrast(shown, 1 + float(contrast) * strong.contrast),
            lambda shown: tv.adjust_saturation(shown, 1 + float(saturation) * strong.saturation),
            lambda shown: tv.adjust_hue(shown, float(hue) * strong.hue) if strong.hue else shown,
        )
        for index in order:
            image = changes[index](image)
    if grey < strong.grey:
        image = tv.rgb_to_grayscale(image, num_output_channels=3)
    if blur < strong.blur:
        image = tv.gaussian_blur(image, [7, 7], [sigma, sigma])
    return image


def _covered(image: UInt8[Tensor, "3 h w"], strong: StrongView, rng: np.random.Generator) -> UInt8[Tensor, "3 h w"]:
    least, most = strong.cutouts
    for _ in range(int(rng.integers(least, most + 1)) if most else 0):
        height, width = image.shape[1:]
        (down, across), (y, x) = rng.random(2) * strong.cutout_share * (height, width), rng.random(2)
        top, left = int(y * (height - down)), int(x * (width - across))
        image = tv.erase(
            image, top, left, max(int(down), 1), max(int(across), 1), torch.full((1, 1, 1), GREY).to(image)
        )
    return image
