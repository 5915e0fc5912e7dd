"""What a run costs, measured as it goes: later runs of its shape are planned by it."""

from __future__ import annotations

import resource
import time

import torch

EPOCH_SECONDS, PEAK_MEMORY_MIB = "cost/epoch_seconds", "cost/peak_memory_mib"
KIB_PER_MIB, BYTES_PER_MIB = 2**10, 2**20


def epoch_cost(began: float, device: torch.device) -> dict[str, float]:
    """Measure an epoch on this worker.

    Args:
        began: ``time.perf_counter()`` when it started, evaluation included.
        device: Where the detector is.

    Returns:
        Its seconds, and the peak memory in MiB so far: of the device, or of the process on a CPU.
    """
    seconds = time.perf_counter() - began
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / BYTES_PER_MIB
    else:
        # Linux counts the peak of the resident set in KiB.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_MIB
    return {EPOCH_SECONDS: seconds, PEAK_MEMORY_MIB: peak}
