"""Record a running study in the tracking store, from the one process that drives it.

Trials do not talk to the store: one writer means no locked database, no tracking library in every
trial, and a store that the machines of a cluster need not reach. One thread makes all calls, in the
order of the events, so that a slow store never holds up the trials.
"""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import siod
from siod.data import coco
from siod.json_file import read_json
from siod.tracking.mlflow import Store
from siod.tracking.records import ArmRecord, StudyHeader
from siod.training import results
from siod.tuning.arms import confounded
from siod.tuning.trials.gallery import study_gallery
from siod.tuning.trials.trial import ANNOTATIONS, DIAGNOSIS, ENVIRONMENT, FOUND, LOG, PICTURE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from siod.tracking.records import Status
    from siod.tracking.trial_log import TrialLog
    from siod.tuning.study import Arm, Study
    from siod.tuning.trials.trial import Job

ARTIFACTS = (results.DETECTIONS, DIAGNOSIS, ANNOTATIONS, FOUND, PICTURE, ENVIRONMENT, LOG, results.HISTORY)
TRACEBACK = "traceback.txt"


class Recorder:
    """Writes what happens to trials into the tracking store.

    A store that fails does not stop the trials. What could not be written stands in ``unrecorded``, by trial;
    when a trial ends everything about it is written again from its folder, and the next call of the study
    does the same for what is still missing then.

    The store is opened by the same thread, which takes seconds that the process spends with starting Ray.

    Args:
        store: Where to.
        header: The study as it is declared now.
    """

    def __init__(self, store: Store, header: StudyHeader) -> None:
        self.unrecorded: dict[str, str] = {}
        self.status: Status = "interrupted"
        self._store = store
        self._commit = git_commit()
        self._logs: dict[str, TrialLog] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="recorder")
        self._opened = self._thread.submit(_open, store, header)

    @classmethod
    @contextmanager
    def open(
        cls,
        study: Study,
        jobs: Sequence[Job],
        *,
        store_uri: str,
        command: str,
        proposals: Mapping[str, str] | None = None,
    ) -> Iterator[Recorder]:
        """Find or create the run of the study; when the context ends everything has been written.

        Args:
            study: What runs.
            jobs: Its trials.
            store_uri: MLflow tracking URI.
            command: What was typed.
            proposals: Of a search, how the trials of each arm are proposed, in words.

        Raises:
            UserError: The store cannot be opened; at the end, unless :meth:`wait_until_open` was called.
        """
        recorder = cls(Store(store_uri), replace(header_of(study, command), proposals=proposals or {}))
        recorder._later("gallery", lambda: recorder._log_gallery(jobs))
        try:
            yield recorder
            recorder.wait_until_open()
        finally:
            recorder._close()

    def wait_until_open(self) -> None:
        """Come back when the store is open; what is to be recorded waits by itself.

        Raises:
            UserError: It cannot be opened.
        """
        self._opened.result()

    @property
    def _study_run_id(self) -> str:
        """Run of the study."""
        return self._opened.result()[0]

    def begin(self, job: Job) -> None:
        """A trial runs."""
        self._later(job.name, lambda: self._start(job))

    def epoch(self, job: Job, epoch: int, metrics: Mapping[str, float]) -> None:
        """A trial finished an epoch."""
        if job.name not in self.unrecorded:
            self._later(job.name, lambda: self._log(job).log_epoch(epoch, metrics))

    def finish(self, job: Job, metrics: Mapping[str, float]) -> None:
        """A trial has its result."""
        self._later(job.name, lambda: self._complete(job, metrics))

    def reuse(self, job: Job, metrics: Mapping[str, float]) -> None:
        """A trial was trained before; record it unless this study has it already."""
        self._later(job.name, lambda: self._complete_unknown(job, metrics))

    def fail(self, job: Job, sentence: str, trace: str) -> None:
        """A trial ended with an error."""
        self._later(job.name, lambda: self._fail(job, sentence, trace))

    def interrupt(self, job: Job) -> None:
        """A trial was stopped and will be continued."""
        self._later(job.name, lambda: self._log(job).finish("interrupted"))

    def prune(self, job: Job) -> None:
        """A trial was ended early by the search; it has no final score."""
        self._later(job.name, lambda: self._log(job).finish("pruned"))

    def _later(self, name: str, write: Callable[[], object]) -> None:
        self._thread.submit(self._attempt, name, write)

    def _attempt(self, name: str, write: Callable[[], object]) -> None:
        try:
            write()
        except Exception as error:  # noqa: BLE001  (the trials must not suffer from it; reported when the study ends)
            self.unrecorded[name] = " ".join(str(error).split()) or type(error).__name__

    def _close(self) -> None:
        self._later("study", lambda: self._store.finish_study(self._study_run_id, self.status))
        self._thread.shutdown(wait=True)

    def _start(self, job: Job) -> TrialLog:
        tags = {"data_fingerprint": job.data.fingerprint, "siod_version": siod.__version__}
        teacher = job.experiment.teacher()
        if teacher is not None:
            tags["teacher"] = teacher.identity(job.data.fingerprint)  # a report adds its cost to the trial's
        log = self._store.start_trial(
            self._study_run_id,
            arm=job.arm,
            seed=job.place,
            identity=job.identity,
            settings=job.experiment.model_dump(mode="json"),
            tags=tags | ({"git_commit": self._commit} if self._commit else {}),
        )
        self._logs[job.name] = log
        return log

    def _log(self, job: Job) -> TrialLog:
        return self._logs.get(job.name) or self._start(job)

    def _complete_unknown(self, job: Job, metrics: Mapping[str, float]) -> None:
        _, known = self._opened.result()
        if (job.arm, job.place, job.identity) not in known:
            self._complete(job, metrics)

    def _complete(self, job: Job, metrics: Mapping[str, float]) -> None:
        log = self._log(job)
        recorded = log.epochs()
        for epoch, values in enumerate(read_json(job.run_dir / results.HISTORY), start=1):
            if epoch not in recorded:
                log.log_epoch(epoch, values)
        self._log_files(log, job)
        log.finish("finished", metrics=metrics)
        self.unrecorded.pop(job.name, None)

    def _fail(self, job: Job, sentence: str, trace: str) -> None:
        log = self._log(job)
        log.log_text(TRACEBACK, trace)
        self._log_files(log, job)
        log.finish("failed", error=sentence)
        self.unrecorded.pop(job.name, None)

    def _log_files(self, log: TrialLog, job: Job) -> None:
        for name in ARTIFACTS:
            if (job.run_dir / name).exists():
                log.log_file(job.run_dir / name, link=name != LOG)

    def _log_gallery(self, jobs: Sequence[Job]) -> None:
        shown = next((job for job in jobs if job.gallery_ids), None)
        if shown is not None:
            gallery = study_gallery(coco.read(shown.data.val), shown.gallery_ids)
            self._store.log_gallery(self._study_run_id, gallery, shown.data.val_images)


def _open(store: Store, header: StudyHeader) -> tuple[str, frozenset[tuple[str, int, str]]]:
    """Open a store and find or create the run of a study; returns its id, and the trials it has finished."""
    store.prepare()
    store.repair()
    study_run_id = store.start_study(header)
    return study_run_id, store.finished_trials(study_run_id)


def header_of(study: Study, command: str) -> StudyHeader:
    """The declaration of a study as plain data.

    Args:
        study: As loaded.
        command: What was typed to run it.
    """
    declared = study.model_dump(mode="json")
    beside = confounded(study)
    arms = [
        ArmRecord(
            name=arm.name,
            label=arm.title,
            note=_note_of(arm, beside.get(arm.name, ())),
            changes=plain["changes"],
            group=arm.group,
            published=arm.published,
            modules=arm.modules,
            traits=arm.traits,
            seeds=arm.seeds,
        )
        for arm, plain in zip(study.arms, declared["arms"], strict=True)
    ]
    return StudyHeader(
        name=study.name,
        question=study.question,
        arms=tuple(arms),
        baseline=study.baseline,
        columns=study.columns,
        seeds=study.seeds,
        objective=study.objective,
        experiment=declared["base"],
        command=command,
        baselines=study.baselines,
        primary=study.primary,
    )


def _note_of(arm: Arm, beside: Sequence[str]) -> str:
    also = f"confounded: it also changes {', '.join(beside)}" if beside else ""
    return "; ".join(filter(None, (arm.note, also)))


def git_commit() -> str | None:
    """Commit of the checkout this code runs from, with ``-dirty`` for local changes; None when it is installed."""
    source = Path(siod.__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(  # noqa: S603  (fixed arguments)
                ["git", "-C", str(source), *arguments],  # noqa: S607  (the user's git)
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed copy may lie inside a checkout of something else; then git does not track this file.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit = git("rev-parse", "HEAD")
    return f"{commit}-dirty" if commit and git("status", "--porcelain", "--untracked-files=no") else commit
