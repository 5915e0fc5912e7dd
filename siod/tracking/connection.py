"""The connection to an MLflow store: its client, its errors in one sentence, and its log switched off."""

from __future__ import annotations

import base64
import logging
import os
import urllib.error
import urllib.request
from contextlib import contextmanager
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit

from siod.errors import RunError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlflow import MlflowClient
    from mlflow.store.entities import PagedList

SERVER_SECONDS = 5.0
SQLITE_HEAD = b"SQLite format 3\0"
PACKAGES = {"psycopg": "'psycopg[binary]'", "MySQLdb": "mysqlclient"}
"""What a database's driver is called by pip where that differs from its module."""
REMEDIES = {
    "disk is full": "free some space there, or name another store",
    "database disk image is malformed": "the file is damaged; put a copy of it back, or name another store",
    "readonly database": "name a store in a folder that can be written to",
    "unable to open database file": "name a store in a folder that can be written to",
    "unsupported uri": "write sqlite:///FOLDER/mlflow.db or http://HOST:PORT",
}
"""What to do, by how MLflow or the database says what is wrong."""
Entry = TypeVar("Entry")


@contextmanager
def as_user_error(uri: str) -> Iterator[None]:
    """Turn an exception of a store into an error of one sentence.

    Args:
        uri: Of the store, named in the error.

    Raises:
        UserError: A database's driver is not installed.
        RunError: The store failed.
    """
    _silence()
    from mlflow.exceptions import MlflowException  # noqa: PLC0415  (keeps the import of this module cheap)
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    try:
        yield
    except ModuleNotFoundError as error:
        driver = error.name or str(error)
        raise UserError(
            f"tracking store {without_password(uri)}: needs the package {driver!r}; install it, for example "
            f"pip install {PACKAGES.get(driver, driver)}"
        ) from error
    except (MlflowException, SQLAlchemyError, OSError) as error:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise RunError(f"tracking store {without_password(uri)}: {first}") from error


def without_password(uri: str) -> str:
    """A store's address without its password.

    Example:
        >>> without_password("postgresql://me:secret@host/runs")
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
    _silence()
    from mlflow import MlflowClient  # noqa: PLC0415  (keeps the import of this module cheap)

    return MlflowClient(tracking_uri=uri)


def _silence() -> None:
    """Switch off MLflow's log and telemetry, and shorten its retries for a server that is gone."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)


def remedy_of(sentence: str, uri: str) -> str:
    """What to do about a store that does not open.

    Args:
        sentence: How it says what is wrong.
        uri: Of the store.

    Example:
        >>> remedy_of("database or disk is full", "sqlite:////runs/mlflow.db")
        'free some space there, or name another store'
    """
    known = (remedy for words, remedy in REMEDIES.items() if words in sentence.lower())
    return next(known, f"name another store, or try 'mlflow db upgrade {without_password(uri)}' if MLflow was updated")


def sqlite_uri(path: Path) -> str:
    """The address of a SQLite file, whatever its folders are called.

    Example:
        >>> sqlite_uri(Path("/runs/50%/what?.db"))
        'sqlite:////runs/50%25/what%3F.db'
    """
    return f"sqlite:///{str(path).replace('%', '%25').replace('?', '%3F')}"


def sqlite_path(uri: str) -> Path:
    """The absolute path of a SQLite store, so that it means the same in every process.

    Raises:
        UserError: The address names no file.
    """
    path = uri.removeprefix("sqlite:///")
    if path in {uri, "", ":memory:"}:
        raise UserError(f"tracking store {uri!r}: names no file; write sqlite:///path/to/mlflow.db")
    return Path(unquote(path)).expanduser().resolve()


def refuse_damaged(database: Path) -> None:
    """Check that a file is a SQLite database; MLflow would try for a minute and a half to open another.

    Args:
        database: May be missing or empty: it is made then.

    Raises:
        UserError: It is something else.
    """
    if not database.is_file():
        return
    with database.open("rb") as opened:
        head = opened.read(len(SQLITE_HEAD))
    if head not in {b"", SQLITE_HEAD}:
        raise UserError(
            f"tracking store {database}: is no SQLite database, or damaged; put a copy of it back, or move it away and "
            "run the studies again, which records their finished trials anew"
        )


def refuse_unreachable(uri: str) -> None:
    """Check within five seconds that a tracking server answers.

    Args:
        uri: With or without ``user:password@``, which MLflow sends along.

    Raises:
        UserError: It does not, or the address is none.
    """
    try:
        urllib.request.urlopen(_health_of(uri), timeout=SERVER_SECONDS).close()  # noqa: S310  (http only)
    except urllib.error.HTTPError:
        return  # it answers; whether it lets us in is for MLflow's own calls to find out
    except (ValueError, HTTPException) as error:
        raise UserError(
            f"tracking server {without_password(uri)}: is no address ({error}); write http://HOST:PORT"
        ) from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        remedy = f"start it with 'mlflow server --host {urlsplit(uri).hostname}' or name another store"
        raise UserError(f"tracking server {without_password(uri)}: does not answer ({reason}); {remedy}") from error


def _health_of(uri: str) -> urllib.request.Request:
    """What asks a server whether it is there; credentials travel in a header, as in MLflow's own requests."""
    parts = urlsplit(uri)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    place = host if parts.port is None else f"{host}:{parts.port}"
    request = urllib.request.Request(f"{parts.scheme}://{place}{parts.path.rstrip('/')}/health")  # noqa: S310  (http only)
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request.add_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
    return request


def all_pages(page: Callable[[str | None], PagedList[Entry]]) -> list[Entry]:
    """Everything a search finds, page by page."""
    found = page(None)
    entries = list(found)
    while found.token:
        found = page(found.token)
        entries += found
    return entries
