"""What is needed, and what is there: modules, versions, the card, kernels."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reporting import Report, Setting

NEEDED = {
    "torch": "torch>=2.9",
    "torchvision": "torchvision>=0.24",
    "numpy": "numpy>=2.1",
    "pydantic": "pydantic>=2.11",
    "jaxtyping": "jaxtyping>=0.3",
    "msgspec": "msgspec>=0.20",
    "filelock": "filelock>=3.16",
    "PIL": "pillow>=11",
}
"""Each module that siod's training part imports from outside, with what to install for it."""

KERNELS = ("deform_conv2d", "roi_align", "nms")
ROOT = Path(__file__).resolve().parents[2]


def missing_modules() -> str | None:
    """One line that names what is missing and how to get it; None if nothing is."""
    absent = [module for module in NEEDED if importlib.util.find_spec(module) is None]
    if not absent:
        return None
    wanted = " ".join(f"'{NEEDED[module]}'" for module in absent)
    return f"missing: {', '.join(absent)}; get them with: {sys.executable} -m pip install {wanted}"


def describe(setting: Setting, report: Report) -> None:
    """Tell versions, card and kernels, in a process of its own: the one that starts the checks is to stay small."""
    import torch  # noqa: PLC0415  (the process that starts the checks imports this module without torch)
    import torchvision  # noqa: PLC0415

    import siod  # noqa: PLC0415

    tree = Path(siod.__file__).parents[1]
    report.require(tree == ROOT, f"siod is imported from {tree}, not from this tree; unset PYTHONPATH")
    driver = _driver()
    report.figures(
        python=platform.python_version(),
        torch=torch.__version__,
        torchvision=torchvision.__version__,
        cuda=torch.version.cuda,
        cudnn=torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None,
        device=setting.device,
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        driver=driver,
    )
    if not torch.cuda.is_available():
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"}
        unseen = f"driver {driver} has a GPU that torch {torch.__version__} does not see; install a torch for it"
        report.require(driver is None or hidden or not setting.on_gpu, unseen)
        return
    properties = torch.cuda.get_device_properties(0)
    report.figures(
        memory_gib=properties.total_memory / 2**30,
        capability=f"{properties.major}.{properties.minor}",
        cuda_kernels={name: _has_cuda_kernel(name) for name in KERNELS},
    )
    for name in KERNELS:
        report.require(_has_cuda_kernel(name), f"torchvision {torchvision.__version__} has no CUDA kernel for {name}")


def _has_cuda_kernel(name: str) -> bool:
    import torch  # noqa: PLC0415  (as above)

    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(f"torchvision::{name}", "CUDA"))


def _driver() -> str | None:
    """The driver's version, where there is a GPU that it drives."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    asked = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=20)
    return said.stdout.splitlines()[0].strip() if said.returncode == 0 and said.stdout.strip() else None


def commit_of(root: Path) -> str | None:
    """The commit of a checkout, with ``-dirty`` for one that was changed; None where git cannot tell."""
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    asked = [git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False)
    return said.stdout.strip() or None
