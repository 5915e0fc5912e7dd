"""A trial whose disk is full in the middle of any of its files loses nothing, and goes on once there is room."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from siod import files
from siod.cli.main import _is_out_of_space
from siod.json_file import read_json
from siod.training.checkpoint import load
from siod.training.machine import this_machine
from siod.tuning.planning.jobs import prepare_jobs
from siod.tuning.planning.plan import place_trials, plan
from siod.tuning.trials.execution import train_job

if TYPE_CHECKING:
    from siod.tuning.study import Study
    from siod.tuning.trials.trial import Job

MEASURED = ("train/images_per_second", "cost/epoch_seconds", "cost/peak_memory_mib")
# Of an unbroken trial, in its order; trimming replaces checkpoints that are there already.
WRITTEN = [
    "experiment.json",
    "arithmetic.json",
    "epoch_0001.pt",
    "best.pt",
    "epoch_0002.pt",
    "best.pt",
    "history.json",
    "detections.json.gz",
    "result.json",
    "epoch_0002.pt",
    "best.pt",
    "environment.json",
    "diagnosis.json",
    "annotations.json",
    "gallery.json",
    "predictions.png",
]


@pytest.fixture(scope="module")
def prepared(a_study: Study, tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("full")
    trials = place_trials(plan(a_study, arms=["base"], seeds=[0]), (this_machine(),))
    (job,) = prepare_jobs(trials, runs_dir=folder / "runs", cache_dir=folder / "cache", baseline="base")
    return job


@pytest.fixture(scope="module")
def unbroken(prepared: Job) -> Job:
    train_job(prepared)
    return prepared


@pytest.fixture
def job(prepared: Job, unbroken: Job, tmp_path: Path) -> Job:
    """The same trial where it has not run yet."""
    del unbroken
    return replace(prepared, run_dir=tmp_path / "run")


def learnt(job: Job) -> tuple[dict[str, float], list[dict[str, float]], object, list[str]]:
    """What a trial's files say, without how fast it was."""
    result, *history = [
        {name: value for name, value in figures.items() if name not in MEASURED}
        for figures in (read_json(job.run_dir / "result.json"), *read_json(job.run_dir / "history.json"))
    ]
    names = sorted(str(path.relative_to(job.run_dir)) for path in job.run_dir.rglob("*") if path.is_file())
    return result, history, read_json(job.run_dir / "detections.json.gz"), names


def fill_at(monkeypatch: pytest.MonkeyPatch, count: int) -> list[str]:
    """The disk is full in the middle of the file with this number, counted from 0; returns the names as they come."""
    sync, names = files._sync, []

    def sync_or_fail(path: Path) -> None:
        if path.suffix == ".tmp":
            names.append(path.name.removeprefix(".").rsplit(".", 2)[0])
            if len(names) == count + 1:
                if path.stat().st_nlink == 1:  # a second name needs no room for its content
                    os.truncate(path, path.stat().st_size // 2)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        sync(path)

    monkeypatch.setattr(files, "_sync", sync_or_fail)
    return names


def failure_of(job: Job) -> OSError | None:
    try:
        train_job(job)
    except OSError as error:
        return error
    return None


def test_the_files_of_a_trial_are_these(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    names = fill_at(monkeypatch, 1000)
    train_job(job)
    assert names == WRITTEN


@pytest.mark.slow
@pytest.mark.parametrize("count", range(len(WRITTEN)), ids=lambda count: f"{count}-{WRITTEN[count]}")
def test_a_trial_whose_disk_was_full_ends_as_an_unbroken_one(
    job: Job, unbroken: Job, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    with monkeypatch.context() as full:
        names = fill_at(full, count)
        failure = failure_of(job)
        # It is told in one sentence; or the run is done, and only a checkpoint was not made smaller.
        assert (job.run_dir / "result.json").exists() if failure is None else _is_out_of_space(failure)
        assert names[count] == WRITTEN[count]
    assert list(job.run_dir.rglob("*.tmp")) == []
    for file in (job.run_dir / "checkpoints").glob("*.pt"):
        load(file)  # what stands there is whole
    train_job(job)
    assert learnt(job) == learnt(unbroken)


def test_a_trial_on_a_disk_without_hard_links_ends_as_one_with(
    job: Job, unbroken: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    train_job(job)
    assert learnt(job) == learnt(unbroken)
