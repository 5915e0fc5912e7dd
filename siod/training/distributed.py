"""Sums and lists over the workers of a run; with one worker nothing is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def broadcast_object(value: T, world_size: int) -> T:
    """Broadcast a picklable object of the first worker; the others' values are ignored."""
    if world_size == 1:
        return value
    objects = [value]
    distributed.broadcast_object_list(objects, src=0)
    return objects[0]


def broadcast_bool(value: bool, world_size: int, device: torch.device) -> bool:  # noqa: FBT001  (it is the subject)
    """Broadcast a flag of the first worker, so that all workers leave the loop together."""
    if world_size == 1:
        return value
    flag = torch.tensor([int(value)], device=device)
    distributed.broadcast(flag, src=0)
    return bool(flag.item())


def running_statistics(model: nn.Module) -> list[Tensor]:
    """The running means and variances of a model's batch normalisation.

    Args:
        model: Frozen and group normalisation have no such statistics.

    Returns:
        The model's own tensors, to be asked for once: walking through all modules takes long.
    """
    return [
        statistic
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None
        for statistic in (module.running_mean, module.running_var)
    ]


def average_statistics(statistics: Sequence[Tensor], world_size: int) -> None:
    """Replace the running statistics of batch normalisation by their mean over the workers.

    Each worker gathers them from its own share of a batch. Averaged after every update, the workers stay one model:
    what is judged is what the checkpoint holds, and a teacher that follows the model is the same everywhere. All
    count alike, though shares may differ by an image: each estimates the same statistics from its own.

    Args:
        statistics: Of ``running_statistics``, in the same order on every worker; changed in place.
        world_size: Number of workers.
    """
    if world_size == 1 or not statistics:
        return
    flat = torch.cat([statistic.flatten() for statistic in statistics])
    distributed.all_reduce(flat)
    flat /= world_size
    means = torch.split(flat, [statistic.numel() for statistic in statistics])
    torch._foreach_copy_(list(statistics), list(means))
