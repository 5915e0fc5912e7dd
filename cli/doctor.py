"""``siod doctor``: what is here, what is missing, and what to do about it."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from siod.cli.options import CACHE, RUNS, Cache, Runs, Tracking, absolute, store_uri
from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

REQUIRED = ("torch", "torchvision", "ray", "mlflow", "optuna", "numpy", "pydantic", "pycocotools", "scikit-learn")
FREE_GB = 5
OPEN_FILES, RAISED_OPEN_FILES = 4096, 65536
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  (it is asked for its size)
LITTLE_SHARED_BYTES = 10**9
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


def doctor(
    study: Annotated[
        str | None, typer.Argument(help="Compare what is here with what this study needs.", show_default=False)
    ] = None,
    *,
    runs: Runs = RUNS,
    tracking: Tracking = None,
    cache: Cache = CACHE,
) -> None:
    """Show versions and devices, and what is missing with its remedy; exits with 1 when something is."""
    looks: list[Callable[[], list[Finding]]] = [
        _python,
        _packages,
        _devices,
        lambda: [_open_files()],
        lambda: [_folder("runs", absolute(runs)), _folder("cache", absolute(cache))],
        lambda: [_shared_memory()] if study is None else _room(study, absolute(runs)),
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
    free = _free(folder) / 2**30
    if free < FREE_GB:
        return Finding("note", f"{what}: {folder}, {free:.1f} GB free", f"free some or name another with --{what}")
    return Finding("ok", f"{what}: {folder}, {free:.0f} GB free")


def _free(folder: Path) -> int:
    """Bytes that are free where a folder is or will be."""
    standing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return shutil.disk_usage(standing).free


def _open_files() -> Finding:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    what = f"{limit} open files at most"
    if limit == resource.RLIM_INFINITY or limit >= OPEN_FILES:
        return Finding("ok", "open files without a limit" if limit == resource.RLIM_INFINITY else what)
    return Finding("note", what, f"Ray and loader processes may need more: ulimit -n {RAISED_OPEN_FILES}")


def _shared_memory(needed: int = 0) -> Finding:
    """How much shared memory there is; a container has 64 MB unless it is told otherwise."""
    if not SHARED_MEMORY.exists():
        return Finding("ok", f"no {SHARED_MEMORY}: loader processes hand over their batches another way")
    free = shutil.disk_usage(SHARED_MEMORY).free
    what = f"shared memory: {_megabytes(free)} free"
    if needed:
        what += f", the study's batches take up to {_megabytes(needed)}"
    if free >= max(needed, LITTLE_SHARED_BYTES):
        return Finding("ok", what)
    remedy = "give the container more (docker run --shm-size=16g), or set compute.loader_workers lower, 0 for none"
    return Finding("missing" if free < needed else "note", what, remedy)


def _room(study: str, runs: Path) -> list[Finding]:
    """What a study needs of disk and shared memory, and whether that is there."""
    from siod.training.machine import this_machine  # noqa: PLC0415  (keeps --help fast)
    from siod.tuning.planning.plan import Capacity, place_trials, plan  # noqa: PLC0415
    from siod.tuning.planning.room import room_for  # noqa: PLC0415
    from siod.tuning.study import load_study  # noqa: PLC0415

    loaded = load_study(study)
    trials = place_trials(plan(loaded), (this_machine(),))
    slots = Capacity((this_machine(),)).slots(trials)
    if loaded.search is not None:  # its trials are kept, too
        first = {trial.arm.name: trial for trial in reversed(trials)}
        trials += loaded.search.trials * tuple(first.values())
    room, free = room_for(trials, slots), _free(runs)
    what = (
        f"room for {loaded.name}: its {len(trials)} trials leave up to {_megabytes(room.left_bytes)} of checkpoints "
        f"and hold up to {_megabytes(room.running_bytes)} while they train; {_megabytes(free)} free"
    )
    remedy = "free some (siod runs prune), name another with --runs, or set compute.keep_checkpoints to last"
    on_disk = Finding("ok", what) if free >= room.disk_bytes else Finding("missing", what, remedy)
    return [on_disk, _shared_memory(room.shared_bytes)]


def _megabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"  # noqa: PLR2004  (a gigabyte)


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
