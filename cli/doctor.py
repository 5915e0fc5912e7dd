"""``siod doctor``: what is here, what is missing, and what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Literal

import typer

from siod.cli.options import CACHE, RUNS, Cache, Runs, Tracking, absolute, store_uri
from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REQUIRED = ("torch", "torchvision", "ray", "mlflow", "optuna", "numpy", "pydantic", "pycocotools", "scikit-learn")
FREE_GB = 5
FAILED = 1


@dataclass(frozen=True)
class Finding:
    """One thing looked at: fine, worth knowing, or in the way."""

    state: Literal["ok", "note", "missing"]
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.state:<8} {self.what}" + (f"; {self.remedy}" if self.remedy else "")


def doctor(*, runs: Runs = RUNS, tracking: Tracking = None, cache: Cache = CACHE) -> None:
    """Show versions and devices, and what is missing with its remedy; exits with 1 when something is."""
    looks: list[Callable[[], list[Finding]]] = [
        _python,
        _packages,
        _devices,
        lambda: [_folder("runs", absolute(runs)), _folder("cache", absolute(cache))],
        lambda: [_store(store_uri(tracking, absolute(runs)))],
        lambda: [_pdflatex()],
    ]
    missing = False
    for look in looks:
        for finding in look():
            typer.echo(str(finding))
            missing = missing or finding.state == "missing"
    if missing:
        raise typer.Exit(FAILED)


def _python() -> list[Finding]:
    return [Finding("ok", f"python {platform.python_version()} ({sys.executable})"), Finding("ok", platform.platform())]


def _packages() -> list[Finding]:
    findings = []
    for name in ("siod", *REQUIRED):
        try:
            findings.append(Finding("ok", f"{name} {metadata.version(name)}"))
        except metadata.PackageNotFoundError:
            findings.append(Finding("missing", name, f"install it: pip install {name}"))
    return findings


def _devices() -> list[Finding]:
    try:
        import torch  # noqa: PLC0415  (keeps --help fast)
        import torchvision  # noqa: PLC0415
    except ImportError as error:
        return [Finding("missing", f"torch does not load ({error})", "install siod's dependencies again")]
    from siod.training.experiment import Compute  # noqa: PLC0415
    from siod.training.machine import this_machine  # noqa: PLC0415
    from siod.training.placement import Placement, describe, fits_at_once, place  # noqa: PLC0415

    here = this_machine()
    findings = [Finding("ok", f"{here.cpus:g} CPU cores")]
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        findings.append(Finding("ok", f"{len(names)} GPU: {', '.join(names)}"))
    else:
        findings.append(_no_gpu(torch.__version__, torch.version.cuda))
    usual = Placement.of(place(Compute(), [here]))
    findings.append(Finding("ok", f"a study here: {describe(usual, fits_at_once(usual, [here]), [here])}"))
    if not hasattr(torchvision.ops, "deform_conv2d"):
        findings.append(Finding("missing", "torchvision.ops.deform_conv2d", "install torchvision >= 0.24"))
    return findings


def _no_gpu(torch_version: str, cuda: str | None) -> Finding:
    """Why torch sees no GPU, as far as can be told: there is none, its build has no CUDA, or the driver fails it."""
    if shutil.which("nvidia-smi") is None:
        return Finding("note", "no GPU", "digits studies run on CPU cores, COCO needs a GPU")
    if cuda is None:
        return Finding("note", f"a GPU that torch {torch_version} was built without", "install torch for CUDA")
    remedy = f"compare the driver that nvidia-smi names with CUDA {cuda}, and CUDA_VISIBLE_DEVICES"
    return Finding("note", f"a GPU that torch {torch_version} cannot use", remedy)


def _folder(what: str, folder: Path) -> Finding:
    standing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(standing, os.W_OK):
        return Finding("missing", f"{what}: {folder} cannot be written", f"name another with --{what}")
    free = shutil.disk_usage(standing).free / 2**30
    if free < FREE_GB:
        return Finding("note", f"{what}: {folder}, {free:.1f} GB free", f"free some or name another with --{what}")
    return Finding("ok", f"{what}: {folder}, {free:.0f} GB free")


def _store(uri: str) -> Finding:
    from siod.tracking.connection import sqlite_path  # noqa: PLC0415  (keeps --help fast)

    if uri.startswith("sqlite:///") and not sqlite_path(uri).exists():
        return Finding("ok", f"tracking: {uri}, made by the first study")
    from siod.tracking.mlflow import Store  # noqa: PLC0415  (keeps --help fast)

    try:
        Store(uri).prepare()
    except UserError as error:
        return Finding("missing", f"tracking: {error}")
    return Finding("ok", f"tracking: {uri}")


def _pdflatex() -> Finding:
    if shutil.which("pdflatex"):
        return Finding("ok", "pdflatex")
    return Finding("note", "no pdflatex", "reports hold LaTeX tables; only compiling them needs it")
