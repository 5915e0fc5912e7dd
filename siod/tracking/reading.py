"""From the runs of a study in MLflow to its records."""

from __future__ import annotations

import math
import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from siod.errors import UserError
from siod.tracking.addresses import local_folder, run_address
from siod.tracking.database import engine_of, values_by_step
from siod.tracking.records import Annotations, Diagnosis, Gallery, StudyHeader, StudyRecord, TrialRecord, decode_found
from siod.tracking.sqlite_file import SqliteFile

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from mlflow import MlflowClient
    from mlflow.entities import Run

    from siod.tracking.records import Points, Status
    from siod.tracking.sqlite_file import FileRun

    AnyRun = Run | FileRun
    # From a record without values by epoch to the arms of which they are wanted.
    Curves = Callable[[StudyRecord], Collection[str]]

STATUSES: dict[Status, str] = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "pruned": "KILLED",
}
STATUS_OF: dict[str, Status] = {
    "RUNNING": "running",
    "SCHEDULED": "running",
    "FINISHED": "finished",
    "FAILED": "failed",
    "KILLED": "interrupted",
}
PRUNED = "pruned"
"""The tag that tells a pruned trial from an interrupted one: MLflow has one state for both."""
HEADER, GALLERY, IMAGES, FOUND = "study.json", "gallery/gallery.json", "gallery/images", "gallery.json"
ENVIRONMENT, DIAGNOSIS, ANNOTATIONS = "environment.json", "diagnosis.json", "annotations.json"
AP_S = "ap_s"
EPOCH = "epoch"
"""The metric that says which epochs are recorded."""
LEARNING_RATE = "train/learning_rate"  # follows from the schedule
COST = "cost/"
# A figure of the score-aware table, such as ap50_s3, of the validation or the test split.
FIGURE = re.compile(r"(test/)?a[pr]\w*_s\d?")
LARGEST = sys.float_info.max


class ElsewhereError(Exception):
    """Artifacts are kept where only MLflow's client finds them."""


class StudyReader:
    """Turns the runs of a study into records.

    Args:
        client: Of the store, or its file.
        study: The study's own run.
        children: The runs of its trials; those of earlier declarations are left out.
        database: Of a SQLite store, beside which its artifacts lie.
        server: Root of the address under which a browser finds the store.
    """

    def __init__(
        self,
        client: MlflowClient | SqliteFile,
        study: AnyRun,
        children: Sequence[AnyRun],
        *,
        database: Path | None = None,
        server: str = "",
    ) -> None:
        self.client, self.study, self.database, self.server = client, study, database, server
        self.runs = [run for run in children if not run.data.tags.get("superseded")]
        self._run_of = {run.info.run_id: run for run in self.runs}

    def read(self, *, details: bool = True, curves: Curves | None = None) -> StudyRecord:
        """Read everything.

        Args:
            details: Whether to read values by epoch and artifacts besides the declaration.
            curves: Names the arms whose values by epoch are read; those of costs are read of every arm.

        Raises:
            UserError: The study's declaration is not there.
        """
        header = self.header()
        order = {arm.name: place for place, arm in enumerate(header.arms)}
        trials = [self._trial(run) for run in self.runs]
        trials.sort(key=lambda trial: (order.get(trial.arm, len(order)), trial.seed))
        trials = [self._explained(trial) for trial in trials] if details else trials
        data = self._artifact(self.study, GALLERY) if details else None
        gallery = None if data is None else msgspec.json.decode(data, type=Gallery)
        record = StudyRecord(
            **{name: getattr(header, name) for name in header.__dataclass_fields__},
            run_id=self.study.info.run_id,
            status=STATUS_OF[self.study.info.status],
            trials=tuple(trials if gallery is None else self._with_found(trials)),
            started_ms=self.study.info.start_time,
            gallery=gallery,
            gallery_files={} if gallery is None else self._images(gallery),
            environment=self._environment(trials) if details else {},
            address=f"{self.server}/#/experiments/{self.study.info.experiment_id}" if self.server else "",
        )
        return self._with_histories(record, curves or _every_arm) if details else record

    def header(self) -> StudyHeader:
        """The study as it was declared.

        Raises:
            UserError: The declaration is not there.
        """
        declared = self._artifact(self.study, HEADER)
        if declared is None:
            raise UserError(
                f"{self._address(self.study)}: lacks the study's {HEADER}; run the study again to write it, or, if the "
                "database was moved alone, put the folder artifacts beside it"
            )
        return msgspec.json.decode(declared, type=StudyHeader)

    def trials(self) -> tuple[TrialRecord, ...]:
        """The trials as they stand; values by epoch and artifacts are left out."""
        return tuple(self._trial(run) for run in self.runs)

    def _trial(self, run: AnyRun) -> TrialRecord:
        tags = run.data.tags
        metrics = {name: _recorded_value(value) for name, value in run.data.metrics.items()}
        return TrialRecord(
            run_id=run.info.run_id,
            study=tags["study"],
            arm=tags["arm"],
            seed=int(tags["seed"]),
            identity=tags["identity"],
            status="pruned" if run.info.status == "KILLED" and tags.get(PRUNED) else STATUS_OF[run.info.status],
            error=tags.get("error", ""),
            epoch=int(metrics.pop(EPOCH, 0)),
            params=dict(run.data.params),
            metrics=metrics,
            tags={name: value for name, value in tags.items() if not name.startswith("mlflow.")},
            started_ms=run.info.start_time,
            ended_ms=run.info.end_time if run.info.status != "RUNNING" else None,
            artifact_uri=self._address(run),
        )

    def _with_histories(self, record: StudyRecord, curves: Curves) -> StudyRecord:
        """Add values by epoch; of the protocol's hundred figures only those anybody follows."""
        names = {name for trial in record.trials for name in trial.metrics} - {LEARNING_RATE}
        followed = sorted(name for name in names if name in {AP_S, record.objective} or not FIGURE.fullmatch(name))
        every_arm, curved = _every_arm(record), curves(record)
        histories: dict[str, dict[str, Points]] = {}
        for name in followed:
            for run_id, points in self._metric(name, every_arm if name.startswith(COST) else curved).items():
                histories.setdefault(run_id, {})[name] = tuple(sorted(points.items()))
        trials = (replace(trial, history=histories.get(trial.run_id, {})) for trial in record.trials)
        return replace(record, trials=tuple(trials))

    def _metric(self, name: str, arms: Collection[str]) -> dict[str, dict[int, float]]:
        """Values of one metric by run and step; of a step that was recorded twice the last."""
        points: dict[str, dict[int, float]] = {}
        for run_id, step, value, is_nan in self._values(name, arms):
            if run_id not in points:
                points[run_id] = {}
            points[run_id][step] = (
                value if -LARGEST < value < LARGEST and not is_nan else _recorded_value(value, is_nan)
            )
        return points

    def _values(self, name: str, arms: Collection[str]) -> Iterable[Any]:
        """Run, step, value and whether it is no number, of one metric in the order it was recorded."""
        study = self.study.info.run_id
        if isinstance(self.client, SqliteFile):
            return self.client.values_by_step(name, study, arms)
        engine = engine_of(self.client)
        if engine is not None:
            return values_by_step(engine, name, study, arms)
        runs = [run.info.run_id for run in self.runs if name in run.data.metrics and run.data.tags["arm"] in arms]
        return _histories(self.client, name, runs)

    def _with_found(self, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Add detections in the gallery's images to the first finished trial of each arm."""
        seen: set[str] = set()
        complete = []
        for trial in trials:
            data = None
            if trial.status == "finished" and trial.arm not in seen:
                data = self._artifact(self._run_of[trial.run_id], FOUND)
                seen.add(trial.arm)
            complete.append(trial if data is None else replace(trial, found=decode_found(data)))
        return complete

    def _images(self, gallery: Gallery) -> dict[int, bytes]:
        files = {image.id: self._artifact(self.study, f"{IMAGES}/{image.file}") for image in gallery.images}
        return {image_id: data for image_id, data in files.items() if data is not None}

    def _explained(self, trial: TrialRecord) -> TrialRecord:
        """Add what lies behind the AP of a finished trial; versions before did not keep all of it."""
        if trial.status != "finished":
            return trial
        run = self._run_of[trial.run_id]
        diagnosis, annotations = self._artifact(run, DIAGNOSIS), self._artifact(run, ANNOTATIONS)
        return replace(
            trial,
            diagnosis=None if diagnosis is None else msgspec.json.decode(diagnosis, type=Diagnosis),
            annotations=None if annotations is None else msgspec.json.decode(annotations, type=Annotations),
        )

    def _environment(self, trials: Sequence[TrialRecord]) -> dict[str, Any]:
        """Where the first finished trial ran; nothing when it did not say."""
        first = next((trial.run_id for trial in trials if trial.status == "finished"), None)
        data = None if first is None else self._artifact(self._run_of[first], ENVIRONMENT)
        return {} if data is None else msgspec.json.decode(data, type=dict[str, Any])

    def _address(self, run: AnyRun) -> str:
        """Where a run's artifacts are; those beside a database are where that is now."""
        address: str = run.info.artifact_uri
        return address if self.database is None else run_address(self.database, address, run.info.run_id)

    def _artifact(self, run: AnyRun, path: str) -> bytes | None:
        """Contents of an artifact, or None where there is none."""
        folder_of_run = local_folder(self._address(run))
        if folder_of_run is not None:  # no detour over the client, which asks the store about each file
            root = folder_of_run.resolve()
            file = (root / path).resolve()
            return file.read_bytes() if file.is_relative_to(root) and file.is_file() else None
        if isinstance(self.client, SqliteFile):
            raise ElsewhereError(run.info.artifact_uri)
        folder, _, _ = path.rpartition("/")
        if path not in {entry.path for entry in self.client.list_artifacts(run.info.run_id, folder or None)}:
            return None
        with tempfile.TemporaryDirectory() as copy:
            return Path(self.client.download_artifacts(run.info.run_id, path, copy)).read_bytes()


def _histories(client: MlflowClient, name: str, runs: Iterable[str]) -> Iterator[tuple[str, int, float, bool]]:
    """The values of one metric as a server tells them, run by run."""
    for run_id in runs:
        for metric in sorted(client.get_metric_history(run_id, name), key=lambda metric: metric.timestamp):
            yield run_id, metric.step, metric.value, math.isnan(metric.value)


def _every_arm(study: StudyRecord) -> set[str]:
    return {trial.arm for trial in study.trials}


def _recorded_value(value: float, is_nan: bool = False) -> float:  # noqa: FBT001, FBT002  (as the database has it)
    """The recorded value: databases hold the largest number for infinity, and 0 for NaN."""
    if is_nan:
        return math.nan
    return math.copysign(math.inf, value) if abs(value) >= LARGEST else value
