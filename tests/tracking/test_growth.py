"""What a study asks of its store does not grow with the trials that are recorded already."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow import MlflowClient
from sqlalchemy import event

from siod.tracking.connection import client_of
from siod.tracking.database import engine_of
from siod.tracking.mlflow import Store
from siod.tracking.records import StudyHeader
from siod.tracking.sqlite_file import SqliteFile

Header = Callable[..., StudyHeader]
MANY = 30


def begin(store: Store, study: str, arm: str, seed: int, identity: str = "1d") -> str:
    settings = {"recipe": {"epochs": 2}, "seed": seed}
    return store.start_trial(study, arm=arm, seed=seed, identity=identity, settings=settings).run_id


def unreadable(file: SqliteFile) -> sqlite3.Connection:
    raise sqlite3.OperationalError(file)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many runs each search found, of MLflow's client or in the file itself."""
    counts: list[int] = []
    search, look = MlflowClient.search_runs, SqliteFile.runs_at

    def counting(client: MlflowClient, *arguments: Any, **named: Any) -> Any:
        runs = search(client, *arguments, **named)
        counts.append(len(runs))
        return runs

    def counting_in_file(file: SqliteFile, *arguments: Any) -> Any:
        runs = look(file, *arguments)
        counts.append(len(runs))
        return runs

    monkeypatch.setattr(MlflowClient, "search_runs", counting)
    monkeypatch.setattr(SqliteFile, "runs_at", counting_in_file)
    return counts


def test_the_last_trial_of_many_starts_with_the_statements_and_rows_of_the_first(
    store: Store, header: Header, found: list[int]
) -> None:
    study = store.start_study(header())
    engine = engine_of(client_of(store.uri))
    assert engine is not None
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    begin(store, study, "base", 0)  # MLflow asks some things once
    asked = []
    for seed in range(1, MANY):
        statements.clear()
        found.clear()
        begin(store, study, "base", seed)
        asked.append((len(statements), found.copy()))
    assert asked == [(asked[0][0], [0])] * (MANY - 1)


@pytest.mark.parametrize("by_client", [False, True])
def test_a_trial_that_starts_again_finds_its_own_run_and_those_it_takes_the_place_of(
    by_client: object, store: Store, header: Header, found: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_client:
        monkeypatch.setattr(SqliteFile, "_connect", unreadable)
    study = store.start_study(header())
    other = store.start_study(header("other"))
    runs = {(arm, seed): begin(store, study, arm, seed) for arm in ("base", "dminer", "Base") for seed in (1, 11)}
    begin(store, other, "base", 1)
    found.clear()
    assert begin(store, study, "base", 1) == runs["base", 1]
    new = begin(store, study, "base", 1, identity="new")
    assert begin(store, study, "base", 1) == runs["base", 1]
    assert found == [1, 1, 2]
    client = MlflowClient(store.uri)
    replaced = {run: client.get_run(run).data.tags["superseded"] for run in (*runs.values(), new)}
    assert replaced == {**dict.fromkeys(runs.values(), ""), new: runs["base", 1]}


@pytest.mark.slow
def test_a_server_is_asked_as_much_and_answers_as_much_for_the_last_trial_as_for_the_first(
    tmp_path: Path,
    free_port: int,
    header: Header,
    tracking_server: Callable[[Path, int], AbstractContextManager[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: list[tuple[str, int]] = []
    send = requests.Session.send

    def counting(session: requests.Session, request: Any, **named: Any) -> requests.Response:
        response = send(session, request, **named)
        answers.append((request.path_url.partition("?")[0], len(response.content)))
        return response

    with tracking_server(tmp_path / "server", free_port) as uri:
        store = Store(uri)
        study = store.start_study(header())
        begin(store, study, "base", 10)
        monkeypatch.setattr(requests.Session, "send", counting)
        asked = []
        for seed in range(11, 11 + MANY):
            answers.clear()
            begin(store, study, "base", seed)
            asked.append(answers.copy())
        paths = [[path.rpartition("/artifacts/")[1] or path for path, _ in each] for each in asked]
        assert paths == [paths[0]] * MANY
        assert max(sum(size for _, size in each) for each in asked) <= 1.05 * sum(size for _, size in asked[0])
