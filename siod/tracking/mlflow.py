"""Studies and trials in an MLflow store (the only file that knows MLflow).

One MLflow experiment per study holds one run for the study and, nested below it, one run per trial named
``arm/seed``. Everything is found again by its tags before it is created, so that a study that is resumed
adds to the same runs. MLflow is imported when a store is first used: importing this module is cheap.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from filelock import FileLock

from siod.errors import RunError, UserError, closest
from siod.tracking.records import Gallery, StudyHeader, StudyRecord, TrialRecord, decode_found, flatten, one_per_step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run
    from mlflow.store.entities import PagedList

    from siod.tracking.records import Points, Status

Entry = TypeVar("Entry")

STATUSES: dict[Status, str] = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
STATUS_OF: dict[str, Status] = {name: status for status, name in STATUSES.items()} | {"SCHEDULED": "running"}
SERVER_SECONDS = 5.0
MOST_POINTS = 2**31 - 1
PARENT = "mlflow.parentRunId"
DESCRIPTION = "mlflow.note.content"
HEADER, GALLERY, IMAGES, FOUND = "study.json", "gallery/gallery.json", "gallery/images", "gallery.json"


@dataclass(frozen=True)
class TrialLog:
    """Writes one trial's run; small and picklable, so that it can go where the trial goes.

    Args:
        uri: Of the store.
        run_id: Of the trial.
    """

    uri: str
    run_id: str

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of an epoch, all at once.

        Args:
            epoch: Counted from 1.
            metrics: Values by name.
        """
        self._log_metrics({**metrics, "epoch": float(epoch)}, epoch)

    def epochs(self) -> frozenset[int]:
        """The epochs that are recorded."""
        with explained(self.uri):
            history = _client(self.uri).get_metric_history(self.run_id, "epoch")
        return frozenset(metric.step for metric in history)

    def log_params(self, settings: Mapping[str, Any]) -> None:
        """Record settings by their dotted paths; one that is recorded already keeps its value, as MLflow demands."""
        from mlflow.entities import Param  # noqa: PLC0415  (keeps the import of this module cheap)

        with explained(self.uri):
            known = _client(self.uri).get_run(self.run_id).data.params
            params = [Param(name, value) for name, value in flatten(settings).items() if name not in known]
            _client(self.uri).log_batch(self.run_id, params=params)

    def log_json(self, name: str, data: Any) -> None:
        """Store plain data as a JSON artifact.

        Args:
            name: Of the artifact, with its suffix.
            data: Anything JSON can hold.
        """
        self.log_text(name, msgspec.json.format(msgspec.json.encode(data)).decode())

    def log_text(self, name: str, text: str) -> None:
        """Store text as an artifact."""
        with explained(self.uri):
            _client(self.uri).log_text(self.run_id, text, name)

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Copy a file to the artifacts.

        Args:
            path: The file.
            folder: Among the artifacts; the top when None.
        """
        with explained(self.uri):
            _client(self.uri).log_artifact(self.run_id, str(path), folder)

    def finish(self, status: Status, *, error: str = "", metrics: Mapping[str, float] | None = None) -> None:
        """Set how the trial ended.

        Args:
            status: Where it stands now.
            error: One sentence, for a trial that failed.
            metrics: Final values; they count for the last recorded epoch.
        """
        client = _client(self.uri)
        with explained(self.uri):
            latest = client.get_run(self.run_id).data.metrics
            changed = {name: value for name, value in (metrics or {}).items() if latest.get(name) != value}
            self._log_metrics(changed, int(latest.get("epoch", 0)))
            client.set_tag(self.run_id, "error", error)
            client.set_terminated(self.run_id, STATUSES[status])

    def _log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric  # noqa: PLC0415  (keeps the import of this module cheap)

        now = _now_ms()
        with explained(self.uri):
            _client(self.uri).log_batch(
                self.run_id, metrics=[Metric(name, float(value), now, step) for name, value in metrics.items()]
            )


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
        self.database = _sqlite_path(uri) if scheme == "sqlite" else None
        self.uri = f"sqlite:///{self.database}" if self.database else uri

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

    def start_study(self, header: StudyHeader) -> str:
        """Find or create the run of a study and store its declaration.

        Args:
            header: The study as it is declared now.

        Returns:
            Id of the run.
        """
        client = self._open()
        with explained(self.uri):
            experiment_id = self._experiment(header.name)
            client.set_experiment_tag(experiment_id, DESCRIPTION, header.question)
            found = client.search_runs([experiment_id], "tags.role = 'study'", max_results=1)
            tags = {"role": "study", "study": header.name, DESCRIPTION: header.question}
            run = found[0] if found else client.create_run(experiment_id, tags=tags, run_name=header.name)
            run_id: str = run.info.run_id
            client.update_run(run_id, status="RUNNING")
        TrialLog(self.uri, run_id).log_json(HEADER, asdict(header))
        return run_id

    def finish_study(self, study_run_id: str, status: Status) -> None:
        """Set how the last call that ran the study ended."""
        with explained(self.uri):
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
        with explained(self.uri):
            study = client.get_run(study_run_id)
            described |= {"study": study.data.tags["study"], PARENT: study_run_id}
            same = [run for run in self._children(study) if _place(run) == (arm, str(seed))]
            log = self._run_of(study, same, described)
        log.log_params(settings)
        log.log_json("experiment.json", settings)
        return log

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

    def list_studies(self) -> tuple[str, ...]:
        """Names of the studies that were run, the latest first."""
        if self.database is not None and not self.database.exists():
            return ()
        client = self._open()
        with explained(self.uri):
            experiments = _all_pages(lambda token: client.search_experiments(page_token=token))
            ids = [experiment.experiment_id for experiment in experiments]
            runs = _all_pages(lambda token: client.search_runs(ids, "tags.role = 'study'", page_token=token))
        return tuple(dict.fromkeys(run.data.tags["study"] for run in runs))

    def read_study(self, name: str) -> StudyRecord:
        """Read a study and all its trials, finished or not.

        Args:
            name: Of the study.

        Returns:
            Everything a report needs, detached from the store.

        Raises:
            UserError: No such study was run; names the closest.
        """
        studies = self.list_studies()
        if name not in studies:
            hint = closest(name, studies) if studies else "; run it first with 'siod study run'"
            raise UserError(f"no study {name!r} in the tracking store {shown(self.uri)}{hint}")
        client = self._open()
        with explained(self.uri):
            experiment_id = self._experiment(name)
            study = client.search_runs([experiment_id], "tags.role = 'study'", max_results=1)[0]
            return _StudyReader(client, study, self._children(study)).read()

    def _open(self) -> MlflowClient:
        """The client, or one sentence about why there is none."""
        if self.uri.startswith(("http://", "https://")):
            _refuse_unreachable(self.uri)
        try:
            with explained(self.uri):
                return _client(self.uri)
        except RunError as error:
            remedy = f"name another store, or try 'mlflow db upgrade {shown(self.uri)}' if MLflow was updated"
            raise UserError(f"{error}; {remedy}") from error

    def _experiment(self, name: str) -> str:
        """Id of the MLflow experiment of a study, created if need be."""
        client = _client(self.uri)
        experiment: Experiment | None = client.get_experiment_by_name(name)
        if experiment is None:
            return client.create_experiment(name, artifact_location=self._artifacts(name))
        if experiment.lifecycle_stage != "active":
            remedy = (
                f"'mlflow experiments restore -x {experiment.experiment_id}' brings it back, 'mlflow gc' removes it"
            )
            raise UserError(f"study {name!r} was deleted in MLflow but not removed from {shown(self.uri)}; {remedy}")
        return str(experiment.experiment_id)

    def _artifacts(self, name: str) -> str | None:
        """Beside the database, whatever the working directory; a server knows its own place."""
        return (self.database.parent / "artifacts" / name).as_uri() if self.database else None

    def _children(self, study: Run) -> list[Run]:
        """The runs of a study's trials, without those of earlier declarations."""
        client = _client(self.uri)
        query = f"tags.`{PARENT}` = '{study.info.run_id}'"
        return _all_pages(lambda token: client.search_runs([study.info.experiment_id], query, page_token=token))

    def _run_of(self, study: Run, same: Sequence[Run], tags: Mapping[str, str]) -> TrialLog:
        """Among the runs of one arm and seed find the one of this identity, or create it; the others are superseded."""
        from mlflow.entities import RunTag  # noqa: PLC0415  (keeps the import of this module cheap)

        client = _client(self.uri)
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
def _client(uri: str) -> MlflowClient:
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


def _sqlite_path(uri: str) -> Path:
    path = uri.removeprefix("sqlite:///")
    if path in {uri, "", ":memory:"}:
        raise UserError(f"tracking store {uri!r}: names no file; write sqlite:///path/to/mlflow.db")
    return Path(path).expanduser().resolve()


def _refuse_unreachable(uri: str) -> None:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=SERVER_SECONDS):  # noqa: S310  (http only)
            return
    except urllib.error.HTTPError:
        return  # it answers; whether it lets us in is for MLflow's own calls to find out
    except OSError as error:
        reason = getattr(error, "reason", error)
        remedy = f"start it with 'mlflow server --host {urlsplit(uri).hostname}' or name another store"
        raise UserError(f"tracking server {shown(uri)}: does not answer ({reason}); {remedy}") from error


def _all_pages(page: Callable[[str | None], PagedList[Entry]]) -> list[Entry]:
    """Everything a search finds, page by page."""
    found = page(None)
    entries = list(found)
    while found.token:
        found = page(found.token)
        entries += found
    return entries


def _place(run: Run) -> tuple[str | None, str | None]:
    return run.data.tags.get("arm"), run.data.tags.get("seed")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class _StudyReader:
    """Turns the runs of a study into records."""

    def __init__(self, client: MlflowClient, study: Run, children: Sequence[Run]) -> None:
        self.client, self.study = client, study
        self.runs = [run for run in children if not run.data.tags.get("superseded")]

    def read(self) -> StudyRecord:
        """Read everything."""
        declared = self._artifact(self.study, HEADER)
        if declared is None:
            raise UserError(f"run {self.study.info.run_id}: lacks its {HEADER}; run the study again to write it")
        header = msgspec.json.decode(declared, type=StudyHeader)
        order = {arm.name: place for place, arm in enumerate(header.arms)}
        histories = self._histories()
        trials = [self._trial(run, histories.get(run.info.run_id, {})) for run in self.runs]
        trials.sort(key=lambda trial: (order.get(trial.arm, len(order)), trial.seed))
        data = self._artifact(self.study, GALLERY)
        gallery = None if data is None else msgspec.json.decode(data, type=Gallery)
        return StudyRecord(
            **{name: getattr(header, name) for name in header.__dataclass_fields__},
            run_id=self.study.info.run_id,
            status=STATUS_OF[self.study.info.status],
            trials=tuple(trials if gallery is None else self._with_found(trials)),
            started_ms=self.study.info.start_time,
            gallery=gallery,
            gallery_files={} if gallery is None else self._images(gallery),
        )

    def _trial(self, run: Run, history: Mapping[str, Points]) -> TrialRecord:
        tags = run.data.tags
        metrics = dict(run.data.metrics)
        return TrialRecord(
            run_id=run.info.run_id,
            study=tags["study"],
            arm=tags["arm"],
            seed=int(tags["seed"]),
            identity=tags["identity"],
            status=STATUS_OF[run.info.status],
            error=tags.get("error", ""),
            epoch=int(metrics.pop("epoch", 0)),
            params=dict(run.data.params),
            metrics=metrics,
            history=history,
            tags={name: value for name, value in tags.items() if not name.startswith("mlflow.")},
            started_ms=run.info.start_time,
            ended_ms=run.info.end_time if run.info.status != "RUNNING" else None,
            artifact_uri=run.info.artifact_uri,
        )

    def _histories(self) -> dict[str, dict[str, Points]]:
        """Values by run, metric and epoch."""
        names = sorted({name for run in self.runs for name in run.data.metrics} - {"epoch"})
        histories: dict[str, dict[str, Points]] = {}
        for name in names:
            for run_id, points in self._metric(name).items():
                histories.setdefault(run_id, {})[name] = one_per_step(points)
        return histories

    def _metric(self, name: str) -> dict[str, list[tuple[int, float]]]:
        """Steps and values of one metric by run, in the order they were recorded."""
        holders = [run.info.run_id for run in self.runs if name in run.data.metrics]
        points: dict[str, list[tuple[int, float]]] = {}
        # One query for all runs instead of one each; only databases offer it, and only below the client.
        bulk = getattr(self.client._tracking_client.store, "get_metric_history_bulk", None)  # noqa: SLF001
        if bulk is not None:
            for found in bulk(holders, name, max_results=MOST_POINTS):
                points.setdefault(found.run_id, []).append((found.step, found.value))
            return points
        for run_id in holders:
            history = self.client.get_metric_history(run_id, name)
            points[run_id] = [(metric.step, metric.value) for metric in history]
        return points

    def _with_found(self, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Add detections in the gallery's images to the first finished trial of each arm."""
        runs = {run.info.run_id: run for run in self.runs}
        seen: set[str] = set()
        complete = []
        for trial in trials:
            data = None
            if trial.status == "finished" and trial.arm not in seen:
                data = self._artifact(runs[trial.run_id], FOUND)
                seen.add(trial.arm)
            complete.append(trial if data is None else replace(trial, found=decode_found(data)))
        return complete

    def _images(self, gallery: Gallery) -> dict[int, bytes]:
        files = {image.id: self._artifact(self.study, f"{IMAGES}/{image.file}") for image in gallery.images}
        return {image_id: data for image_id, data in files.items() if data is not None}

    def _artifact(self, run: Run, path: str) -> bytes | None:
        """Contents of an artifact, or None where there is none."""
        folder, _, _ = path.rpartition("/")
        if path not in {entry.path for entry in self.client.list_artifacts(run.info.run_id, folder or None)}:
            return None
        with tempfile.TemporaryDirectory() as place:
            return Path(self.client.download_artifacts(run.info.run_id, path, place)).read_bytes()
