"""Strong views keep boxes on their objects, and depend on image and epoch alone."""

from __future__ import annotations

import pytest
import torch

from siod.methods.method import Moment, View
from siod.methods.strong import StrongView, strong_view
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
