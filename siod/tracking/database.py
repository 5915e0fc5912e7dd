"""Many runs and values at once from a tracking database: by MLflow's client they take up to ten times as long."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from mlflow import MlflowClient
    from mlflow.entities import Run
    from sqlalchemy import BindParameter, Connection, Engine

RUNS = """
    SELECT run_uuid, name, experiment_id, user_id, status, start_time, end_time, lifecycle_stage, artifact_uri
    FROM runs JOIN tags USING (run_uuid)
    WHERE lifecycle_stage = 'active' AND key = 'mlflow.parentRunId' AND value = :study
    ORDER BY start_time DESC, run_uuid
"""
METRICS = """
    SELECT run_uuid, key, value, timestamp, step, is_nan FROM latest_metrics
    WHERE run_uuid IN (SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId' AND value = :study)
"""
# MLflow keeps the largest of values with one step and time; SQLite knows which was written last.
METRICS_OF_SQLITE = """
    SELECT metrics.run_uuid, metrics.key, metrics.value, metrics.timestamp, metrics.step, metrics.is_nan
    FROM latest_metrics latest CROSS JOIN metrics
    WHERE latest.run_uuid IN (SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId' AND value = :study)
    AND metrics.run_uuid = latest.run_uuid AND metrics.key = latest.key
    AND metrics.timestamp = latest.timestamp AND metrics.step = latest.step
"""
AS_WRITTEN = " ORDER BY latest.rowid, metrics.rowid"
PARAMS = """
    SELECT run_uuid, key, value FROM params
    WHERE run_uuid IN (SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId' AND value = :study)
"""
TAGS = """
    SELECT run_uuid, key, value FROM tags
    WHERE run_uuid IN (SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId' AND value = :study)
"""
VALUES = """
    SELECT run_uuid, step, value, is_nan FROM metrics WHERE key = :name AND run_uuid IN (
        SELECT child.run_uuid FROM tags child JOIN tags arm ON arm.run_uuid = child.run_uuid AND arm.key = 'arm'
        WHERE child.key = 'mlflow.parentRunId' AND child.value = :study AND arm.value IN :arms
    ) ORDER BY timestamp
"""
VALUES_OF_SQLITE = f"{VALUES.rstrip()}, rowid"


def engine_of(client: MlflowClient) -> Engine | None:
    """The database behind a client; None where there is a server in between."""
    engine: Engine | None = getattr(client._tracking_client.store, "engine", None)  # noqa: SLF001  (no public one)
    return engine


def child_runs(engine: Engine, study: str) -> list[Run]:
    """All runs below one that were not deleted, as ``MlflowClient.search_runs`` returns them.

    A metric that was recorded twice at its last step has the later value.

    Args:
        engine: Of the database.
        study: Id of the run above them.
    """
    from mlflow.entities import Metric, Param, Run, RunData, RunInfo, RunTag  # noqa: PLC0415  (cheap to import this)

    latest = f"{METRICS_OF_SQLITE}{AS_WRITTEN}" if _is_sqlite(engine) else METRICS
    with engine.connect() as connection:
        runs, metrics, params, tags = (_rows(connection, query, study=study) for query in (RUNS, latest, PARAMS, TAGS))
    parts: dict[str, tuple[dict[str, Metric], list[Param], list[RunTag]]] = {
        row[0]: ({}, [], []) for row in (*runs, *tags)
    }
    for run, key, value, timestamp, step, is_nan in metrics:
        parts[run][0][key] = Metric(key, math.nan if is_nan else value, timestamp, step)
    for run, key, value in params:
        parts[run][1].append(Param(key, value))
    for run, key, value in tags:
        parts[run][2].append(RunTag(key, value))
    return [
        Run(
            RunInfo(run, str(experiment), user, status, started, ended, stage, artifact_uri, name),
            RunData(list(parts[run][0].values()), *parts[run][1:]),
        )
        for run, name, experiment, user, status, started, ended, stage, artifact_uri in runs
    ]


def values_by_step(engine: Engine, name: str, study: str, arms: Collection[str]) -> Sequence[Any]:
    """Run, step, value and whether it is no number, of one metric in the order it was recorded.

    Args:
        engine: Of the database.
        name: Of the metric.
        study: Id of the run above them.
        arms: Others are left out.
    """
    query = VALUES_OF_SQLITE if _is_sqlite(engine) else VALUES
    with engine.connect() as connection:
        return _rows(connection, query, name=name, study=study, arms=list(arms))


def _is_sqlite(engine: Engine) -> bool:
    return engine.dialect.name == "sqlite"


def _rows(connection: Connection, query: str, **given: Any) -> Sequence[Any]:
    from sqlalchemy import bindparam, text  # noqa: PLC0415  (cheap to import this)

    lists: list[BindParameter[Any]] = [
        bindparam(name, expanding=True) for name, value in given.items() if isinstance(value, list)
    ]
    result = connection.execute(text(query).bindparams(*lists), given)
    # The driver's own tuples: making SQLAlchemy's rows takes longer than the query.
    return list(result.cursor.fetchall()) if result.cursor is not None else []
