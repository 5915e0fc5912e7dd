"""Sums and lists over the workers of a run; with one worker nothing is sent."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


def sum_over_workers(values: Tensor, world_size: int) -> Tensor:
    """Add a tensor over all workers.

    Args:
        values: The same shape on every worker; not changed, no gradient passes through.
        world_size: Number of workers.

    Returns:
        The sum, the same on every worker.
    """
    total = values.detach().clone()
    if world_size > 1:
        distributed.all_reduce(total)
    return total


def gather_objects(value: T, world_size: int) -> list[T]:
    """Collect one picklable object from every worker, in the order of their ranks."""
    if world_size == 1:
        return [value]
    gathered: list[T | None] = [None] * world_size
    distributed.all_gather_object(gathered, value)
    return [entry for entry in gathered if entry is not None]


def agree(value: bool, world_size: int, device: torch.device) -> bool:  # noqa: FBT001  (it is the subject)
    """Take the first worker's word for all, so that no worker waits for one that left."""
    if world_size == 1:
        return value
    flag = torch.tensor([int(value)], device=device)
    distributed.broadcast(flag, src=0)
    return bool(flag.item())
