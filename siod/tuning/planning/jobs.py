"""Put the files of planned trials in place: data, initial weights, and one folder per identity."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from siod.data import coco
from siod.data.source import Preparation
from siod.errors import UserError
from siod.training.fitness import refuse_unfit
from siod.tuning.planning.plan import refuse_short_schedules
from siod.tuning.trials.gallery import choose_images
from siod.tuning.trials.trial import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from siod.data.source import PreparedData
    from siod.data.usable_files import Check
    from siod.tuning.planning.plan import Trial

TEACHER = "teacher"


def prepare_jobs(
    trials: Sequence[Trial],
    *,
    runs_dir: Path,
    cache_dir: Path,
    baseline: str,
    check_images: Check = "refuse",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Job, ...]:
    """Prepare the data of all trials and name their folders.

    Args:
        trials: What is planned.
        runs_dir: Trials train in ``trials/<identity>`` below it.
        cache_dir: Where generated data and derived sets are kept.
        baseline: The arm whose validation images make the gallery.
        check_images: What to do with images that do not decode.
        progress: Called with the number of images made or checked and of all.

    Returns:
        One job per trial, in the same order.

    Raises:
        UserError: The data is missing or refused, or does not fit what an arm does with it.
    """
    data_of = _prepare_arms(trials, cache_dir, check_images, progress)
    reference = next((trial for trial in trials if trial.arm.name == baseline), trials[0])
    shown = data_of[reference.arm.name]
    ids = choose_images(coco.read(shown.val))
    jobs = []
    for trial in trials:
        data = data_of[trial.arm.name]
        identity = trial.experiment.identity(data.fingerprint)
        jobs.append(
            Job(
                arm=trial.arm.name,
                experiment=trial.experiment,
                data=data,
                identity=identity,
                run_dir=runs_dir / "trials" / identity,
                cache_dir=cache_dir,
                gallery_ids=ids if data.val == shown.val else (),
            )
        )
    return tuple(jobs)


def _prepare_arms(
    trials: Sequence[Trial], cache_dir: Path, check_images: Check, progress: Callable[[int, int], None] | None
) -> dict[str, PreparedData]:
    """Prepare the data of each arm, by its name; arms with equal data share it, and so do the seeds of an arm."""
    preparation = Preparation(cache_dir, check_images=check_images, progress=progress)
    prepared: dict[str, PreparedData] = {}
    data_of = {}
    of_arms = {trial.arm.name: trial for trial in trials}.values()
    refuse_short_schedules(of_arms, cache_dir)
    for trial in of_arms:
        key = _data_key(trial)
        if key not in prepared:
            prepared[key] = preparation.prepare(trial.experiment.data, trial.experiment.annotations)
        try:
            refuse_unfit(trial.experiment, prepared[key])
        except UserError as error:
            raise UserError(f"{trial.arm.name}: {error}") from error
        data_of[trial.arm.name] = prepared[key]
    return data_of


def teacher_stages(jobs: Sequence[Job]) -> tuple[tuple[Job, ...], ...]:
    """The teachers that the methods of some jobs label with, and those that these need, as jobs of their own.

    Args:
        jobs: Of a study, or the bases of a search.

    Returns:
        Those that have no result yet, each once, in stages: the first need no other, each later stage needs the one
        before it. They are named ``teacher:ARM`` after the first arm that needs them; one that is among the jobs is
        that job.
    """
    known = {job.identity: job for job in jobs}
    stages: list[tuple[Job, ...]] = []
    taught = tuple(jobs)
    while taught := tuple(job for job in _teachers_of(taught, known).values() if job.result() is None):
        # One that is also the teacher of a teacher has to be trained before that.
        earlier = {job.identity for job in taught}
        stages = [taught, *(tuple(job for job in stage if job.identity not in earlier) for stage in stages)]
    return tuple(stage for stage in stages if stage)


def _teachers_of(jobs: Sequence[Job], known: Mapping[str, Job]) -> dict[str, Job]:
    """The teacher of each job that needs one, by identity."""
    found: dict[str, Job] = {}
    arms: dict[str, str] = {}
    for job in jobs:
        teacher = job.experiment.teacher()
        if teacher is None:
            continue
        identity = teacher.identity(job.data.fingerprint)
        # Seeds of one teacher share a name.
        arm = arms.setdefault(teacher.model_copy(update={"seed": 0}).identity(job.data.fingerprint), job.arm)
        made = replace(job, arm=f"{TEACHER}:{arm}", experiment=teacher, identity=identity, gallery_ids=(), number=None)
        made = replace(made, run_dir=(job.run_dir.parent / identity))
        found.setdefault(identity, known.get(identity, made))
    return found


def in_stages(jobs: Sequence[Job]) -> tuple[tuple[Job, ...], ...]:
    """Split jobs into stages, each of which waits for the one before it.

    Args:
        jobs: To be trained.

    Returns:
        Teachers that have no result yet, those that are none of the jobs among them, by stage; last the other jobs.
    """
    stages = teacher_stages(jobs)
    first = {teacher.identity for stage in stages for teacher in stage}
    rest = tuple(job for job in jobs if job.identity not in first)
    return (*stages, rest)


def _data_key(trial: Trial) -> str:
    experiment = trial.experiment
    return experiment.data.model_dump_json() + experiment.annotations.model_dump_json()


def delete_folders(jobs: Sequence[Job]) -> None:
    """Delete the folders of jobs, so that they train again from the start."""
    for job in jobs:
        if job.run_dir.exists():
            shutil.rmtree(job.run_dir)
