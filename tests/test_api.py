"""docs/api.md names what may be imported, and all that is shown to users imports nothing else."""

from __future__ import annotations

import ast
import importlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from siod.tuning.fitting.study_file import WEIGHTS, render
from tests.tuning.test_study_file import draft

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "api.md").read_text()
ROWS = re.findall(r"^\| `(siod[\w.]*)` \| (.+?) \| .+ \|$", PAGE, flags=re.MULTILINE)
PUBLIC = {(module, name) for module, names in ROWS for name in re.findall(r"`(\w+)`", names)}


def shown() -> dict[str, str]:
    """Python that users are shown, by where it stands."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    code = {
        f"{page.relative_to(ROOT)}, block {number}": block
        for page in pages
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL), start=1)
    }
    files = [*(ROOT / "studies").glob("*.py"), *(ROOT / "tests" / "examples").glob("*.py")]
    return code | {str(path.relative_to(ROOT)): path.read_text() for path in files}


def imported(code: str) -> set[tuple[str, str]]:
    """Module and name of what is imported from siod; a module as a whole has no name."""
    found: set[tuple[str, str]] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "siod":
            found |= {(str(node.module), alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names if alias.name.split(".")[0] == "siod"}
    return found


@pytest.mark.parametrize(("module", "name"), sorted(PUBLIC))
def test_a_name_of_the_page_can_be_imported(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)


def test_no_name_stands_on_the_page_twice() -> None:
    names = [(module, name) for module, listed in ROWS for name in re.findall(r"`(\w+)`", listed)]
    assert len(names) == len(PUBLIC) > 150


@pytest.mark.parametrize("place", sorted(shown()))
def test_what_users_are_shown_imports_names_of_the_page(place: str) -> None:
    assert imported(shown()[place]) - PUBLIC == set()


def test_readme_pages_and_studies_are_all_looked_at() -> None:
    places = shown()
    assert sum(place.startswith("studies/") for place in places) >= 20
    assert sum(place.startswith("README.md") for place in places) >= 2
    assert {"docs/studies.md, block 1", "docs/evaluation.md, block 1", "tests/examples/toy_detector.py"} <= set(places)


@pytest.mark.parametrize("weights", sorted(WEIGHTS))
@pytest.mark.parametrize("family", ["centernet", "fcos", "retinanet", "faster_rcnn"])
def test_a_study_s_file_that_siod_writes_imports_names_of_the_page(family: str, weights: str) -> None:
    text = render(replace(draft(family), weights=weights))
    assert len(imported(text)) >= 10
    assert imported(text) - PUBLIC == set()
