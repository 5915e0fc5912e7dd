"""What writes one trial's run in an MLflow store. MLflow is imported when it is first used."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from siod.files import link_or_copy, replacing
from siod.tracking.addresses import local_folder, run_address
from siod.tracking.connection import as_user_error, client_of, sqlite_path
from siod.tracking.reading import EPOCH, PRUNED, STATUSES
from siod.tracking.records import flatten

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from siod.tracking.records import Status


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
        self._log_metrics({**metrics, EPOCH: float(epoch)}, epoch)

    def epochs(self) -> frozenset[int]:
        """The epochs that are recorded."""
        with as_user_error(self.uri):
            history = client_of(self.uri).get_metric_history(self.run_id, EPOCH)
        return frozenset(metric.step for metric in history)

    def log_params(self, settings: Mapping[str, Any]) -> None:
        """Record settings by their dotted paths; one that is recorded already keeps its value, as MLflow demands."""
        from mlflow.entities import Param  # noqa: PLC0415  (keeps the import of this module cheap)

        with as_user_error(self.uri):
            known = client_of(self.uri).get_run(self.run_id).data.params
            params = [Param(name, value) for name, value in flatten(settings).items() if name not in known]
            client_of(self.uri).log_batch(self.run_id, params=params)

    def log_json(self, name: str, data: Any) -> None:
        """Store plain data as a JSON artifact.

        Args:
            name: Of the artifact, with its suffix.
            data: Anything JSON can hold.
        """
        self.log_text(name, msgspec.json.format(msgspec.json.encode(data)).decode())

    def log_text(self, name: str, text: str) -> None:
        """Store text as an artifact."""
        with as_user_error(self.uri):
            own = _own_folder(self.uri, self.run_id)
            if own is None:
                client_of(self.uri).log_text(self.run_id, text, name)
                return
            with replacing(own / name) as temporary:
                temporary.write_text(text)

    def log_file(self, path: Path, folder: str | None = None, *, link: bool = False) -> None:
        """Copy a file to the artifacts.

        Args:
            path: The file.
            folder: Among the artifacts; the top when None.
            link: The file is replaced, never written to: a second name for it will do where it lies on the same disk.
        """
        with as_user_error(self.uri):
            own = _own_folder(self.uri, self.run_id)
            if own is None:
                client_of(self.uri).log_artifact(self.run_id, str(path), folder)
                return
            artifact = own / (folder or "") / path.name
            if link:
                link_or_copy(path, artifact)
                return
            with replacing(artifact) as temporary:
                shutil.copyfile(path, temporary)

    def finish(self, status: Status, *, error: str = "", metrics: Mapping[str, float] | None = None) -> None:
        """Set how the trial ended.

        Args:
            status: Where it stands now.
            error: One sentence, for a trial that failed.
            metrics: Final values; they count for the last recorded epoch.
        """
        with as_user_error(self.uri):
            client = client_of(self.uri)
            latest = client.get_run(self.run_id).data.metrics
            changed = {name: value for name, value in (metrics or {}).items() if latest.get(name) != value}
            self._log_metrics(changed, int(latest.get(EPOCH, 0)))
            client.set_tag(self.run_id, "error", error)
            client.set_tag(self.run_id, PRUNED, "yes" if status == "pruned" else "")
            client.set_terminated(self.run_id, STATUSES[status])

    def _log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric  # noqa: PLC0415  (keeps the import of this module cheap)

        now = _now_ms()
        with as_user_error(self.uri):
            client_of(self.uri).log_batch(
                self.run_id, metrics=[Metric(name, float(value), now, step) for name, value in metrics.items()]
            )


@lru_cache(maxsize=256)
def _own_folder(uri: str, run_id: str) -> Path | None:
    """The folder beside a SQLite store that holds a run's artifacts; None where MLflow decides where they are."""
    if not uri.startswith("sqlite:"):
        return None
    address: str = client_of(uri).get_run(run_id).info.artifact_uri
    return local_folder(run_address(sqlite_path(uri), address, run_id))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
