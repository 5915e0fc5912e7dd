"""How long a step takes, and how much memory of the device."""

from __future__ import annotations

import gc
import statistics
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from reporting import Setting


def step_ms(step: Callable[[], None], setting: Setting, *, warm: int, steps: int) -> float:
    """The median time of a step in milliseconds: between events on the device, or by the clock on a CPU.

    Args:
        step: Taken again and again.
        setting: Names the device.
        warm: Steps that are not counted.
        steps: Steps that are.
    """
    for _ in range(warm):
        step()
    if not setting.on_gpu:
        return statistics.median(_clocked_ms(step) for _ in range(steps))
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(steps + 1)]
    marks[0].record()
    for mark in marks[1:]:
        step()
        mark.record()
    torch.cuda.synchronize()
    return statistics.median(one.elapsed_time(other) for one, other in pairwise(marks))


def _clocked_ms(step: Callable[[], None]) -> float:
    began = time.perf_counter()
    step()
    return 1000 * (time.perf_counter() - began)


def forget(setting: Setting) -> None:
    """Give back what earlier detectors took, and let the peak of memory begin anew."""
    gc.collect()
    if setting.on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gib(setting: Setting) -> float | None:
    """The most memory of the device that tensors took since :func:`forget`; None on a CPU."""
    return torch.cuda.max_memory_allocated() / 2**30 if setting.on_gpu else None


def wait(setting: Setting) -> None:
    """Until the device has done all it was given."""
    if setting.on_gpu:
        torch.cuda.synchronize()
