"""Training and evaluation must show objects in similar sizes: the scale of each, and a refusal where they differ.

A detector finds objects of the sizes it has learnt. A run that trains at 96 px and is judged on photographs at full
size trains without a complaint and finds nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from siod.data.resized import copy_size
from siod.data.transforms import fit, fit_short_edge
from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.data.derived import SizeCounts
    from siod.data.transforms import Augmentation, Geometry
    from siod.training.experiment import Evaluation

TOLERANCE = 1.5
"""How far outside what training shows judging may lie; half an octave of object size is what detectors bear."""

TAIL = 0.1
"""The share of images at either end that does not count as what training shows."""


@dataclass(frozen=True)
class InputScale:
    """The range of scales at which a detector sees images.

    Args:
        magnification: Pixels of the input in one pixel of the image file.
        side_px: The image's longer side in the input, in pixels.
    """

    magnification: tuple[float, float]
    side_px: tuple[float, float]


def refuse_other_scale(
    augmentation: Augmentation,
    evaluation: Evaluation,
    train: SizeCounts,
    val: SizeCounts,
    *,
    longest_px: int | None,
    can_shrink: bool = True,
) -> None:
    """Refuse an experiment that is judged at a scale far from all it learns from.

    Two measures have to disagree: pixels of the input in one of the file, and the image's side in the input. The first
    holds where validation images are cut from larger ones, the second where they have another resolution.

    Args:
        augmentation: Of the training images.
        evaluation: Of the validation images.
        train: Sizes of the training images.
        val: Sizes of the validation images.
        longest_px: Of the small copies that both are looked at in, if any.
        can_shrink: Whether the data source has a setting ``longest_px``.

    Raises:
        UserError: Judging magnifies more than ``TOLERANCE`` times above or below what training shows.
    """
    learnt, judged = training_scale(augmentation, train, longest_px), evaluation_scale(evaluation, val, longest_px)
    if _near(judged.magnification, learnt.magnification) or _near(judged.side_px, learnt.side_px):
        return
    raise UserError(
        f"training shows images at {_span_text(learnt.magnification)} of their size and judging at "
        f"{_span_text(judged.magnification)}, so little of what is learnt would be found; "
        f"{_remedy(augmentation, evaluation, train, can_shrink=can_shrink)}"
    )


def training_scale(augmentation: Augmentation, sizes: SizeCounts, longest_px: int | None) -> InputScale:
    """The scales of training, over all zooms and lengths that may be drawn."""
    ends = []
    for end, share in ((0, TAIL), (1, 1 - TAIL)):
        sides = [_side(_training_geometry(augmentation, _loaded_size(*size[:2], longest_px), end)) for size in sizes]
        ends.append(_scale_at(sizes, sides, share))
    (least, smallest), (greatest, largest) = ends
    return InputScale((least, greatest), (smallest, largest))


def _training_geometry(augmentation: Augmentation, size: tuple[int, int], end: int) -> Geometry:
    """Where an image lands at the least (0) or greatest (1) zoom or length."""
    if augmentation.short_edge is not None:
        lengths = augmentation.short_edge.lengths
        return fit_short_edge(size, (min(lengths), max(lengths))[end], augmentation.short_edge.longest)
    return fit(size, augmentation.input_size or size, zoom=(augmentation.scale or (1.0, 1.0))[end])


def evaluation_scale(evaluation: Evaluation, sizes: SizeCounts, longest_px: int | None) -> InputScale:
    """The scale of evaluation for the image of median size."""
    sides = []
    for width, height, _ in sizes:
        size = _loaded_size(width, height, longest_px)
        if evaluation.input_size is not None:
            sides.append(_side(fit(size, evaluation.input_size)))
        elif evaluation.short_edge is not None:
            sides.append(_side(fit_short_edge(size, evaluation.short_edge.lengths[0], evaluation.short_edge.longest)))
        else:
            sides.append(max(size))
    magnification, side = _scale_at(sizes, sides, 0.5)
    return InputScale((magnification, magnification), (side, side))


def _scale_at(sizes: SizeCounts, sides: Sequence[int], share: float) -> tuple[float, float]:
    """The magnification and the side below which a share of the images lies."""
    shown = [(side, max(width, height), count) for (width, height, count), side in zip(sizes, sides, strict=True)]
    return (
        _quantile([(side / own, count) for side, own, count in shown], share),
        _quantile([(side, count) for side, _, count in shown], share),
    )


def _loaded_size(width: int, height: int, longest_px: int | None) -> tuple[int, int]:
    """Height and width of an image or its small copy."""
    return (height, width) if longest_px is None else copy_size(width, height, longest_px)[::-1]


def _side(geometry: Geometry) -> int:
    return max(geometry.size)


def _near(judged: tuple[float, float], learnt: tuple[float, float]) -> bool:
    return learnt[0] / TOLERANCE <= judged[0] <= learnt[1] * TOLERANCE


def _quantile(weighted: Sequence[tuple[float, int]], share: float) -> float:
    """The value below which a share of the weight lies."""
    left = share * sum(count for _, count in weighted)
    for value, count in sorted(weighted):
        left -= count
        if left <= 0:
            return value
    return max(weighted)[0]


def _span_text(span: tuple[float, float]) -> str:
    low, high = (f"{value:.3g}" for value in span)
    return low if low == high else f"{low} to {high}"


def _remedy(augmentation: Augmentation, evaluation: Evaluation, train: SizeCounts, *, can_shrink: bool) -> str:
    if augmentation.scale is not None and not augmentation.scale[0] <= 1 <= augmentation.scale[1]:
        return "set augmentation.scale to a range around 1 and evaluation.input_size to augmentation.input_size"
    if augmentation.input_size is None:
        return "set evaluation.short_edge to one length of augmentation.short_edge, and evaluation.input_size to null"
    height, width = augmentation.input_size
    wish = f"set evaluation.input_size to [{height}, {width}]"
    if evaluation.short_edge is not None:
        return f"{wish} and evaluation.short_edge to null"
    if not can_shrink or evaluation.input_size is not None:
        return wish
    middle = max(train, key=lambda size: size[2])
    return (
        f"set data.longest_px to {_side(fit(middle[1::-1], augmentation.input_size))}, or {wish.removeprefix('set ')}"
    )
