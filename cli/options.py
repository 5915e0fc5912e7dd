"""Options that several commands share, and the folders and stores they lead to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from siod.errors import UserError

Runs = Annotated[
    Path, typer.Option("--runs", envvar="SIOD_RUNS", help="Folder of runs, studies and the default tracking store.")
]
Tracking = Annotated[
    str | None,
    typer.Option(
        "--tracking",
        envvar="SIOD_TRACKING",
        help="MLflow tracking URI; a SQLite file in the folder of runs when not given.",
        show_default=False,
    ),
]
Cache = Annotated[
    Path,
    typer.Option("--cache", envvar="SIOD_CACHE", help="Folder of generated data, derived sets and pretrained weights."),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        envvar="RAY_ADDRESS",
        help="A running Ray cluster, as host:port; one is started on this machine when not given.",
        show_default=False,
    ),
]
SkipBroken = Annotated[
    bool, typer.Option("--skip-broken-images", help="Leave out images that do not decode instead of stopping.")
]

RUNS = Path("runs")
CACHE = Path("~/.cache/siod")


def store_uri(tracking: str | None, runs: Path) -> str:
    """The tracking store: the one that was named, or a SQLite file in the folder of runs.

    Example:
        >>> store_uri("http://localhost:5000", Path("runs"))
        'http://localhost:5000'
    """
    from siod.tracking.connection import sqlite_uri  # noqa: PLC0415  (keeps --help fast)

    return tracking or sqlite_uri(runs.resolve() / "mlflow.db")


def absolute(path: Path) -> Path:
    """A path that means the same in every process: ``~`` expanded, the working directory in front."""
    return path.expanduser().resolve()


def refuse_occupied(path: Path) -> None:
    """Refuse to write where something already is.

    Args:
        path: A file that must not exist, or a folder that must be empty or absent.

    Raises:
        UserError: Something is there.
    """
    if path.is_dir():
        if any(path.iterdir()):
            raise UserError(f"{path}: the folder is not empty; name a new one or empty it")
    elif path.exists():
        raise UserError(f"{path}: exists already; name another file or delete it")


def writable_parent(path: Path) -> None:
    """Make the parent folder of an output, or say why that cannot be.

    Raises:
        UserError: The folder cannot be made or written to.
    """
    parent = path.resolve().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{parent}: cannot be made ({error.strerror}); name another place") from error
    if not os.access(parent, os.W_OK):
        raise UserError(f"{parent}: not writable; name another place or change its permissions")
