"""Addresses of stores mean what they say, and what is wrong with one is told in a sentence that names it."""

from __future__ import annotations

import base64
import importlib.util
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from siod.errors import UserError
from siod.tracking.connection import refuse_unreachable, remedy_of, sqlite_path, sqlite_uri
from siod.tracking.mlflow import Store


@pytest.fixture
def server() -> Iterator[tuple[int, list[tuple[str, str | None]]]]:
    """A server that notes the path and credentials of each request; its port and what it noted."""
    asked: list[tuple[str, str | None]] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Answers) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield http.server_port, asked
        http.shutdown()
        thread.join()


def test_user_and_password_of_an_address_are_sent_along(server: tuple[int, list[tuple[str, str | None]]]) -> None:
    port, asked = server
    refuse_unreachable(f"http://alice:s3cr%40t@127.0.0.1:{port}/sub/")
    refuse_unreachable(f"http://127.0.0.1:{port}")
    assert asked == [("/sub/health", f"Basic {base64.b64encode(b'alice:s3cr@t').decode()}"), ("/health", None)]


@pytest.mark.parametrize("address", ["http://127.0.0.1:notaport", "http://127.0.0.1:99999", "http://a b:1"])
def test_an_address_that_is_none_is_told_from_a_server_that_does_not_answer(address: str) -> None:
    with pytest.raises(UserError, match=r"is no address \(.*\); write http://HOST:PORT"):
        refuse_unreachable(address)


@pytest.mark.parametrize(("scheme", "module"), [("postgresql", "psycopg"), ("mysql+pymysql", "pymysql")])
def test_a_database_without_its_driver_names_the_driver_and_no_password(scheme: str, module: str) -> None:
    if importlib.util.find_spec(module) is not None:
        pytest.skip(f"{module} is installed here")
    with pytest.raises(UserError, match=rf"//me:\*\*\*@.*needs the package '{module}\w*'; install it") as refused:
        Store(f"{scheme}://me:s3cret@127.0.0.1:5/x").prepare()
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("folder", ["50%", "%C3%A9", "what?", "a#b c", "é"])
def test_a_folder_of_any_name_holds_its_database(tmp_path: Path, folder: str) -> None:
    database = tmp_path / folder / "mlflow.db"
    assert sqlite_path(sqlite_uri(database)) == database
    Store(sqlite_uri(database)).prepare()
    assert list(tmp_path.rglob("*.db")) == [database]  # MLflow leaves an empty folder of the address's spelling


def test_a_store_that_does_not_open_is_told_with_what_helps() -> None:
    with pytest.raises(UserError, match=r"unsupported URI 'nonsense://x'.*; write sqlite:///FOLDER/mlflow\.db or"):
        Store("nonsense://x").prepare()
    assert remedy_of("database or disk is full", "sqlite:////x.db") == "free some space there, or name another store"
    assert remedy_of("out of date", "sqlite:////x.db").startswith("name another store, or try 'mlflow db upgrade")


def test_a_file_that_is_no_database_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match=r"/mlflow\.db: is no SQLite database, or damaged; put a copy of it back"):
        Store(sqlite_uri(tmp_path / "mlflow.db")).prepare()
