"""Fixtures shared by all tests."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

# A property holds on a busy machine too.
settings.register_profile("siod", deadline=None)
settings.load_profile("siod")

# The shapes in the annotations of the tensor functions are checked at every call a test makes.
install_import_hook(
    ["siod.ops", "siod.data.transforms", "siod.dminer.pgcl", "siod.dminer.prototypes", "siod.dminer.splg"],
    "beartype.beartype",
)


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
    from siod.tuning.cluster import session  # noqa: PLC0415  (most tests do without Ray)

    with session():
        yield
