"""Workers of Ray, forked from a process that has torch and siod loaded.

Ray starts each as ``python setup_worker.py ... default_worker.py ...``, and what it runs then imports torch for longer
than most tests train. Here that Python is a small program that asks a server to fork the worker, and lives as long as
it does: whatever ends one of the two ends the other, so that Ray's raylet waits for it and kills it as ever. The worker
imports Ray by itself, because Ray reads the environment when it is loaded.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

FOLDER = "SIOD_TESTS_RAY_WORKERS"
# Beside siod and what it trains with, what Ray Tune and Ray Train import of others.
LOADED = (
    *("torch._dynamo", "torchvision", "siod.training.run", "siod.tuning.trials.execution"),
    *("fsspec", "jsonschema", "pandas", "pyarrow.fs", "requests", "rich.live", "yaml"),
)
STARTED: list[subprocess.Popen[bytes]] = []
STARTER = """#!{python} -IS
import json, os, socket, sys
if not sys.argv[1].endswith("_worker.py"):
    os.execv("{python}", ["{python}", *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as server:
    server.connect("{address}")
    asked = json.dumps([os.getpid(), sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(asked).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(asked)
    code = int(server.recv(8) or 1)
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


def fork_workers() -> None:
    """Have the workers forked of the sessions and nodes of Ray that this process and its children start."""
    if FOLDER not in os.environ:
        folder = Path(tempfile.mkdtemp(prefix="siod-tests-"))
        address = str(folder / "address")
        (folder / "python").write_text(STARTER.format(python=sys.executable, address=address))
        (folder / "python").chmod(0o700)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen(64)
            command = [sys.executable, __file__, str(folder), str(listener.fileno()), str(os.getpid())]
            STARTED.append(subprocess.Popen(command, pass_fds=[listener.fileno()], start_new_session=True))
        os.environ[FOLDER] = str(folder)
    from ray._private import services  # noqa: PLC0415  (most tests do without Ray)

    services.sys = _Sys(f"{os.environ[FOLDER]}/python")  # type: ignore[attr-defined]


class _Sys:
    """The module sys with another Python."""

    def __init__(self, executable: str) -> None:
        self.executable = executable

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)


def become(words: list[str], place: str, variables: dict[str, str]) -> None:
    """Have the arguments, the folder and the environment of another process."""
    os.chdir(place)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = words


def worker_of(starter: int) -> int | None:
    """The process that was forked for another one, None if nothing was."""
    with suppress(FileNotFoundError, ValueError):
        return int(Path(os.environ[FOLDER], str(starter)).read_text())
    return None


def _serve(folder: Path, listener: socket.socket, owner: int) -> None:
    """Fork what is asked for, until the process that started this one is gone."""
    gone = os.pidfd_open(owner)
    asked: dict[int, tuple[socket.socket, int]] = {}  # who asked for a process, and its number, by its descriptor
    while True:
        ready = {*select.select([gone, listener, *asked, *(connection for connection, _ in asked.values())], [], [])[0]}
        if gone in ready:
            return
        if listener in ready:
            connection, _ = listener.accept()
            process = _fork(folder, connection)
            asked[os.pidfd_open(process)] = connection, process
        for descriptor, (connection, process) in list(asked.items()):
            if descriptor in ready or connection in ready:
                if descriptor not in ready:
                    os.kill(process, signal.SIGKILL)
                code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
                with suppress(OSError):
                    connection.sendall(str(code).encode())
                connection.close()
                os.close(descriptor)
                del asked[descriptor]


def _fork(folder: Path, connection: socket.socket) -> int:
    head, streams, _, _ = socket.recv_fds(connection, 8, 3)
    with connection.makefile("rb") as said:
        starter, words, place, variables = json.loads(said.read(int.from_bytes(head, "big")))
    process = os.fork()
    if process == 0:
        os.setpgid(0, 0)  # the raylet ends the group of a worker that ends
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        _run(words, place, variables)
    (folder / str(starter)).write_text(str(process))
    for stream in streams:
        os.close(stream)
    return process


def _run(words: list[str], place: str, variables: dict[str, str]) -> NoReturn:
    """As ``python [setup_worker.py] ... default_worker.py ...`` in a folder with an environment, and end."""
    code = 1
    try:
        options = argparse.ArgumentParser()
        options.add_argument("--language")
        options.add_argument("--serialized-runtime-env-context", type=json.loads, default={"env_vars": {}}, dest="own")
        told, words = options.parse_known_args(words)
        become(words[words[0].endswith("setup_worker.py") :], place, variables | told.own["env_vars"])
        sys.path.insert(0, str(Path(sys.argv[0]).parent))
        runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:  # noqa: BLE001  (said as Python says it, before the process ends)
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.path.pop(0)
    for module in LOADED:
        __import__(module)
    place = Path(sys.argv[1])
    _serve(place, socket.socket(fileno=int(sys.argv[2])), int(sys.argv[3]))
    shutil.rmtree(place)
