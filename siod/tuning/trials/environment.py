"""Where a trial ran."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib import metadata
from typing import Any

import torch


def environment() -> dict[str, Any]:
    """Describe where a trial ran: interpreter, machine, and the version of every installed package."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "packages": _packages(),
    }


@cache
def _packages() -> dict[str, str]:
    """Versions by name; the files of a few hundred packages are read once, for all trials of a process."""
    described = [entry.metadata for entry in metadata.distributions()]
    return dict(sorted(((each["Name"], each["Version"]) for each in described), key=lambda entry: entry[0].lower()))
