"""A SQLite store read as the file it is: MLflow takes seconds to import, and much longer for what is read here.

Nothing is written. Runs have the attributes of MLflow's own that records are made of, and values are those that its
client tells, except where :mod:`siod.tracking.database` knows better.
"""

from __future__ import annotations

import json
import math
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from siod.tracking.database import AS_WRITTEN, METRICS_OF_SQLITE, PARAMS, RUNS, TAGS, VALUES_OF_SQLITE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

BUSY_SECONDS = 30.0
"""For so long a process that writes is waited for."""
STUDIES = """
    SELECT run_uuid, name, experiment_id, user_id, status, start_time, end_time, lifecycle_stage, artifact_uri
    FROM runs JOIN tags USING (run_uuid)
    WHERE lifecycle_stage = 'active' AND key = 'role' AND value = 'study'
    AND experiment_id IN (SELECT experiment_id FROM experiments WHERE lifecycle_stage = 'active')
    ORDER BY start_time DESC, run_uuid
"""
TAGS_OF_STUDIES = """
    SELECT run_uuid, key, value FROM tags
    WHERE run_uuid IN (SELECT run_uuid FROM tags WHERE key = 'role' AND value = 'study')
"""

RUNS_AT = """
    SELECT run_uuid, name, experiment_id, user_id, status, start_time, end_time, lifecycle_stage, artifact_uri
    FROM runs WHERE lifecycle_stage = 'active' AND run_uuid IN (
        SELECT run_uuid FROM tags WHERE key = 'arm' AND value = :arm
        INTERSECT SELECT run_uuid FROM tags WHERE key = 'seed' AND value = :seed
        INTERSECT SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId' AND value = :study
    ) ORDER BY start_time DESC, run_uuid
"""
TAGS_OF_RUNS = "SELECT run_uuid, key, value FROM tags WHERE run_uuid IN (SELECT value FROM json_each(:runs))"


class FileRunInfo(NamedTuple):
    """As ``mlflow.entities.RunInfo``."""

    run_id: str
    experiment_id: str
    status: str
    start_time: int | None
    end_time: int | None
    artifact_uri: str


class FileRunData(NamedTuple):
    """As ``mlflow.entities.RunData``."""

    metrics: dict[str, float]
    params: dict[str, str]
    tags: dict[str, str]


class FileRun(NamedTuple):
    """As ``mlflow.entities.Run``."""

    info: FileRunInfo
    data: FileRunData


class SqliteFile:
    """Reads runs from the database of a SQLite store.

    Args:
        path: Of the file.

    Raises:
        sqlite3.Error: By every method, where the file is no database of MLflow or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        # Not made where it is missing; what a crash left half written is undone, as by any reader.
        self._address = f"{path.as_uri()}?mode=rw"

    def studies(self) -> list[FileRun]:
        """The studies' own runs, the latest first, without metrics and parameters."""
        with closing(self._connect()) as connection:
            runs = _runs(connection.execute(STUDIES))
            _add_tags(runs, connection.execute(TAGS_OF_STUDIES))
        return list(runs.values())

    def children(
        self, study: str, *, metrics: Collection[str] | None = None, params: Collection[str] | None = None
    ) -> list[FileRun]:
        """The runs of a study's trials that were not deleted, the latest first.

        Args:
            study: Id of the study's own run.
            metrics: Names of those that are read; all when None.
            params: Likewise.
        """
        given = {"study": study, "metrics": json.dumps(list(metrics or ())), "params": json.dumps(list(params or ()))}
        of_metrics = "" if metrics is None else "AND latest.key IN (SELECT value FROM json_each(:metrics))"
        of_params = "" if params is None else "AND key IN (SELECT value FROM json_each(:params))"
        with closing(self._connect()) as connection:
            runs = _runs(connection.execute(RUNS, given))
            for run_id, key, value, _, _, is_nan in connection.execute(
                f"{METRICS_OF_SQLITE}{of_metrics}{AS_WRITTEN}", given
            ):
                if run_id in runs:
                    runs[run_id].data.metrics[key] = math.nan if is_nan else value
            for run_id, key, value in connection.execute(f"{PARAMS}{of_params}", given):
                if run_id in runs:
                    runs[run_id].data.params[key] = value
            _add_tags(runs, connection.execute(TAGS, given))
        return list(runs.values())

    def runs_at(self, study: str, arm: str, seed: str) -> list[FileRun]:
        """The runs of one arm and seed of a study, the latest first, without metrics and parameters.

        Args:
            study: Id of the study's own run.
            arm: Name of the arm.
            seed: As text.
        """
        with closing(self._connect()) as connection:
            runs = _runs(connection.execute(RUNS_AT, {"study": study, "arm": arm, "seed": seed}))
            _add_tags(runs, connection.execute(TAGS_OF_RUNS, {"runs": json.dumps(list(runs))}))
        return list(runs.values())

    def values_by_step(self, name: str, study: str, arms: Collection[str]) -> list[tuple[str, int, float, bool]]:
        """As :func:`siod.tracking.database.values_by_step`."""
        query = VALUES_OF_SQLITE.replace(":arms", "(SELECT value FROM json_each(:arms))")
        given = {"name": name, "study": study, "arms": json.dumps(list(arms))}
        with closing(self._connect()) as connection:
            return connection.execute(query, given).fetchall()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._address, uri=True, timeout=BUSY_SECONDS)


def _runs(rows: Iterable[Any]) -> dict[str, FileRun]:
    """Runs by id, in the order of the rows, with nothing in them yet."""
    return {
        run: FileRun(FileRunInfo(run, str(experiment), status, started, ended, artifact_uri), FileRunData({}, {}, {}))
        for run, _, experiment, _, status, started, ended, _, artifact_uri in rows
    }


def _add_tags(runs: dict[str, FileRun], rows: Iterable[Any]) -> None:
    for run_id, key, value in rows:
        if run_id in runs:
            runs[run_id].data.tags[key] = value
