"""Rows of different lengths as one table, and back: what an image has many of, for all images of a batch at once.

Lengths of tensors are known without asking a GPU, so a table costs no wait; back to rows costs one, for all images.

B images, K places of the table.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Shaped  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from siod.types import Detections, PaddedDetections

if TYPE_CHECKING:
    from collections.abc import Sequence


def send(values: np.ndarray, device: torch.device) -> Tensor:
    """Copy values of the host to a device without waiting for what the device is busy with.

    Args:
        values: Of any shape.
        device: Where they are wanted.

    Returns:
        A tensor of the same shape and type.
    """
    tensor = from_dlpack(values)
    # From pageable memory CUDA would wait for the stream first.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def take(tensor: Shaped[Tensor, "b ..."], rows: Sequence[int]) -> Shaped[Tensor, "r ..."]:
    """Copy some rows of a tensor, named by the host."""
    return tensor.index_select(0, send(np.array(rows, dtype=np.int64), tensor.device))


def pad(*columns: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Put the rows of each column into one table.

    Args:
        columns: Each has one tensor per image, at least one; those of an image are equally long in all columns.

    Returns:
        Which places are taken, ``[B, K]`` with the longest length as K, and for each column ``[B, K, ...]``. Places
        that are not taken repeat some other one.

    Example:
        >>> pad([torch.tensor([5, 6]), torch.tensor([7])])
        (tensor([[ True,  True],
                [ True, False]]), tensor([[5, 6],
                [7, 5]]))
    """
    lengths = np.array([len(row) for row in columns[0]])
    place, first = np.arange(lengths.max()), lengths.cumsum() - lengths
    index = send(np.where(place < lengths[:, None], first[:, None] + place, -1), columns[0][0].device)
    source = index.clamp(min=0)
    return (index >= 0, *(torch.cat(list(column))[source] for column in columns))


def unpad(valid: Bool[Tensor, "b k"], *tables: Shaped[Tensor, "b k ..."]) -> list[tuple[Tensor, ...]]:
    """Take tables apart again; the host waits once, to learn the lengths.

    Args:
        valid: Which places are taken.
        tables: Of the same images and places.

    Returns:
        For each image one tensor of each table, with what stands in its taken places, in order.

    Example:
        >>> unpad(torch.tensor([[True, False], [True, True]]), torch.tensor([[5, 0], [6, 7]]))
        [(tensor([5]),), (tensor([6, 7]),)]
    """
    taken = valid.cpu().numpy()
    index, lengths = send(np.flatnonzero(taken), valid.device), taken.sum(axis=1).tolist()
    return list(zip(*(torch.split(table.flatten(0, 1)[index], lengths) for table in tables), strict=True))


def padded(found: Sequence[Detections]) -> PaddedDetections:
    """Put the detections of at least one image into one table."""
    columns = [(each.boxes_xyxy, each.scores, each.labels) for each in found]
    valid, boxes, scores, labels = pad(*zip(*columns, strict=True))
    return PaddedDetections(boxes, scores, labels, valid)


def images_of(found: PaddedDetections, rows: Sequence[int]) -> PaddedDetections:
    """The detections of some images."""
    if list(rows) == list(range(len(found.valid))):
        return found
    index = send(np.array(rows, dtype=np.int64), found.valid.device)
    return PaddedDetections(*(getattr(found, field.name)[index] for field in fields(found)))


def listed(found: PaddedDetections) -> list[Detections]:
    """The detections of each image by themselves; the host waits once, to learn how many there are."""
    rows = unpad(found.valid, found.boxes_xyxy, found.scores, found.labels)
    return [Detections(*row) for row in rows]
