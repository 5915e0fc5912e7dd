"""What torch's profiler saw on the device: kernels, copies, and calls in which the host waited."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from timing import wait
from torch.profiler import ProfilerActivity, profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from reporting import Setting

ON_THE_DEVICE = {"kernel", "gpu_memcpy", "gpu_memset"}
CALLS = {"cuda_runtime", "cuda_driver"}
WAITS = {"cudaStreamSynchronize", "cudaEventSynchronize", "cuStreamSynchronize", "cuEventSynchronize"}
"""What torch calls to read a value back; the profiler itself waits for the whole device, which is another call."""
WARM_STEPS = 2


@dataclass(frozen=True)
class Work:
    """What some steps gave the device to do, each figure for one step.

    Attributes:
        busy_ms: The time in which it did anything.
        synchronisations: Calls in which the host waited for it.
        copies: Between host and device, and within the device.
        kernels: Launched.
        calls: Of CUDA, as far as the profiler tells them.
    """

    busy_ms: float
    synchronisations: float
    copies: float
    kernels: float
    calls: float

    @classmethod
    def of(cls, events: Iterable[dict[str, Any]], steps: int) -> Self:
        """Read the events of a trace in Chrome's format, whose times are microseconds.

        Args:
            events: Its ``traceEvents``.
            steps: How many steps they are of.
        """
        spans, waits, copies, kernels, calls = [], 0, 0, 0, 0
        for event in events:
            kind = event.get("cat")
            calls += kind in CALLS
            waits += kind in CALLS and event["name"] in WAITS
            copies += kind == "gpu_memcpy"
            kernels += kind == "kernel"
            if kind in ON_THE_DEVICE:
                spans.append((event["ts"], event["ts"] + event["dur"]))
        return cls(covered(spans) / 1000 / steps, *(count / steps for count in (waits, copies, kernels, calls)))


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length that some intervals cover together; streams may overlap.

    Example:
        >>> covered([(0, 2), (1, 3), (5, 6)])
        4.0
    """
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def work_of(step: Callable[[], None], setting: Setting, *, steps: int) -> Work:
    """Profile some steps.

    Args:
        step: Taken twice before.
        setting: Names the device and a folder for the trace.
        steps: How many.

    Returns:
        What they gave the device to do.
    """
    # Calls and kernels alone: following operations on the host too would slow it down.
    activity = ProfilerActivity.CUDA if setting.on_gpu else ProfilerActivity.CPU
    for _ in range(WARM_STEPS):
        step()
    wait(setting)
    with profile(activities=[activity]) as profiler:
        for _ in range(steps):
            step()
        wait(setting)
    path = setting.work / "trace.json"
    profiler.export_chrome_trace(str(path))
    return Work.of(json.loads(path.read_text())["traceEvents"], steps)


def idle_share(step: Callable[[], None], setting: Setting, *, steps: int, step_ms: float) -> float:
    """The share of a step's time in which the device does nothing.

    Args:
        step: What is profiled, which takes longer than without.
        setting: Names the device.
        steps: How many.
        step_ms: The time of a step without the profiler.
    """
    return max(0.0, 1 - work_of(step, setting, steps=steps).busy_ms / step_ms)
