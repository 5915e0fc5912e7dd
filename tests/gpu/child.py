"""One check in a process of its own, which ``running`` starts as ``child.py FILE FUNCTION DEVICE WORK REPORT``."""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from pathlib import Path

from reporting import Report, Setting, described


def main() -> None:
    """Load the check from its file, run it, tell what it raises."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("file", "function", "device", "work", "report"):
        parser.add_argument(name)
    parser.add_argument("--small", action="store_true")
    told = parser.parse_args()
    report = Report(Path(told.report))
    try:
        sys.path.insert(0, str(Path(told.file).parent))
        check = getattr(importlib.import_module(Path(told.file).stem), told.function)
        check(Setting(told.device, told.small, Path(told.work)), report)
    except Exception as error:
        traceback.print_exc()
        report.require(holds=False, sentence=described(error))
        raise SystemExit(1) from error
    report.done()


if __name__ == "__main__":
    main()
