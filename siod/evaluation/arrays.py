"""Numbers from arrays, tensors and lists of any library, checked and named in errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

BoxFormat = Literal["xyxy", "xywh"]

# A table this much longer than the ids it holds is still cheaper than a binary search per detection.
_TABLE_SLOTS_PER_ID = 64
_TABLE_SLOTS_FREE = 1 << 20


def as_numbers(values: Any, name: str, source: str) -> NDArray[np.float64]:
    """Convert to float64 before anything is compared: float32 scores would compare in float32.

    Args:
        values: An array, a tensor on any device, or lists.
        name: Named in the error.
        source: Likewise.

    Returns:
        A float64 array.

    Raises:
        UserError: It is not made of numbers.
    """
    try:
        return np.asarray(_on_host(values), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{source}: {name} is not an array of numbers ({error}); give floats") from error


def as_integers(values: Any, name: str, source: str) -> NDArray[np.int64]:
    """Convert ids to int64; anything but integers is refused.

    Args:
        values: An array, a tensor on any device, lists, or one integer.
        name: Named in the error.
        source: Likewise.

    Returns:
        An int64 array.

    Raises:
        UserError: It is not made of integers.
    """
    try:
        array = np.asarray(_on_host(values))
    except ValueError as error:
        raise UserError(f"{source}: {name} is not an array of integers ({error}); give integer ids") from error
    if array.size and array.dtype.kind not in "iu":
        raise UserError(f"{source}: {name} has type {array.dtype}; give integer ids")
    return array.astype(np.int64, copy=False)


def as_boxes(boxes: Any, box_format: BoxFormat, source: str) -> NDArray[np.float64]:
    """Convert boxes to float64 rows of corner and size.

    Args:
        boxes: ``[N, 4]``.
        box_format: ``xyxy`` (two corners) or ``xywh`` (corner and size).
        source: Named in the error.

    Returns:
        ``[N, 4]`` as x, y, width, height.

    Raises:
        UserError: The shape is wrong.
        ValueError: The format is unknown.
    """
    if box_format not in {"xyxy", "xywh"}:
        raise ValueError(f"box_format must be 'xyxy' or 'xywh', got {box_format!r}")
    rows = as_numbers(boxes, "boxes", source)
    if not rows.size:
        return np.zeros((0, 4))
    if rows.ndim != 2 or rows.shape[1] != 4:  # noqa: PLR2004  (four coordinates)
        raise UserError(f"{source}: boxes have shape {rows.shape}; give [N, 4]")
    if box_format == "xywh":
        return rows
    return np.concatenate([rows[:, :2], rows[:, 2:] - rows[:, :2]], axis=1)


def _on_host(values: Any) -> Any:
    """Fetch a tensor (known by its ``detach``, so that torch need not be there); bfloat16 becomes float64."""
    if not hasattr(values, "detach"):
        return values
    tensor = values.detach().cpu()
    return (tensor.double() if tensor.is_floating_point() else tensor).numpy()


def refuse(broken: NDArray[np.bool_], say: Callable[[int], str], source: str, remedy: str) -> None:
    """Raise for the first broken row.

    Args:
        broken: One flag per row.
        say: Names a row and its complaint.
        source: File or argument.
        remedy: What to do about it.

    Raises:
        UserError: Some row is broken; the sentence counts the others.
    """
    rows = np.flatnonzero(broken)
    if len(rows):
        more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        raise UserError(f"{source}: {say(int(rows[0]))}{more}; {remedy}")


def check_boxes(boxes_xywh: NDArray[np.float64], source: str, record: str) -> None:
    """Refuse boxes with NaN, infinity or a negative size."""
    # Asked of the whole first: a test by rows costs ten times as much.
    if not np.isfinite(boxes_xywh).all():
        refuse(
            ~np.all(np.isfinite(boxes_xywh), axis=1),
            lambda row: f"{record}[{row}].bbox {boxes_xywh[row].tolist()} is not finite",
            source,
            "correct or remove it",
        )
    if (boxes_xywh[:, 2:] < 0).any():
        refuse(
            np.any(boxes_xywh[:, 2:] < 0, axis=1),
            lambda row: f"{record}[{row}].bbox {boxes_xywh[row].tolist()} has a negative width or height",
            source,
            "give x, y, width, height with width and height of 0 or more",
        )


class Places:
    """Where each id stands in a sorted list of ids."""

    def __init__(self, ids: NDArray[np.int64]) -> None:
        """Take ids in rising order, each once."""
        self._ids = ids
        self._first = int(ids[0]) if len(ids) else 0
        span = int(ids[-1]) - self._first + 1 if len(ids) else 0
        self._table: NDArray[np.int32] | None = None
        if 0 < span <= max(_TABLE_SLOTS_FREE, _TABLE_SLOTS_PER_ID * len(ids)):
            self._table = np.full(span, -1, dtype=np.int32)
            self._table[ids - self._first] = np.arange(len(ids))

    def of(self, wanted: NDArray[np.int64]) -> NDArray[np.int32]:
        """Find ids.

        Returns:
            The place of each, -1 where it is unknown.

        Example:
            >>> Places(np.array([2, 5, 9])).of(np.array([9, 4, 2])).tolist()
            [2, -1, 0]
        """
        if not len(self._ids):
            return np.full(len(wanted), -1, dtype=np.int32)
        if self._table is None:
            slots = np.minimum(np.searchsorted(self._ids, wanted), len(self._ids) - 1)
            return np.where(self._ids[slots] == wanted, slots, -1).astype(np.int32)
        if not len(wanted) or (wanted.min() >= self._first and wanted.max() <= self._ids[-1]):
            return self._table[wanted - self._first]
        inside = (wanted >= self._first) & (wanted <= self._ids[-1])
        return np.where(inside, self._table[np.where(inside, wanted - self._first, 0)], -1)
