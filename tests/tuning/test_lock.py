from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from siod.errors import UserError
from siod.tuning.running.lock import abandoned, study_lock

if TYPE_CHECKING:
    from pathlib import Path

HOLDER = """
import sys
from pathlib import Path
from siod.tuning.running.lock import study_lock
with study_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_study_is_abandoned_once_its_driver_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    assert not abandoned(folder)
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "held\n"
        assert not abandoned(folder)
        with pytest.raises(UserError, match="another process is running this study"), study_lock(folder):
            pass
        driver.kill()
    assert abandoned(folder)
    with study_lock(folder):
        assert not abandoned(folder)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/study: cannot be made"), study_lock(tmp_path / "file" / "study"):
        pass
