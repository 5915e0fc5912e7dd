"""Which device a worker trains on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from siod.errors import RunError

if TYPE_CHECKING:
    from siod.training.placement import Placement

CPU = torch.device("cpu")


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
