"""What this machine offers: its cores and GPUs."""

from __future__ import annotations

import os
from ctypes import CDLL
from pathlib import Path

from siod.training.placement import Node

# What a container may use, as (quota, period) in one file or in two.
CGROUP = Path("/sys/fs/cgroup")
# What torch needs to find a GPU: the library of NVIDIA's driver, or the device of AMD's.
NVIDIA, AMD = "libcuda.so.1", Path("/dev/kfd")


def this_machine() -> Node:
    """What this machine offers this process, without starting Ray."""
    return Node(float(usable_cores()), float(_gpus()))


def _gpus() -> int:
    """How many GPUs torch can use; it is not loaded where there is no driver for one."""
    if not has_gpu_driver():
        return 0
    import torch  # noqa: PLC0415  (takes seconds)

    return torch.cuda.device_count()


def has_gpu_driver() -> bool:
    """Whether a driver is installed without which torch finds no GPU."""
    try:
        CDLL(NVIDIA)
    except OSError:
        return AMD.exists()
    return True


def usable_cores(cgroup: Path = CGROUP) -> int:
    """Cores that this process may keep busy: those it is bound to, or fewer where its container has a quota.

    Args:
        cgroup: Folder of the control group, version 2 or 1.

    Returns:
        At least 1.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return bound if quota is None else max(1, min(bound, int(quota)))


def _quota(cgroup: Path) -> float | None:
    try:
        if (cgroup / "cpu.max").exists():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
    except OSError:
        return None
    return None if quota in {"max", "-1"} else int(quota) / int(period)
