"""A fresh store for every test, made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from siod.tracking.mlflow import Store
from siod.tracking.records import ArmRecord, StudyHeader


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store: making its tables takes seconds, copying it does not."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    Store(f"sqlite:///{path}").prepare()
    return path


@pytest.fixture
def store(fresh_database: Path, tmp_path: Path) -> Store:
    (tmp_path / "runs").mkdir()
    shutil.copy(fresh_database, tmp_path / "runs" / "mlflow.db")
    return Store(f"sqlite:///{tmp_path}/runs/mlflow.db")


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
