"""Processes that run siod without importing it: forked from one that has torch, Ray and MLflow loaded.

These imports take longer than most of what tests wait for. Other than that a process is like one from a shell: it has
its own session, environment, arguments and output, and dies of a signal or ends with an exit code. The server that
forks is the one of Python's multiprocessing; had something else of this process started it before, what is not loaded
there is imported as ever.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TextIO

import torch
from ray_workers import FOLDER, become, fork_workers

FORKS = multiprocessing.get_context("forkserver")
STARTED: list[Forked] = []
FORKS.set_forkserver_preload(["siod.cli.main", "siod.tuning.running.runner", "mlflow.store.tracking.sqlalchemy_store"])


class Forked:
    """A program that runs.

    Args:
        program: Python source, run as a main module.
        words: Its arguments.
        folder: Where it runs; here when None.
        environment: Its environment variables; those of this process when None.
    """

    def __init__(
        self, program: str, *words: str, folder: Path | None = None, environment: dict[str, str] | None = None
    ) -> None:
        reads, writes = FORKS.Pipe(duplex=False)
        place, variables = str(folder or Path.cwd()), dict(os.environ if environment is None else environment)
        self._process = FORKS.Process(target=_run, args=(program, words, place, variables, writes))
        self._process.start()
        writes.close()
        self.output: TextIO = os.fdopen(os.dup(reads.fileno()), encoding="utf-8")
        reads.close()
        assert self._process.pid is not None
        self.pid = self._process.pid
        STARTED.append(self)

    @property
    def returncode(self) -> int | None:
        """As of :class:`subprocess.Popen`: None while it runs, negative if a signal ended it."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def join(self) -> None:
        self._process.join()

    def rest(self, timeout: float = 300.0) -> str:
        """Wait for its end; returns what it still said on both streams. It is killed when its time is up."""
        alarm = threading.Timer(timeout, os.killpg, (self.pid, signal.SIGKILL))
        alarm.start()
        with self.output:
            said = self.output.read()
        self._process.join()
        alarm.cancel()
        return said


def end_all() -> None:
    """End what a test left running, which would be taken for a process of the next one."""
    while STARTED:
        process = STARTED.pop()
        if process.returncode is None:
            process.kill()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.join()
        process.output.close()


def siod(*words: str, folder: Path | None = None, environment: dict[str, str] | None = None) -> Forked:
    """The command line with some words."""
    return Forked("from siod.cli.main import main; main()", *words, folder=folder, environment=environment)


def run_ranks(function: Callable[..., None], args: tuple[object, ...], nprocs: int) -> None:
    """As :func:`torch.multiprocessing.spawn`: a function of a rank and more, in as many processes of one gloo group.

    Args:
        function: Of a module, called with the rank before the arguments; each process computes with one thread.
        args: Its other arguments.
        nprocs: How many processes.
    """
    with tempfile.TemporaryDirectory() as folder:
        rendezvous = (Path(folder) / "rendezvous").as_uri()
        torch.multiprocessing.start_processes(
            _as_rank, args=(nprocs, rendezvous, function, args), nprocs=nprocs, start_method="forkserver"
        )


def _as_rank(rank: int, nprocs: int, rendezvous: str, function: Callable[..., None], args: tuple[object, ...]) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=nprocs)
    function(rank, *args)
    torch.distributed.destroy_process_group()


def _read_ray_variables() -> None:
    """Ray reads RAY_AUTH_MODE and others once, when it is loaded: in the server that forks, from another environment.

    A driver that asks for tokens then ignores what the workers of a cluster without tokens tell it, and takes its
    trials for dead.
    """
    if "ray" not in sys.modules:
        return
    from ray._raylet import AuthenticationTokenLoader, Config  # noqa: PLC0415  (loaded already)

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _run(program: str, words: tuple[str, ...], folder: str, variables: dict[str, str], output: Connection) -> None:
    os.setsid()
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    output.close()
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  (as in a new process)
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    become(["-c", *words], folder, variables)
    _read_ray_variables()
    if FOLDER in os.environ:
        fork_workers()
    try:
        exec(program, {"__name__": "__main__"})  # noqa: S102  (as python -c does)
    finally:
        atexit._run_exitfuncs()  # a forked process leaves them out
