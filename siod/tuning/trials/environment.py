"""Where a trial ran."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

import torch


def environment() -> dict[str, Any]:
    """Describe where a trial ran: interpreter, machine, and the version of every installed package."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    packages = {entry.metadata["Name"]: entry.version for entry in metadata.distributions()}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
        "packages": dict(sorted(packages.items(), key=lambda entry: entry[0].lower())),
    }
