"""The connection to an MLflow store: its client, its errors in one sentence, and its silence."""

from __future__ import annotations

import logging
import os
import urllib.error
import urllib.request
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from siod.errors import RunError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlflow import MlflowClient
    from mlflow.store.entities import PagedList

SERVER_SECONDS = 5.0
Entry = TypeVar("Entry")


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn what a store raises into one sentence.

    Args:
        uri: Of the store, named in the error.

    Raises:
        RunError: The store failed.
    """
    _quieten()
    from mlflow.exceptions import MlflowException  # noqa: PLC0415  (keeps the import of this module cheap)
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise RunError(f"tracking store {shown(uri)}: {first}") from error


def shown(uri: str) -> str:
    """A store's address without its password.

    Example:
        >>> shown("postgresql://me:secret@host/runs")
        'postgresql://me:***@host/runs'
    """
    password = urlsplit(uri).password
    return uri.replace(f":{password}@", ":***@", 1) if password else uri


@lru_cache(maxsize=8)
def client_of(uri: str) -> MlflowClient:
    """The client of a store, one per process.

    Args:
        uri: Of the store.
    """
    _quieten()
    from mlflow import MlflowClient  # noqa: PLC0415  (keeps the import of this module cheap)

    return MlflowClient(tracking_uri=uri)


def _quieten() -> None:
    """Say nothing on the terminal, tell nobody about it, and do not wait minutes for a server that is gone."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)


def sqlite_path(uri: str) -> Path:
    """The absolute path of a SQLite store, so that it means the same in every process.

    Raises:
        UserError: The address names no file.
    """
    path = uri.removeprefix("sqlite:///")
    if path in {uri, "", ":memory:"}:
        raise UserError(f"tracking store {uri!r}: names no file; write sqlite:///path/to/mlflow.db")
    return Path(path).expanduser().resolve()


def refuse_unreachable(uri: str) -> None:
    """See within five seconds that a tracking server answers.

    Raises:
        UserError: It does not.
    """
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=SERVER_SECONDS):  # noqa: S310  (http only)
            return
    except urllib.error.HTTPError:
        return  # it answers; whether it lets us in is for MLflow's own calls to find out
    except OSError as error:
        reason = getattr(error, "reason", error)
        remedy = f"start it with 'mlflow server --host {urlsplit(uri).hostname}' or name another store"
        raise UserError(f"tracking server {shown(uri)}: does not answer ({reason}); {remedy}") from error


def all_pages(page: Callable[[str | None], PagedList[Entry]]) -> list[Entry]:
    """Everything a search finds, page by page."""
    found = page(None)
    entries = list(found)
    while found.token:
        found = page(found.token)
        entries += found
    return entries
