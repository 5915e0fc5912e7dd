"""Strong views: the batch's images again, with other colours, covered patches, perhaps mirrored and moved.

They are made from the batch on its device, so that boxes known in its frame follow by whole pixels. Randomness comes
from seed, epoch and image, whatever the number of workers; the host draws it, and images change together.

B images, H x W pixels, N boxes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from siod.data.transforms import Geometry
from siod.methods.method import View
from siod.ops.colour import blend, blur, lose_colour, turn_hue
from siod.ops.padding import pad, send, unpad
from siod.types import pseudo_flags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jaxtyping import Bool, Float, UInt8

    from siod.methods.method import Moment
    from siod.methods.strong import StrongView
    from siod.types import Target

Kind = Literal["brightness", "contrast", "saturation", "hue"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Patch = tuple[int, int, int, int]
GREY = 128
LEAST_VISIBLE_PX = 2.0


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
    height, width = view.images.shape[2:]
    drawn = [
        _draw(strong, np.random.default_rng((moment.seed, moment.epoch, image_id)), height, width)
        for image_id in image_ids
    ]
    geometries = [each.geometry for each in drawn]
    images = _shifted(view.images, geometries)
    _recolour(images, drawn)
    _cover(images, [each.patches for each in drawn])
    return View(images, moved(view.targets, geometries), view.without_loss)


class _Drawn(NamedTuple):
    """What happens to one image.

    Attributes:
        geometry: Where it goes.
        changes: Of its colours, in their order, each a kind and an amount.
        loses_colour: Whether it becomes grey after them.
        sigma_px: Of the blur; None without.
        patches: The grey rectangles: first row, row after the last, first column, column after the last.
    """

    geometry: Geometry
    changes: tuple[tuple[Kind, float], ...]
    loses_colour: bool
    sigma_px: float | None
    patches: tuple[Patch, ...]


def _draw(strong: StrongView, rng: np.random.Generator, height: int, width: int) -> _Drawn:
    """All randomness is drawn whatever the settings, so that one setting does not change what another draws."""
    flip = float(rng.random()) < strong.flip
    y, x = rng.uniform(-1, 1, size=2) * strong.translate * (height, width)
    jitter, grey, blur = rng.random(3)
    amounts = rng.uniform(-1, 1, size=4) * (strong.brightness, strong.contrast, strong.saturation, strong.hue)
    order, sigma = rng.permutation(4).tolist(), float(rng.uniform(0.1, 2.0))
    changes = tuple((KINDS[index], float(amounts[index])) for index in order if KINDS[index] != "hue" or strong.hue)
    return _Drawn(
        Geometry((height, width), (height, width), (round(y), round(x)), flip, (height, width)),
        changes if jitter < strong.jitter else (),
        grey < strong.grey,
        sigma if blur < strong.blur else None,
        tuple(_draw_patches(strong, rng, height, width)),
    )


def _draw_patches(strong: StrongView, rng: np.random.Generator, height: int, width: int) -> Iterator[Patch]:
    least, most = strong.cutouts
    for _ in range(int(rng.integers(least, most + 1)) if most else 0):
        (down, across), (y, x) = rng.random(2) * strong.cutout_share * (height, width), rng.random(2)
        top, left = int(y * (height - down)), int(x * (width - across))
        yield top, top + max(int(down), 1), left, left + max(int(across), 1)


def _shifted(images: UInt8[Tensor, "b 3 h w"], geometries: Sequence[Geometry]) -> UInt8[Tensor, "b 3 h w"]:
    """A copy of the images, mirrored and moved by whole pixels; what stays empty is black."""
    if all(geometry.is_identity for geometry in geometries):
        return images.clone(memory_format=torch.contiguous_format)
    canvas = images.new_zeros(images.shape)
    for shown, image, geometry in zip(canvas, images, geometries, strict=True):
        (height, width), (y, x) = geometry.input_size, geometry.shift
        seen = (image.flip(2) if geometry.flip else image)[
            :, max(-y, 0) : max(height - y, 0), max(-x, 0) : max(width - x, 0)
        ]
        top, left = max(y, 0), max(x, 0)
        shown[:, top : top + seen.shape[1], left : left + seen.shape[2]].copy_(seen)
    return canvas


def _cover(images: UInt8[Tensor, "b 3 h w"], patches: Sequence[Sequence[Patch]]) -> None:
    """Put grey rectangles over the images, in place."""
    most = max(map(len, patches))
    if most == 0:
        return
    nowhere = (0, 0, 0, 0)
    edges = send(
        np.array([[*of_image, *[nowhere] * (most - len(of_image))] for of_image in patches]), images.device
    ).unsqueeze(3)
    height, width = (torch.arange(length, device=images.device) for length in images.shape[2:])
    rows = (height >= edges[:, :, 0]) & (height < edges[:, :, 1])
    columns = (width >= edges[:, :, 2]) & (width < edges[:, :, 3])
    # Entry (y, x): how many patches of the image have both that row and that column.
    covering = rows.float().transpose(1, 2) @ columns.float()
    images.masked_fill_((covering > 0)[:, None], GREY)


class _Step(NamedTuple):
    """A change that some of the images undergo at the same time, and the numbers it takes for each."""

    change: Callable[..., Tensor]
    rows: Sequence[int]
    numbers: Sequence[tuple[float, ...]]


def _recolour(images: UInt8[Tensor, "b 3 h w"], drawn: Sequence[_Drawn]) -> None:
    """Change colours and sharpness in place, each image in its own order; two copies bring all numbers."""
    steps = [step for step in _steps(drawn) if step.rows]
    if not steps:
        return
    sizes = [len(step.rows) for step in steps]
    rows = send(np.concatenate([step.rows for step in steps]), images.device)
    widest = max(len(numbers) for step in steps for numbers in step.numbers)
    table = np.array(
        [(*numbers, *(0,) * (widest - len(numbers))) for step in steps for numbers in step.numbers], dtype=np.float32
    )
    columns = send(np.ascontiguousarray(table.T), images.device)
    of_steps = zip(steps, torch.split(rows, sizes), torch.split(columns, sizes, dim=1), strict=True)
    for step, chosen, numbers in of_steps:
        of_each = numbers[: len(step.numbers[0])].unbind()
        images.index_copy_(0, chosen, step.change(images.index_select(0, chosen), *of_each))


def _steps(drawn: Sequence[_Drawn]) -> Iterator[_Step]:
    """All changes of all images, in as few steps as their orders allow.

    Those before the change of hue, which costs most, then that of all images, then those after it.
    """
    orders = [[kind for kind, _ in each.changes] for each in drawn]
    turns = [order.index("hue") if "hue" in order else len(order) for order in orders]
    yield from _blends([each.changes[:turn] for each, turn in zip(drawn, turns, strict=True)])
    turned = [row for row, order in enumerate(orders) if "hue" in order]
    yield _Step(turn_hue, turned, [drawn[row].changes[turns[row]][1:] for row in turned])
    yield from _blends([each.changes[turn + 1 :] for each, turn in zip(drawn, turns, strict=True)])
    grey = [row for row, each in enumerate(drawn) if each.loses_colour]
    yield _Step(lose_colour, grey, [()] * len(grey))
    blurred = [(row, (each.sigma_px,)) for row, each in enumerate(drawn) if each.sigma_px is not None]
    yield _Step(blur, [row for row, _ in blurred], [sigma for _, sigma in blurred])


def _blends(changes: Sequence[Sequence[tuple[Kind, float]]]) -> Iterator[_Step]:
    """First the first change of each image, then the second, and so on."""
    for place in range(max(map(len, changes), default=0)):
        rows = [row for row, of_image in enumerate(changes) if place < len(of_image)]
        rows.sort(key=lambda row: changes[row][place][0] != "contrast")
        around_mean = sum(changes[row][place][0] == "contrast" for row in rows)
        numbers = [_blend_numbers(*changes[row][place]) for row in rows]
        yield _Step(partial(blend, around_mean=around_mean), rows, numbers)


def _blend_numbers(kind: Kind, amount: float) -> tuple[float, float]:
    """Factor and rest as :func:`siod.ops.colour.blend` takes them."""
    factor = 1 + amount
    return factor, 0.0 if kind == "brightness" else 1 - factor


def moved(targets: Sequence[Target], geometries: Sequence[Geometry]) -> tuple[Target, ...]:
    """Move the boxes of targets as their images were moved, cut at the edges; what left its image is dropped.

    Args:
        targets: Each in the frame of its image.
        geometries: Where the images went.

    Returns:
        The targets in the frame of the view; one whose image stays as it is, is itself returned.
    """
    rows = [row for row, geometry in enumerate(geometries) if not geometry.is_identity]
    if not rows:
        return tuple(targets)
    before = [targets[row] for row in rows]
    valid, boxes, labels = pad(
        [*(each.boxes_xyxy for each in before), *(each.hidden_boxes_xyxy for each in before)],
        [*(each.labels for each in before), *(each.hidden_labels for each in before)],
    )
    boxes, seen = _moved(boxes, [geometries[row] for row in rows] * 2)
    flags, known = torch.zeros_like(valid), pseudo_flags(before)
    if known is not None:
        table = pad(known)[1]
        flags[: len(rows), : table.shape[1]] = table
    found = unpad(valid & seen, boxes, labels, flags)
    after = list(targets)
    for row, (boxes, labels, pseudo), (hidden_boxes, hidden_labels, _) in zip(
        rows, found[: len(rows)], found[len(rows) :], strict=True
    ):
        after[row] = replace(
            targets[row],
            boxes_xyxy=boxes,
            labels=labels,
            hidden_boxes_xyxy=hidden_boxes,
            hidden_labels=hidden_labels,
            pseudo=None if targets[row].pseudo is None else pseudo,
        )
    return tuple(after)


def _moved(
    boxes_xyxy: Float[Tensor, "b n 4"], geometries: Sequence[Geometry]
) -> tuple[Float[Tensor, "b n 4"], Bool[Tensor, "b n"]]:
    """The boxes in the frame of the view, and whether enough of them is left to be seen."""
    numbers = [(*np.diag(each.matrix()), *each.matrix()[:, 2], *each.input_size[::-1]) for each in geometries]
    table = send(np.array(numbers, dtype=np.float32), boxes_xyxy.device)[:, None, None]
    scales, shifts, limits = table[..., :2], table[..., 2:4], table[..., 4:]
    corners = boxes_xyxy.reshape(*boxes_xyxy.shape[:2], 2, 2) * scales + shifts
    low, high = (edge.clamp(min=0).minimum(limits[:, 0]) for edge in corners.aminmax(dim=2))
    return torch.cat([low, high], dim=-1), ((high - low) >= LEAST_VISIBLE_PX).all(dim=-1)
