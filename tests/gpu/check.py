"""Does siod run rightly and fast on this machine's GPU? One JSON line a check; exit 1 if one fails.

    python3 tests/gpu/check.py                       every check, under eight minutes on one H100
    python3 tests/gpu/check.py --only parity_fp32    some of them
    python3 tests/gpu/check.py --device cpu --small  the checks' own code at tiny sizes, without a GPU

Runs from an unpacked source tree; needs no installation, no Ray, no MLflow and no network. Without a GPU it says so and
exits 0; with a module missing it says which and exits 2. What the lines mean is in docs/gpus.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import machine
from reporting import Setting
from running import HERE, ROOT, Check, emit, run_all, run_one

if TYPE_CHECKING:
    from collections.abc import Sequence

DEADLINE_S = 480.0
"""For all checks together; their caps add up to no more."""

MACHINE = Check("machine", HERE / "machine.py", "describe", 50, "versions, card, kernels")


def _check(name: str, file: str, cap_s: float, says: str, *, function: str = "check") -> Check:
    return Check(name, HERE / f"{file}.py", function, cap_s, says)


# By worth: right before fast, so that a run that was cut short still says the most.
CHECKS = (
    _check("parity_fp32", "parity", 35, "losses, gradients and mined masks equal those on the CPU", function="fp32"),
    _check("one_step", "one_step", 55, "three updates by every family, method and precision leave finite weights"),
    _check("resume", "resume", 30, "a run that was stopped and resumed is as near to an unbroken one as its like"),
    _check("parity_half", "parity", 35, "the same as parity_fp32 in bf16 and fp16", function="half"),
    _check("nccl", "nccl", 20, "one rank: gradients through DDP, sums and gathered objects"),
    _check("cost", "cost", 75, "time and memory of a step, with DMiner and without"),
    _check("syncs", "syncs", 35, "synchronisations and copies of a step, and how long the device idles"),
    _check("methods", "methods", 50, "time of a step with every method, and how long the device idles"),
    _check("loader", "loading", 50, "images a second from JPEG files, alone and feeding a detector"),
    _check("evaluation", "evaluating", 40, "seconds for 5,000 images, and for decoding"),
)


def main(arguments: Sequence[str] | None = None, checks: Sequence[Check] = CHECKS) -> int:
    """Parse, look at the machine, run the checks.

    Args:
        arguments: In place of the command line's.
        checks: All there are.

    Returns:
        The exit code.
    """
    names = [check.name for check in checks]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", default=names, help="some checks alone")
    parser.add_argument("--list", action="store_true", help="name the checks with their caps, run none")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to run the checks' own code")
    parser.add_argument("--deadline", type=float, default=DEADLINE_S, metavar="SECONDS", help="for all checks together")
    parser.add_argument("--patience", type=float, default=1.0, metavar="FACTOR", help="of caps and deadline")
    parser.add_argument("--commit", help="of siod, where git cannot tell it")
    told = parser.parse_args(arguments)
    if told.list:
        for check in (MACHINE, *checks):
            emit({"check": check.name, "cap_s": check.cap_s, "says": check.says})
        return 0
    missing = machine.missing_modules()
    if missing is not None:
        emit({"check": "machine", "ok": False, "why": missing})
        return 2
    with tempfile.TemporaryDirectory(prefix="siod-gpu-check-") as work:
        chosen = [replace(check, cap_s=check.cap_s * told.patience) for check in checks if check.name in told.only]
        device = "cuda:0" if told.device == "cuda" else told.device
        return _run(told, chosen, Setting(device, told.small, Path(work)))


def _run(told: argparse.Namespace, chosen: Sequence[Check], setting: Setting) -> int:
    line = run_one(MACHINE, setting, cap_s=MACHINE.cap_s * told.patience)
    if setting.on_gpu and line["ok"] and line["figures"]["gpu"] is None:
        torch = line["figures"]["torch"]
        emit({"check": "machine", "ok": True, "gpu": None, "says": f"torch {torch} sees no GPU here: nothing to check"})
        return 0
    line["figures"]["siod"] = told.commit or machine.commit_of(ROOT)
    emit(line)
    holds = run_all(chosen, setting, deadline_s=told.deadline * told.patience - line["seconds"])
    return 0 if holds and line["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
