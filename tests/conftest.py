"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import jaxtyping
import pytest
from hypothesis import Phase, settings
from jaxtyping import install_import_hook

# Of tests that run side by side each has one thread; several would wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A property holds on a busy machine too.
settings.register_profile("siod", deadline=None)
# `make mutants`: every mutant meets the same examples; the first one that fails is enough.
settings.register_profile(
    "mutants", deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("siod")

# The shapes in the annotations of the tensor functions are checked at every call a test makes.
install_import_hook(
    [
        "siod.ops",
        "siod.data.transforms",
        "siod.data.loading.pixels",
        "siod.dminer.mining.pgcl",
        "siod.dminer.mining.prototypes",
        "siod.dminer.mining.reject",
        "siod.dminer.mining.splg",
    ],
    "beartype.beartype",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first, those with Ray before all: two workers end together if the rest is short."""
    ray, slow = ({item.path for item in items if item.get_closest_marker(name)} for name in ("ray", "slow"))
    items.sort(key=lambda item: (item.path not in ray, item.path not in slow))


@pytest.fixture
def unchecked_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensor functions are called as users call them, whose shapes no import hook checks."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    if "forked" in sys.modules:
        sys.modules["forked"].end_all()


@pytest.fixture(scope="session", autouse=True)
def _workers_are_forked(request: pytest.FixtureRequest) -> None:
    """Tests with Ray wait for less: see ray_workers."""
    if any(item.get_closest_marker("ray") for item in request.session.items):
        from ray_workers import fork_workers  # noqa: PLC0415  (the others do without Ray)

        fork_workers()


@pytest.fixture
def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One Ray on this machine for all tests that need one; what asks for a session of its own finds this one."""
    from siod.tuning.running.cluster import session  # noqa: PLC0415  (most tests do without Ray)

    with session():
        yield


@pytest.fixture(scope="session")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], str]:
    """Puts an empty store into a folder, and says its address: making its tables takes seconds, a copy does not."""
    from siod.tracking.mlflow import Store  # noqa: PLC0415  (most tests do without MLflow)

    own = tmp_path_factory.getbasetemp()
    empty = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "empty" / "mlflow.db"
    Store(f"sqlite:///{empty}").prepare()

    def copied_into(folder: Path) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{shutil.copy(empty, folder / 'mlflow.db')}"

    return copied_into


@pytest.fixture(scope="session")
def tracking_server(new_store: Callable[[Path], str]) -> Callable[[Path, int], AbstractContextManager[str]]:
    """Starts an MLflow server that keeps its records in a folder, and listens on a port; killed at the end."""
    return partial(_tracking_server, new_store)


@contextmanager
def _tracking_server(new_store: Callable[[Path], str], folder: Path, port: int) -> Iterator[str]:
    """An MLflow server that is killed at the end."""
    database = folder / "mlflow.db"
    store = f"sqlite:///{database}" if database.exists() else new_store(folder)
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store, "--artifacts-destination", str(folder)]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    uri = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 120
        while not answers(uri):
            assert server.poll() is None
            assert time.monotonic() < until
            time.sleep(0.5)
        yield uri
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(timeout=30)


def answers(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=5):  # noqa: S310  (http only)
            return True
    except OSError:
        return False
