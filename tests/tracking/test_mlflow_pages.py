"""MLflow's own pages, from a real server in headless Chromium: they list a study's trials and compare its arms."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import quote

import pytest

from siod.tracking.mlflow import Store
from siod.tracking.records import StudyHeader

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"), pytest.mark.slow]


def elements(address: str, folder: Path) -> str:
    """The elements of a page once its scripts have nothing left to do."""
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command += ["--window-size=1600,1600", "--virtual-time-budget=60000", "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


def test_the_pages_list_the_trials_by_arm_and_compare_two_of_them(
    tmp_path: Path,
    free_port: int,
    header: Callable[..., StudyHeader],
    tracking_server: Callable[[Path, int], AbstractContextManager[str]],
) -> None:
    with tracking_server(tmp_path / "server", free_port) as uri:
        store = Store(uri)
        study = store.start_study(header())
        runs = {}
        for arm, ap in (("base", 0.1875), ("dminer", 0.2625)):
            log = store.start_trial(study, arm=arm, seed=0, identity=arm, settings={"recipe": {"epochs": 2}}, tags={})
            log.log_epoch(1, {"ap_s": ap, "ap_s0": 2 * ap})
            log.finish("finished")
            runs[arm] = log.run_id
        store.finish_study(study, "finished")
        address = store.read_study("demo", details=False).address
        listed = elements(f"{address}/runs?viewStateShareKey=arms", tmp_path)
        assert "Group: base" in listed
        assert "Group: dminer" in listed
        assert "base/0" in listed
        assert "dminer/0" in listed
        number = address.rpartition("/")[2]
        wanted = f"runs={quote(json.dumps(list(runs.values())))}&experiments={quote(json.dumps([number]))}"
        compared = elements(f"{uri}/#/compare-runs?{wanted}", tmp_path)
        for shown in ("base/0", "dminer/0", "ap_s0", "0.188", "0.263"):
            assert shown in compared, shown
