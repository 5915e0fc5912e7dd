"""Where the artifacts of a SQLite store lie: beside the database, wherever that was moved or copied to.

MLflow writes the whole address of a run's artifacts into the database, and makes whole addresses of relative ones. Of a
store that was moved or copied they lead to nothing, or into the store it was copied from. So siod does not follow those
that it chose itself, which end in ``artifacts/STUDY/RUN/artifacts``: it looks for that end beside the database.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

ARTIFACTS = "artifacts"
BUSY_SECONDS = 30.0


def study_address(database: Path, study: str) -> str:
    """The address below which the artifacts of a study's runs lie.

    Args:
        database: Absolute path of the SQLite file.
        study: Its name.

    Example:
        >>> study_address(Path("/data/runs/mlflow.db"), "my study")
        'file:///data/runs/artifacts/my%20study'
    """
    return (database.parent / ARTIFACTS / study).as_uri()


def run_address(database: Path, address: str, run_id: str) -> str:
    """The address of a run's artifacts, now.

    Args:
        database: Absolute path of the SQLite file.
        address: What the database says, perhaps from before it was moved or copied.
        run_id: Of the run.

    Returns:
        The same below the folder of the database; an address that siod did not choose as it is.

    Example:
        >>> run_address(Path("/new/runs/mlflow.db"), "file:///old/runs/artifacts/demo/a1/artifacts", "a1")
        'file:///new/runs/artifacts/demo/a1/artifacts'
        >>> run_address(Path("/new/runs/mlflow.db"), "file:///data/mlruns/7/a1/artifacts", "a1")
        'file:///data/mlruns/7/a1/artifacts'
    """
    folder = local_folder(address)
    if folder is None or folder.parts[-4::3] != (ARTIFACTS, ARTIFACTS) or folder.parent.name != run_id:
        return address
    return (database.parent / Path(*folder.parts[-4:])).as_uri()


def local_folder(address: str) -> Path | None:
    """The folder that an address names; None where it is on no disk of this machine."""
    place = urlsplit(address)
    return Path(unquote(place.path)) if place.scheme == "file" else None


def repair_addresses(database: Path) -> int:
    """Write into a SQLite store where its artifacts lie now: MLflow's own pages follow what stands there.

    Args:
        database: Absolute path; no study may be running in it.

    Returns:
        Of how many runs the address was another.
    """
    with closing(sqlite3.connect(database, timeout=BUSY_SECONDS)) as connection, connection:
        studies = connection.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall()
        runs = connection.execute("SELECT run_uuid, artifact_uri FROM runs").fetchall()
        moved = list(_moved(database, runs))
        connection.executemany("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", moved)
        connection.executemany(
            "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
            _moved_studies(database, studies),
        )
    return len(moved)


def _moved(database: Path, runs: Iterable[tuple[str, str | None]]) -> Iterable[tuple[str, str]]:
    """The present address and the id of each run whose address is another; somebody else's have no folder here."""
    for run_id, address in runs:
        folder, present = local_folder(address or ""), run_address(database, address or "", run_id)
        here = local_folder(present)
        if here is not None and here != folder and here.is_dir():
            yield present, run_id


def _moved_studies(database: Path, studies: Iterable[tuple[int, str | None]]) -> Iterable[tuple[str, int]]:
    """Likewise of experiments."""
    for experiment_id, address in studies:
        folder = local_folder(address or "")
        if folder is None or folder.parent.name != ARTIFACTS:
            continue
        here = database.parent / ARTIFACTS / folder.name
        if here != folder and here.is_dir():
            yield here.as_uri(), experiment_id
