"""Run checks one after the other, each in a process that ends at its cap whatever it does.

A process that hangs, dies, or is left with a broken CUDA context takes nothing from the checks after it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reporting import Told

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reporting import Setting

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LEAST_SECONDS = 5.0
"""With less than this left before the deadline nothing is started: a process imports torch for about so long."""


@dataclass(frozen=True)
class Check:
    """A function of a file, called as ``function(setting, report)``.

    Attributes:
        name: In the output and for ``--only``.
        file: Where the function is.
        function: Its name.
        cap_s: Seconds until its process is ended.
        says: What it finds out, in a few words.
    """

    name: str
    file: Path
    function: str
    cap_s: float
    says: str


def run_all(checks: Sequence[Check], setting: Setting, *, deadline_s: float) -> bool:
    """Run checks in order and print one JSON line for each, then one for all.

    Args:
        checks: What to run.
        setting: Where.
        deadline_s: Seconds after which no more is started, and what runs is ended.

    Returns:
        Whether all hold; a check for which no time was left does not.
    """
    began = time.monotonic()
    failed = []
    for check in checks:
        left = deadline_s - (time.monotonic() - began)
        line = run_one(check, setting, cap_s=min(check.cap_s, left)) if left >= LEAST_SECONDS else _too_late(check)
        emit(line)
        failed += [] if line["ok"] else [check.name]
    seconds = round(time.monotonic() - began, 1)
    emit({"check": "all", "ok": not failed, "seconds": seconds, "checks": len(checks), "failed": failed})
    return not failed


def run_one(check: Check, setting: Setting, *, cap_s: float) -> dict[str, Any]:
    """Run one check in a process of its own.

    Args:
        check: What to run.
        setting: Where.
        cap_s: Seconds it may take; then it is ended with all processes it started.

    Returns:
        The line to print: ``check``, ``ok``, ``seconds``, ``figures``, and ``why`` where it does not hold.
    """
    path = setting.work / f"{check.name}.jsonl"
    command = [sys.executable, str(HERE / "child.py"), str(check.file), check.function, setting.device]
    command += [str(setting.work), str(path), *(["--small"] if setting.small else [])]
    began = time.monotonic()
    # Its output belongs to the log: what is on stdout are our lines.
    child = subprocess.Popen(command, stdout=sys.stderr, env=_environment(), start_new_session=True)
    try:
        end = _end(child.wait(timeout=cap_s))
    except subprocess.TimeoutExpired:
        end = f"was not done after {cap_s:.0f} s and was ended"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # with its loader processes
        child.wait()
    told = Told.read(path)
    if not told.done and (end or not told.problems):
        told.problems.insert(0, end or "ended before its end")
    line = {"check": check.name, "ok": not told.problems, "seconds": round(time.monotonic() - began, 1)}
    return line | {"figures": told.figures} | ({"why": told.why()} if told.problems else {})


def emit(line: Mapping[str, Any]) -> None:
    """Print one JSON object at once."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _too_late(check: Check) -> dict[str, Any]:
    return {"check": check.name, "ok": False, "seconds": 0.0, "figures": {}, "why": "not run: no time was left for it"}


def _end(code: int) -> str:
    """What a return code says beyond the report: nothing unless a signal ended the process."""
    return f"the process died of {signal.Signals(-code).name}" if code < 0 else ""


def _environment() -> dict[str, str]:
    """The tree's root on the path of all processes, also of those that decode images."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
