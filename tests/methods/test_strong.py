"""Strong views keep boxes on their objects, depend on image and epoch alone, and are those of the plain way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from siod.data.loading.pixels import warp_image
from siod.data.transforms import Geometry, warp_boxes
from siod.methods.co_student import CO_STUDENT_VIEW
from siod.methods.comining import RECOLOURED
from siod.methods.method import Moment, View
from siod.methods.steps.strong import strong_view
from siod.methods.strong import StrongView
from siod.methods.teacher_student import STAC_VIEW
from siod.types import Target

NONE = torch.zeros(0, 4)
NO_LABELS = torch.zeros(0, dtype=torch.long)
PLAIN = StrongView(jitter=0, grey=0, blur=0, cutouts=(0, 0))
FIRST = Moment(seed=0, epoch=1, step=0, steps=1, epochs=1)


def a_view() -> View:
    """A white rectangle on black, annotated, beside a hidden one."""
    image = torch.zeros(3, 32, 48, dtype=torch.uint8)
    image[:, 8:16, 4:20] = 255
    boxes, hidden = torch.tensor([[4.0, 8.0, 20.0, 16.0]]), torch.tensor([[30.0, 10.0, 40.0, 20.0]])
    return View(image[None], (Target(boxes, torch.tensor([1]), hidden, torch.tensor([2])),))


def test_a_view_without_changes_is_the_image() -> None:
    view = a_view()
    shown = strong_view(view, [7], PLAIN, FIRST)
    assert torch.equal(shown.images, view.images)
    assert shown.targets == view.targets


def test_a_mirrored_image_has_its_boxes_mirrored() -> None:
    """48 px wide: 4 to 20 becomes 28 to 44, 30 to 40 becomes 8 to 18."""
    shown = strong_view(a_view(), [7], PLAIN.with_changes({"flip": 1.0}), FIRST)
    (target,) = shown.targets
    assert target.boxes_xyxy.tolist() == [[28.0, 8.0, 44.0, 16.0]]
    assert target.hidden_boxes_xyxy.tolist() == [[8.0, 10.0, 18.0, 20.0]]
    assert shown.images[0, 0, 8:16, 28:44].min() == 255


def test_pseudo_boxes_stay_told_apart_when_others_leave_the_image() -> None:
    """Moved by 40 px to the right at least, the first box is out of an image of 48 px; to the left, the second."""
    (known,) = a_view().targets
    boxes, flags = torch.tensor([[42.0, 8.0, 46.0, 16.0], [2.0, 8.0, 6.0, 16.0]]), torch.tensor([False, True])
    view = View(a_view().images, (replace(known, boxes_xyxy=boxes, labels=torch.tensor([1, 0]), pseudo=flags),))
    left = []
    for image_id in range(12):
        (target,) = strong_view(view, [image_id], PLAIN.with_changes({"translate": 0.3}), FIRST).targets
        assert target.pseudo is not None
        assert target.pseudo.tolist() == [label == 0 for label in target.labels.tolist()]
        left.append(len(target.labels))
    assert {1, 2} <= set(left)


@pytest.mark.parametrize("image_id", range(8))
def test_a_moved_image_has_its_boxes_on_what_they_held(image_id: int) -> None:
    shown = strong_view(a_view(), [image_id], PLAIN.with_changes({"flip": 0.5, "translate": 0.5}), FIRST)
    (target,) = shown.targets
    white = (shown.images[0, 0] == 255).nonzero()
    if len(target.labels) == 0:
        assert len(white) <= 2 * 16
        return
    (box,) = target.boxes_xyxy.tolist()
    low, high = white.amin(dim=0).tolist(), (white.amax(dim=0) + 1).tolist()
    assert box == [low[1], low[0], high[1], high[0]]


def test_what_happens_depends_on_seed_epoch_and_image_and_not_on_the_batch() -> None:
    view, strong = a_view(), StrongView(flip=0.5, translate=0.2, cutouts=(1, 3))
    both = View(view.images.repeat(2, 1, 1, 1), view.targets * 2)
    pair = strong_view(both, [3, 4], strong, FIRST)
    alone = strong_view(view, [4], strong, FIRST)
    assert torch.equal(pair.images[1], alone.images[0])
    assert not torch.equal(pair.images[0], pair.images[1])
    later = strong_view(view, [4], strong, Moment(seed=0, epoch=2, step=0, steps=1, epochs=2))
    assert not torch.equal(later.images, alone.images)
    assert view.images.shape == alone.images.shape


# All images at once against one after another.


def shown_alone(image: Tensor, strong: StrongView, rng: np.random.Generator) -> tuple[Tensor, Geometry]:
    """The plain way: torchvision's functions, one after the other, on one image."""
    height, width = image.shape[1:]
    flip = float(rng.random()) < strong.flip
    y, x = rng.uniform(-1, 1, size=2) * strong.translate * (height, width)
    geometry = Geometry((height, width), (height, width), (round(y), round(x)), flip, (height, width))
    image = recoloured_alone(warp_image(image, geometry), strong, rng)
    least, most = strong.cutouts
    for _ in range(int(rng.integers(least, most + 1)) if most else 0):
        (down, across), (y, x) = rng.random(2) * strong.cutout_share * (height, width), rng.random(2)
        top, left = int(y * (height - down)), int(x * (width - across))
        grey = torch.full((1, 1, 1), 128, dtype=torch.uint8)
        image = tv.erase(image, top, left, max(int(down), 1), max(int(across), 1), grey)
    return image, geometry


def recoloured_alone(image: Tensor, strong: StrongView, rng: np.random.Generator) -> Tensor:
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
    return tv.gaussian_blur(image, [7, 7], [sigma, sigma]) if blur < strong.blur else image


def some_view(images: int, side_px: int, generator: torch.Generator) -> View:
    """Noise, and shades of few colours; boxes with corners anywhere."""
    noise = torch.randint(0, 256, (images, 3, side_px, side_px + 16), dtype=torch.uint8, generator=generator)
    noise[::2] = noise[::2] // 50 * 50
    targets = []
    for _ in range(images):
        known, hidden = (
            torch.rand(int(torch.randint(0, 4, (), generator=generator)), 2, 2, generator=generator) for _ in range(2)
        )
        boxes, hidden_boxes = (
            torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1) * side_px for corners in (known, hidden)
        )
        targets.append(Target(boxes, torch.arange(len(boxes)), hidden_boxes, torch.arange(len(hidden_boxes)) + 9))
    return View(noise, tuple(targets))


VIEWS = {
    "stac": STAC_VIEW,
    "comining": RECOLOURED,
    "co_student": CO_STUDENT_VIEW,
    "everything": StrongView(jitter=0.9, grey=0.4, flip=0.5, translate=0.3, cutouts=(0, 4)),
    "no_hue": StrongView(hue=0.0, jitter=1.0),
    "grey_alone": PLAIN.with_changes({"grey": 0.5}),
    "blur_alone": PLAIN.with_changes({"blur": 0.5}),
}


@pytest.mark.parametrize("strong", VIEWS.values(), ids=VIEWS.keys())
@pytest.mark.parametrize(("images", "side_px", "epochs"), [(1, 40, 8), (9, 96, 4), (3, 272, 1)])
def test_all_images_at_once_look_as_one_after_another_to_the_bit(
    strong: StrongView, images: int, side_px: int, epochs: int
) -> None:
    """At 272 x 288 pixels a sum of greys passes what float32 counts in whole numbers."""
    view = some_view(images, side_px, torch.Generator().manual_seed(images))
    before, image_ids = view.images.clone(), [11 * (1 + row) for row in range(images)]
    for epoch in range(1, epochs + 1):
        shown = strong_view(view, image_ids, strong, Moment(seed=3, epoch=epoch, step=0, steps=1, epochs=epochs))
        for row, image_id in enumerate(image_ids):
            image, geometry = shown_alone(view.images[row], strong, np.random.default_rng((3, epoch, image_id)))
            assert torch.equal(shown.images[row], image)
            assert_moved(view.targets[row], shown.targets[row], geometry)
    assert torch.equal(view.images, before)


def assert_moved(before: Target, after: Target, geometry: Geometry) -> None:
    """By the loader's own arithmetic; sides below 2 px are gone."""
    for name in ("", "hidden_"):
        boxes, _ = warp_boxes(getattr(before, f"{name}boxes_xyxy").numpy().astype(np.float64), geometry)
        seen = ((boxes[:, 2:] - boxes[:, :2]) >= 2).all(axis=1) | geometry.is_identity
        np.testing.assert_allclose(getattr(after, f"{name}boxes_xyxy").numpy(), boxes[seen], atol=1e-4)
        assert getattr(after, f"{name}labels").tolist() == getattr(before, f"{name}labels")[seen].tolist()


def test_images_of_which_nothing_is_asked_are_copied_as_they_are() -> None:
    view = some_view(3, 40, torch.Generator().manual_seed(0))
    shown = strong_view(view, [1, 2, 3], PLAIN, FIRST)
    assert torch.equal(shown.images, view.images)
    assert shown.images.data_ptr() != view.images.data_ptr()
    assert shown.targets == view.targets
