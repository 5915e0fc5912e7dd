"""A result that another machine has written is waited for, unless there is a reason not to."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from siod import files
from siod.json_file import write_json
from siod.training.results import wait_for_result


def test_a_result_that_appears_late_is_seen(tmp_path: Path) -> None:
    late = threading.Timer(1.0, write_json, (tmp_path / "result.json", {"ap_s": 0.5}))
    late.start()
    assert wait_for_result(tmp_path) == {"ap_s": 0.5}
    late.join()


def test_a_result_that_never_appears_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "VISIBLE_SECONDS", 0.5)
    assert wait_for_result(tmp_path) is None


def test_the_result_of_a_run_that_was_stopped_is_not_waited_for(tmp_path: Path) -> None:
    began = time.monotonic()
    assert wait_for_result(tmp_path, give_up=lambda: True) is None
    assert time.monotonic() - began < files.VISIBLE_SECONDS / 2
