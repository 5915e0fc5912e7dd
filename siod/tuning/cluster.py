"""Join a Ray cluster or start one on this machine, quietly, and say what it offers."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import ray

from siod.errors import UserError
from siod.tuning.plan import Node

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECT_SECONDS = 5.0
# Trials exchange files and small records only; Ray's default would reserve a third of the memory.
OBJECT_STORE_BYTES = 128 * 2**20
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the other output engine prints tables even at verbosity 0
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # a worker's report waits for the next check: 2 s by default
    "TUNE_GLOBAL_CHECKPOINT_S": "60",  # trials resume from their own folders, not from Tune's snapshots
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial that asked for no GPU sees none
}
# Ray on this machine does not come back once it is gone; its default waits a minute for that.
ALONE = {"RAY_gcs_rpc_server_reconnect_timeout_s": "15"}


@contextmanager
def session(address: str | None = None) -> Iterator[tuple[Node, ...]]:
    """Have Ray running for as long as the context lasts.

    A session that runs already in this process is used and left running.

    Args:
        address: ``host:port`` of a cluster; None starts one on this machine.

    Yields:
        What each of its machines offers.

    Raises:
        UserError: Nobody listens at the address, or the cluster refuses.
    """
    if ray.is_initialized():
        yield _nodes()
        return
    for name, value in (QUIET if address is not None else QUIET | ALONE).items():
        os.environ.setdefault(name, value)
    if address is not None:
        refuse_unreachable(address)
    _join(address)
    try:
        yield _nodes()
    finally:
        ray.shutdown()


def refuse_unreachable(address: str) -> None:
    """Knock at an address; Ray itself would try for minutes.

    Args:
        address: ``host:port``, with or without a scheme; words such as ``auto`` are left to Ray.

    Raises:
        UserError: It is no address, or nobody listens there.
    """
    if address in {"auto", "local"}:
        return
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"Ray address {address!r}: expected host:port, for example 10.0.0.1:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"Ray address {address!r}: nobody listens there ({error}); start a cluster with 'ray start --head' "
            "or leave the address out"
        ) from error


def _join(address: str | None) -> None:
    own = address in {None, "local"}
    try:
        ray.init(
            address="local" if own else address,
            include_dashboard=False if own else None,
            object_store_memory=OBJECT_STORE_BYTES if own else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        hint = "; a cluster with tokens needs RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" if "auth" in str(error) else ""
        where = "on this machine" if own else f"at {address}"
        raise UserError(f"Ray {where} does not answer ({error}){hint}") from error


def _nodes() -> tuple[Node, ...]:
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return tuple(Node(offer.get("CPU", 0.0), offer.get("GPU", 0.0)) for offer in alive)
