"""What this machine offers, and which of its devices a worker trains on."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from siod.errors import RunError
from siod.training.placement import Node, Placement

# What a container may use, as (quota, period) in one file or in two.
CGROUP = Path("/sys/fs/cgroup")
CPU = torch.device("cpu")


def this_machine() -> Node:
    """What this machine offers this process, without starting Ray."""
    return Node(float(usable_cores()), float(torch.cuda.device_count()))


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


def reserved_device(placement: Placement) -> torch.device:
    """The device of a worker that is alone in its process: what was reserved for it, whatever else is visible.

    Args:
        placement: Of the run.

    Returns:
        The first GPU of those made visible to this process if one was reserved, the CPU otherwise.

    Raises:
        RunError: A GPU was reserved that torch cannot use.
    """
    if placement.device == "cpu":
        return CPU
    if not torch.cuda.is_available():
        asked, visible = f"compute.gpus_per_worker {placement.gpus:g}", os.environ.get("CUDA_VISIBLE_DEVICES", "all")
        raise RunError(
            f"a GPU was asked for ({asked}), but torch {torch.__version__} sees none it can use (CUDA_VISIBLE_DEVICES: "
            f"{visible or 'none'}); mend the driver, install torch for CUDA, or use --device cpu"
        )
    return torch.device("cuda", 0)
