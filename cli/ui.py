"""``siod ui``: MLflow's pages over the tracking store, on this machine only."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import Annotated

import typer

from siod.cli.options import RUNS, Runs, Tracking, absolute, store_uri
from siod.errors import UserError

HOST = "127.0.0.1"
# One worker and no job executor: 0.5 GB and 10 s to start instead of 2.5 GB and 46 s.
LIGHT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


def ui(
    *,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on the loopback interface.")] = 5000,
    runs: Runs = RUNS,
    tracking: Tracking = None,
) -> None:
    """Show the tracking store in a browser, on this machine only; Ctrl-C ends it."""
    uri = store_uri(tracking, absolute(runs))
    if uri.startswith(("http://", "https://")):
        typer.echo(f"the tracking server shows its own pages: {uri}")
        return
    _refuse_taken(port)
    from siod.tracking.mlflow import Store  # noqa: PLC0415  (keeps --help fast)

    store = Store(uri)
    store.prepare()
    store.repair()  # MLflow's pages find the pictures of a store that was moved or copied
    typer.echo(f"MLflow opens at http://{HOST}:{port} in about ten seconds; Ctrl-C ends it")
    for study, page in store.pages().items():
        typer.echo(f"  {study} by arm: http://{HOST}:{port}{page}")
    arguments = ["server", "--backend-store-uri", uri, "--host", HOST, "--port", str(port), "--workers", "1"]
    server = subprocess.Popen([sys.executable, "-m", "mlflow", *arguments], env=os.environ | LIGHT)  # noqa: S603
    try:
        code = server.wait()
    except KeyboardInterrupt:
        server.terminate()
        server.wait()
        return
    raise typer.Exit(code)


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(f"port {port}: {error.strerror}; name another with --port") from error
