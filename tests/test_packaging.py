"""The package list matches the disk, and a wheel holds one top-level name."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_package_on_disk_is_listed() -> None:
    roots = {"siod": "siod", "cli": "siod.cli", "reports": "siod.reports", "studies": "siod.studies"}
    on_disk = {
        ".".join((package, *path.parent.relative_to(ROOT / folder).parts))
        for folder, package in roots.items()
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert set(SETTINGS["packages"]) == on_disk


@pytest.mark.parametrize("folder", ["cli", "reports", "studies"])
def test_a_top_level_folder_refuses_its_short_name(folder: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {folder}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"import siod.{folder}, not {folder}" in done.stderr


@pytest.mark.slow
def test_the_wheel_owns_exactly_one_top_level_name(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"siod"}
    for expected in ("siod/cli/main.py", "siod/reports/page.py", "siod/studies/digits_modules.py", "siod/py.typed"):
        assert expected in names
    assert any(name.startswith("siod/reports/templates/") for name in names)
