"""A fresh store for every test, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from siod.tracking.mlflow import Store
from siod.tracking.records import ArmRecord, StudyHeader


@pytest.fixture
def store(new_store: Callable[[Path], str], tmp_path: Path) -> Store:
    return Store(new_store(tmp_path / "runs"))


@pytest.fixture
def header() -> Callable[..., StudyHeader]:
    def make(name: str = "demo", seeds: tuple[int, ...] = (0, 1)) -> StudyHeader:
        return StudyHeader(
            name=name,
            question="Does it help?",
            arms=(ArmRecord("base", "SIOD (base)"), ArmRecord("dminer", "DMiner", "new", {"dminer.splg": None})),
            baseline="base",
            seeds=seeds,
            experiment={"recipe": {"epochs": 2}},
            command="siod study run demo",
        )

    return make
