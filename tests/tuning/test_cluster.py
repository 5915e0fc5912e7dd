from __future__ import annotations

import socket

import pytest

from siod.errors import UserError
from siod.tuning.cluster import refuse_unreachable


@pytest.mark.parametrize("address", ["10.0.0.1", "no-port:", ":6379", "host:ray", "ray://host"])
def test_what_is_no_address_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(UserError, match=r"expected host:port, for example 10\.0\.0\.1:6379"):
        refuse_unreachable(address)


def test_an_address_nobody_listens_on_is_refused_with_the_remedy() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match=f"'127.0.0.1:{port}': nobody listens there .*ray start --head"):
        refuse_unreachable(f"127.0.0.1:{port}")


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_somebody_listens_on_passes(scheme: str) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        refuse_unreachable(f"{scheme}127.0.0.1:{server.getsockname()[1]}")


def test_words_are_left_to_ray() -> None:
    refuse_unreachable("auto")
