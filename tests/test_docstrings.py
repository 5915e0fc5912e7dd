"""The examples in docstrings show what the code answers."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
HOMES = {"siod": "siod", "cli": "siod.cli", "reports": "siod.reports", "studies": "siod.studies"}


def modules_with_examples() -> list[str]:
    return [
        ".".join((package, *path.relative_to(ROOT / folder).with_suffix("").parts))
        for folder, package in HOMES.items()
        for path in sorted((ROOT / folder).rglob("*.py"))
        if ">>> " in path.read_text()
    ]


@pytest.mark.parametrize("name", modules_with_examples())
@pytest.mark.usefixtures("unchecked_shapes")
def test_the_examples_of_a_module_come_out_as_written(name: str) -> None:
    finder, known = doctest.DocTestFinder(exclude_empty=True), {"torch": torch, "np": np}
    found = finder.find(importlib.import_module(name), name, extraglobs=known)
    results = [doctest.DocTestRunner().run(test) for test in found]
    assert sum(result.attempted for result in results) > 0
    assert sum(result.failed for result in results) == 0


def test_examples_are_found() -> None:
    assert len(modules_with_examples()) > 30
