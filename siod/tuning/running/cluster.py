"""Join a Ray cluster or start one on this machine, quietly, and say what it offers."""

from __future__ import annotations

import gc
import logging
import os
import socket
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from siod.errors import UserError
from siod.files import wait_until
from siod.training.machine import this_machine
from siod.training.placement import Node

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

CONNECT_SECONDS = 5.0
# A node that holds a worker's start up longer than that is of no use.
ANSWER_SECONDS = 120.0
# Network file systems show new files late, though not long if the name was not looked up before.
VISIBLE_SECONDS = 10.0
# Trials exchange files and small records only; Ray's default would reserve a third of the memory.
OBJECT_STORE_BYTES = 128 * 2**20
# Read by the process that starts a study.
DRIVER = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the other output engine prints tables even at verbosity 0
    "TUNE_GLOBAL_CHECKPOINT_S": "60",  # trials resume from their own folders, not from Tune's snapshots
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # siod.tuning.running.driver answers Ctrl-C
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
# Read by the processes that Ray starts, on whatever node: they travel there with the session (runtime_env).
WORKERS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # a worker's report waits for the next check: 2 s by default
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial that asked for no GPU sees none
    "RAY_worker_niceness": "0",  # Ray's default of 15 starves trials beside anything else on their machine
}
# Machines that have to be started first take longer than the minute Ray Train gives a worker group.
AUTOSCALING = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600"}
# Read by Ray on this machine.
ALONE = {
    "RAY_gcs_rpc_server_reconnect_timeout_s": "15",  # it does not come back once it is gone; the default waits a minute
    # Tune gives its trials an environment, for which processes that were started beforehand are of no use.
    "RAY_prestart_worker_first_driver": "0",
}


@contextmanager
def session(
    address: str | None = None, *, verbose: bool = False, autoscale: bool = False
) -> Iterator[tuple[Node, ...]]:
    """Have Ray running for as long as the context lasts.

    A session that runs already in this process is used and left running.

    Args:
        address: ``host:port`` of a cluster; None starts one on this machine.
        verbose: Whether Ray's own messages and the output of its workers are shown.
        autoscale: Whether the cluster starts machines as trials ask for them.

    Yields:
        What each of its machines offers.

    Raises:
        UserError: Nothing listens at the address, or the cluster refuses.
    """
    workers = WORKERS | AUTOSCALING if autoscale else WORKERS
    for name, value in (DRIVER | workers if address is not None else DRIVER | workers | ALONE).items():
        os.environ.setdefault(name, value)
    if ray.is_initialized():
        yield _nodes()
        return
    if address is not None:
        refuse_unreachable(address)
    with _own_authentication():
        _join(address, variables={name: os.environ[name] for name in workers}, verbose=verbose)
        try:
            yield _nodes()
        finally:
            gc.collect()  # Ray ends the process if another thread (the recorder's) frees one of its objects after this
            ray.shutdown()


@contextmanager
def _own_authentication() -> Iterator[None]:
    """A session on this machine turns tokens on for the process; afterwards it is as before.

    Otherwise a cluster without tokens that the process joins later seems to lose every trial.
    """
    before = os.environ.get("RAY_AUTH_MODE")
    try:
        yield
    finally:
        if os.environ.get("RAY_AUTH_MODE") != before:
            del os.environ["RAY_AUTH_MODE"]
            if before is not None:
                os.environ["RAY_AUTH_MODE"] = before
            # Versions of Ray that do not turn tokens on by themselves may lack it.
            from ray._private.authentication_test_utils import reset_auth_token_state  # noqa: PLC0415

            reset_auth_token_state()


@contextmanager
def machines(
    address: str | None = None, *, verbose: bool = False, autoscale: bool = False
) -> Iterator[tuple[Node, ...]]:
    """Find out which machines there are to place trials on, without starting Ray; a cluster is joined and stays joined.

    Joining twice is not only slow: a process that leaves Ray and joins again may be ended by it when a node was lost.

    Args:
        address: ``host:port`` of a cluster.
        verbose: As in :func:`session`.
        autoscale: As in :func:`session`.

    Yields:
        What each machine offers: of the cluster, of the session of this process, or this machine alone.

    Raises:
        UserError: As :func:`session`.
    """
    if address is not None:
        refuse_unreachable(address)
    if address in {None, "local"} and not ray.is_initialized():
        yield (this_machine(),)
        return
    with session(address, verbose=verbose, autoscale=autoscale) as nodes:
        yield nodes


def refuse_unreachable(address: str) -> None:
    """Check within seconds that something listens at an address; Ray itself would try for minutes.

    Args:
        address: ``host:port``, with or without a scheme; words such as ``auto`` are left to Ray.

    Raises:
        UserError: It is no address, or nothing listens there.
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


def _join(address: str | None, *, variables: dict[str, str], verbose: bool) -> None:
    own = address in {None, "local"}
    here = this_machine()
    try:
        ray.init(
            address="local" if own else address,
            # What was planned with is what there is: Ray counts cores and GPUs in its own way.
            num_cpus=int(here.cpus) if own else None,
            num_gpus=int(here.gpus) if own else None,
            include_dashboard=False if own else None,
            object_store_memory=OBJECT_STORE_BYTES if own else None,
            # On this machine all processes inherit them.
            runtime_env=None if own else {"env_vars": variables},
            log_to_driver=verbose,
            logging_level=logging.INFO if verbose else logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        hint = "; a cluster with tokens needs RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" if "auth" in str(error) else ""
        where = "on this machine" if own else f"at {address}"
        raise UserError(f"Ray {where} does not answer ({error}){hint}") from error
    except OSError as error:
        remedy = (
            "give its sockets a shorter folder, for example RAY_TMPDIR=/tmp"
            if "AF_UNIX" in str(error)
            else "set HOME and RAY_TMPDIR to folders that can be written"
        )
        raise UserError(f"Ray cannot start on this machine ({error}); {remedy}") from error
    except Exception as error:  # Ray raises bare ones where its own processes do not come up in time
        raise UserError(f"Ray cannot start ({error}); run again when the machine is less busy") from error


def refuse_unshared(folders: Sequence[Path]) -> None:
    """Check that all nodes that can hold trials share some folders: each reads what is written here, and the reverse.

    Args:
        folders: Made if need be. A session on one machine is not asked.

    Raises:
        UserError: A node does not see a folder, cannot write to it, or cannot run siod.
    """
    here = ray.get_runtime_context().get_node_id()
    others = [node for node in _alive() if node["NodeID"] != here and _offers(node).cpus > 0]
    for folder in folders if others else ():
        folder.mkdir(parents=True, exist_ok=True)
        token = folder / f".shared-{uuid.uuid4().hex}"
        token.touch()
        asked = {node["NodeManagerAddress"]: _answer_on(node, token) for node in others}
        try:
            for name, answer in asked.items():
                _check_answer(name, answer, folder)
        finally:
            for path in folder.glob(f"{token.name}*"):
                path.unlink(missing_ok=True)


def _answer_on(node: dict[str, Any], token: Path) -> ray.ObjectRef[str]:
    """Start :func:`answer` on a node."""
    strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    remote = ray.remote(num_cpus=0, max_retries=0)(answer)
    reference: ray.ObjectRef[str] = remote.options(scheduling_strategy=strategy).remote(token, node["NodeID"])
    return reference


def answer(token: Path, name: str) -> str:
    """Runs on a node: look for a file and write another one beside it.

    Args:
        token: A file that another node wrote.
        name: Unique to the node.

    Returns:
        The name of the file written beside the token, or a sentence that begins with a space.
    """
    if not _appears(token):
        return " does not see what this machine writes there"
    try:
        token.with_name(f"{token.name}-{name}").touch()
    except OSError as error:
        return f" cannot write there ({error.strerror})"
    return f"{token.name}-{name}"


def _check_answer(name: str, reference: ray.ObjectRef[str], folder: Path) -> None:
    try:
        answered = ray.get(reference, timeout=ANSWER_SECONDS)
    except (ray.exceptions.RayError, ImportError) as error:
        reason = " ".join(str(error).split())[-200:]
        raise UserError(f"node {name} cannot run siod ({reason}); install the same version of siod there") from error
    if not answered.startswith(" ") and not _appears(folder / answered):
        answered = " writes there, but it does not appear on this machine"
    if answered.startswith(" "):
        raise UserError(f"{folder}: node {name}{answered}; name a folder all nodes share with --runs and --cache")


def _appears(path: Path) -> bool:
    return wait_until(path.exists, VISIBLE_SECONDS)


def _nodes() -> tuple[Node, ...]:
    return tuple(_offers(node) for node in _alive())


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _offers(node: dict[str, Any]) -> Node:
    return Node(node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0))
