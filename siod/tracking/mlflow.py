"""Studies and trials in an MLflow store.

One MLflow experiment per study holds one run for the study and, nested below it, one run per trial named
``arm/seed``. Everything is found again by its tags before it is created, so that a study that is resumed
adds to the same runs. MLflow is imported when a store is first used: importing this module is cheap.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from filelock import FileLock

from siod.errors import RunError, UserError, closest
from siod.tracking.addresses import repair_addresses, study_address
from siod.tracking.connection import (
    all_pages,
    as_user_error,
    client_of,
    refuse_damaged,
    refuse_unreachable,
    remedy_of,
    sqlite_path,
    sqlite_uri,
    without_password,
)
from siod.tracking.database import child_runs, engine_of
from siod.tracking.reading import EPOCH, GALLERY, HEADER, IMAGES, STATUS_OF, STATUSES, ElsewhereError, StudyReader
from siod.tracking.records import gc_paused
from siod.tracking.sqlite_file import SqliteFile
from siod.tracking.trial_log import TrialLog
from siod.tracking.view import page_of, server_of, view_tags

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

    from siod.tracking.reading import AnyRun, Curves
    from siod.tracking.records import Gallery, Status, StudyHeader, StudyRecord, TrialRecord

PARENT = "mlflow.parentRunId"
DESCRIPTION = "mlflow.note.content"
# Where among the artifacts of a study's run its report is kept.
REPORT = "report"
# MLflow's states of a run that has not ended.
RUNNING = {state for state, status in STATUS_OF.items() if status == "running"}


class Store:
    """An MLflow store: a SQLite file with its artifacts beside it, or a tracking server.

    Args:
        uri: ``sqlite:///<path>``, ``http://<host>:<port>``, or another database MLflow knows.

    Raises:
        UserError: MLflow cannot keep runs there.
    """

    def __init__(self, uri: str) -> None:
        scheme = urlsplit(uri).scheme
        if scheme in {"", "file"}:
            raise UserError(f"tracking store {uri!r}: MLflow keeps no runs in folders; write sqlite:///{uri}/mlflow.db")
        self.database = sqlite_path(uri) if scheme == "sqlite" else None
        self.uri = sqlite_uri(self.database) if self.database else uri

    def prepare(self) -> None:
        """Make a SQLite store ready for many processes, or see that the server answers.

        Raises:
            UserError: The store cannot be opened; says what to do.
        """
        if self.database is None:
            self._open()
            return
        try:
            self.database.parent.mkdir(parents=True, exist_ok=True)
            # Processes that create the tables at the same time all fail.
            with FileLock(self.database.with_name(self.database.name + ".lock")):
                self._open()
        except OSError as error:
            raise UserError(f"{self.database}: cannot be made ({error.strerror}); name another place") from error

    def repair(self) -> int:
        """Write down where the artifacts of a SQLite store lie now, after it was moved or copied.

        Nothing of siod depends on it; MLflow's own pages do.

        Returns:
            Of how many runs another place was written down; 0 for a server, which knows its own.
        """
        if self.database is None or not self.database.is_file():
            return 0
        self._open()
        try:
            return repair_addresses(self.database)
        except sqlite3.Error as error:
            raise RunError(f"tracking store {self.database}: {error}; {remedy_of(str(error), self.uri)}") from error

    def start_study(self, header: StudyHeader) -> str:
        """Find or create the run of a study and store its declaration.

        Args:
            header: The study as it is declared now.

        Returns:
            Id of the run.
        """
        client = self._open()
        with as_user_error(self.uri):
            experiment_id = self._experiment(header.name)
            for tag, value in {DESCRIPTION: header.question, **view_tags(header.objective, header.columns)}.items():
                client.set_experiment_tag(experiment_id, tag, value)
            found = client.search_runs([experiment_id], "tags.role = 'study'", max_results=1)
            tags = {"role": "study", "study": header.name, DESCRIPTION: header.question}
            run = found[0] if found else client.create_run(experiment_id, tags=tags, run_name=header.name)
            run_id: str = run.info.run_id
            client.update_run(run_id, status="RUNNING")
        TrialLog(self.uri, run_id).log_json(HEADER, asdict(header))
        return run_id

    def finish_study(self, study_run_id: str, status: Status) -> None:
        """Set how the last call that ran the study ended."""
        with as_user_error(self.uri):
            self._open().set_terminated(study_run_id, STATUSES[status])

    def start_trial(
        self,
        study_run_id: str,
        *,
        arm: str,
        seed: int,
        identity: str,
        settings: Mapping[str, Any],
        tags: Mapping[str, str] | None = None,
    ) -> TrialLog:
        """Find or create the run of a trial and set it running.

        A run of the same arm and seed with another identity was trained under an earlier declaration: it
        stays in the store, tagged ``superseded``, and is no longer part of the study.

        Args:
            study_run_id: Run of the study.
            arm: Name of the arm.
            seed: Of the trial.
            identity: Equal identities learn equal weights.
            settings: The experiment as plain data, recorded as parameters and as ``experiment.json``.
            tags: More to describe the run, such as ``git_commit`` and ``data_fingerprint``.

        Returns:
            What writes the run.
        """
        client = self._open()
        described = {"role": "trial", "arm": arm, "seed": str(seed), "identity": identity, **(tags or {})}
        if "git_commit" in described:
            described["mlflow.source.git.commit"] = described["git_commit"]
        with as_user_error(self.uri):
            study = client.get_run(study_run_id)
            described |= {"study": study.data.tags["study"], PARENT: study_run_id}
            log = self._run_of(study, self._at_place(study, arm, str(seed)), described)
        log.log_params(settings)
        log.log_json("experiment.json", settings)
        return log

    def finished_trials(self, study_run_id: str) -> frozenset[tuple[str, int, str]]:
        """The trials that a study has finished and recorded.

        Args:
            study_run_id: Run of the study.

        Returns:
            Arm, seed and identity of its finished trials, without superseded ones.
        """
        client = self._open()
        with as_user_error(self.uri):
            children = self._children(client.get_run(study_run_id))
        done = [run.data.tags for run in children if run.info.status == STATUSES["finished"]]
        kept = [tags for tags in done if not tags.get("superseded")]
        return frozenset((tags["arm"], int(tags["seed"]), tags["identity"]) for tags in kept)

    def log_gallery(self, study_run_id: str, gallery: Gallery, folder: Path) -> None:
        """Store the images that every arm is shown on.

        Args:
            study_run_id: Run of the study.
            gallery: What is on the images; their files are renamed to their ids.
            folder: What the images' files are relative to.
        """
        log = TrialLog(self.uri, study_run_id)
        stored = []
        with tempfile.TemporaryDirectory() as place:
            for image in gallery.images:
                source = folder / image.file
                copy = Path(place) / f"{image.id}{source.suffix.lower()}"
                shutil.copyfile(source, copy)
                log.log_file(copy, IMAGES)
                stored.append(replace(image, file=copy.name))
        log.log_json(GALLERY, asdict(replace(gallery, images=tuple(stored))))

    def log_report(self, study_run_id: str, files: Sequence[Path]) -> None:
        """Keep a report among the artifacts of a study's run.

        Args:
            study_run_id: Run of the study.
            files: They keep their names.
        """
        log = TrialLog(self.uri, study_run_id)
        for path in files:
            log.log_file(path, REPORT)

    def list_studies(self) -> tuple[str, ...]:
        """Names of the studies that were run, the latest first."""
        return tuple(self.pages())

    def pages(self) -> dict[str, str]:
        """Where each study is shown on an MLflow server, as an address from its root; the latest study first."""
        return {run.data.tags["study"]: page_of(run.info.experiment_id) for run in self._studies()}

    def _studies(self) -> Sequence[AnyRun]:
        """The studies' own runs, the latest first."""
        if self.database is not None:
            if not self.database.exists():
                return ()
            with suppress(sqlite3.Error):  # the client says in words what is wrong with it
                return SqliteFile(self.database).studies()
        client = self._open()
        with as_user_error(self.uri):
            experiments = all_pages(lambda token: client.search_experiments(page_token=token))
            ids = [experiment.experiment_id for experiment in experiments]
            return all_pages(lambda token: client.search_runs(ids, "tags.role = 'study'", page_token=token))

    def trials(self) -> dict[str, tuple[TrialRecord, ...]]:
        """The trials of each study as they stand, by its name, without values by epoch and artifacts."""
        found = {}
        for name in self.list_studies():
            with as_user_error(self.uri), gc_paused():
                study = self._study(name)
                found[name] = self._reader(client_of(self.uri), study, self._children(study)).trials()
        return found

    def interrupt(self, name: str) -> tuple[str, ...]:
        """Mark what looks as if it ran as interrupted, after the process that ran a study has died.

        Args:
            name: Of the study.

        Returns:
            The names of the trials, and of the study itself if it was one of them.
        """
        with as_user_error(self.uri):
            study = client_of(self.uri).get_run(self._study(name).info.run_id)
            running = [run for run in (*self._children(study), study) if run.info.status in RUNNING]
            for run in running:
                client_of(self.uri).set_terminated(run.info.run_id, STATUSES["interrupted"])
        return tuple(run.info.run_name for run in running)

    def read_study(self, name: str, *, details: bool = True, curves: Curves | None = None) -> StudyRecord:
        """Read a study and all its trials, finished or not.

        Args:
            name: Of the study.
            details: Whether to read values by epoch, the gallery and other artifacts, or only the latest metrics.
            curves: Names the arms of a record whose values by epoch are read, costs apart; of every arm when not given.

        Returns:
            Everything a report needs, detached from the store.

        Raises:
            UserError: No such study was run; names the closest.
        """
        study = self._study(name)
        if self.database is not None:
            with suppress(sqlite3.Error, ElsewhereError), gc_paused():
                return self._file_reader(SqliteFile(self.database), study).read(details=details, curves=curves)
        client = self._open()
        with as_user_error(self.uri), gc_paused():
            above = client.get_run(study.info.run_id)
            return self._reader(client, above, self._children(above)).read(details=details, curves=curves)

    def read_standing(self, name: str, *, metrics: Collection[str], params: Collection[str]) -> StudyRecord:
        """Read where every trial of a study stands, and little else where that saves time.

        Args:
            name: Of the study.
            metrics: Whose latest values are wanted beside the study's objective.
            params: The settings that are wanted.

        Returns:
            As :meth:`read_study` without details; a store may tell more than is wanted.

        Raises:
            UserError: No such study was run; names the closest.
        """
        study = self._study(name)
        if self.database is not None:
            with suppress(sqlite3.Error, ElsewhereError), gc_paused():
                file = SqliteFile(self.database)
                wanted = {EPOCH, self._file_reader(file, study, metrics=()).header().objective, *metrics}
                return self._file_reader(file, study, metrics=wanted, params=params).read(details=False)
        return self.read_study(name, details=False)

    def _file_reader(self, file: SqliteFile, study: AnyRun, **only: Collection[str]) -> StudyReader:
        return self._reader(file, study, file.children(study.info.run_id, **only))

    def _reader(self, source: MlflowClient | SqliteFile, study: AnyRun, children: Sequence[AnyRun]) -> StudyReader:
        return StudyReader(source, study, children, database=self.database, server=server_of(self.uri))

    def _study(self, name: str) -> AnyRun:
        """The run of a study.

        Raises:
            UserError: There is none; names the closest.
        """
        runs = {run.data.tags["study"]: run for run in reversed(self._studies())}
        if name not in runs:
            hint = closest(name, runs) if runs else "; run it first with 'siod study run'"
            raise UserError(f"no study {name!r} in the tracking store {without_password(self.uri)}{hint}")
        return runs[name]

    def _study_run(self, name: str) -> Run:
        """The run of a study that was run."""
        return client_of(self.uri).search_runs([self._experiment(name)], "tags.role = 'study'", max_results=1)[0]

    def _open(self) -> MlflowClient:
        """The client, or one sentence about why there is none."""
        if self.uri.startswith(("http://", "https://")):
            refuse_unreachable(self.uri)
        if self.database is not None:
            refuse_damaged(self.database)
        try:
            with as_user_error(self.uri):
                return client_of(self.uri)
        except RunError as error:
            raise UserError(f"{error}; {remedy_of(str(error), self.uri)}") from error

    def _experiment(self, name: str) -> str:
        """Id of the MLflow experiment of a study, created if need be."""
        client = client_of(self.uri)
        experiment: Experiment | None = client.get_experiment_by_name(name)
        if experiment is None:
            return client.create_experiment(name, artifact_location=self._artifacts(name))
        if experiment.lifecycle_stage != "active":
            remedy = (
                f"'mlflow experiments restore -x {experiment.experiment_id}' brings it back, 'mlflow gc' removes it"
            )
            raise UserError(
                f"study {name!r} was deleted in MLflow but not removed from {without_password(self.uri)}; {remedy}"
            )
        return str(experiment.experiment_id)

    def _artifacts(self, name: str) -> str | None:
        """Beside the database, whatever the working directory; a server knows its own place."""
        return study_address(self.database, name) if self.database else None

    def _children(self, study: AnyRun) -> list[Run]:
        """The runs of a study's trials, those of earlier declarations among them."""
        client = client_of(self.uri)
        engine = engine_of(client)
        if engine is not None:
            return child_runs(engine, study.info.run_id)
        query = f"tags.`{PARENT}` = '{study.info.run_id}'"
        return all_pages(lambda token: client.search_runs([study.info.experiment_id], query, page_token=token))

    def _at_place(self, study: Run, arm: str, seed: str) -> Sequence[AnyRun]:
        """The runs of one arm and seed, however many others the study has."""
        if self.database is not None:
            with suppress(sqlite3.Error):
                return SqliteFile(self.database).runs_at(study.info.run_id, arm, seed)
        client = client_of(self.uri)
        query = f"tags.`{PARENT}` = '{study.info.run_id}' and tags.arm = '{arm}' and tags.seed = '{seed}'"
        found = all_pages(lambda token: client.search_runs([study.info.experiment_id], query, page_token=token))
        return [run for run in found if run.data.tags["arm"] == arm]  # some databases call a and A equal

    def _run_of(self, study: Run, same: Sequence[AnyRun], tags: Mapping[str, str]) -> TrialLog:
        """Among the runs of one arm and seed find the one of this identity, or create it; the others are superseded."""
        from mlflow.entities import RunTag  # noqa: PLC0415  (keeps the import of this module cheap)

        client = client_of(self.uri)
        run = next((run for run in same if run.data.tags.get("identity") == tags["identity"]), None)
        if run is None:
            name = f"{tags['arm']}/{tags['seed']}"
            run = client.create_run(study.info.experiment_id, tags=dict(tags), run_name=name)
        run_id = run.info.run_id
        described = [RunTag(key, value) for key, value in {**tags, "error": "", "superseded": ""}.items()]
        client.log_batch(run_id, tags=described)
        client.update_run(run_id, status="RUNNING")
        for other in same:
            if other.info.run_id != run_id:
                client.set_tag(other.info.run_id, "superseded", run_id)
        return TrialLog(self.uri, run_id)
