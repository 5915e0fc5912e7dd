"""A teacher is a stage of its study: trained once per seed, before what it teaches, shared, planned and recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from siod.cli.main import app
from siod.data.annotation_sets import WholeImages
from siod.json_file import write_json
from siod.methods.annotated import AnnotatedOnly
from siod.methods.pseudo import PseudoBoxes
from siod.methods.teacher_student import TeacherStudent
from siod.tracking.mlflow import Store
from siod.training.experiment import Experiment
from siod.tuning.planning.jobs import in_stages, prepare_jobs, teacher_stages
from siod.tuning.planning.plan import plan
from siod.tuning.running.run_config import RunConfig
from siod.tuning.running.runner import run_study
from siod.tuning.space import Choice, Search
from siod.tuning.study import Arm, Study
from siod.tuning.trials.trial import Job

TAUGHT = TeacherStudent(pseudo=PseudoBoxes(min_score=0.2))


@pytest.fixture(scope="module")
def taught(small: Experiment) -> Study:
    """Two students of one teacher, and an arm that needs none."""
    base = small.with_changes({"annotations": WholeImages(), "recipe.epochs": 1})
    arms = (
        Arm(name="base"),
        Arm(name="strict", changes={"method": TAUGHT}),
        Arm(name="lenient", changes={"method": TAUGHT.with_changes({"weight": 0.5})}),
    )
    return Study(name="taught", question="Does teaching help?", base=base, arms=arms, baseline="base", seeds=(0, 1))


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def jobs_of(study: Study, folder: Path, cache_dir: Path) -> tuple[Job, ...]:
    return prepare_jobs(plan(study), runs_dir=folder, cache_dir=cache_dir, baseline="base")


def test_students_of_a_seed_share_a_teacher_that_comes_first(taught: Study, tmp_path: Path, cache_dir: Path) -> None:
    jobs = jobs_of(taught, tmp_path, cache_dir)
    teachers, rest = in_stages(jobs)
    assert [job.name for job in teachers] == ["teacher:strict/0", "teacher:strict/1"]
    assert all(job.experiment.method == AnnotatedOnly() for job in teachers)
    assert all(job.run_dir == tmp_path / "trials" / job.identity for job in teachers)
    assert rest == jobs


def test_an_arm_that_is_the_teacher_comes_first_and_is_trained_once(
    taught: Study, tmp_path: Path, cache_dir: Path
) -> None:
    itself = Arm(name="itself", changes={"method": AnnotatedOnly()})
    jobs = jobs_of(taught.model_copy(update={"arms": (*taught.arms, itself)}), tmp_path, cache_dir)
    teachers, rest = in_stages(jobs)
    assert [job.name for job in teachers] == ["itself/0", "itself/1"]
    assert sorted(job.name for job in (*teachers, *rest)) == sorted(job.name for job in jobs)


def test_a_finished_teacher_is_not_trained_again(taught: Study, tmp_path: Path, cache_dir: Path) -> None:
    jobs = jobs_of(taught, tmp_path, cache_dir)
    ((first, second),) = teacher_stages(jobs)
    first.run_dir.mkdir(parents=True)
    write_json(first.run_dir / "result.json", {"ap_s": 0.1})
    assert in_stages(jobs)[0] == (second,)


def test_a_plan_counts_teachers(taught: Study, tmp_path: Path, cache_dir: Path) -> None:
    file = tmp_path / "taught.json"
    file.write_text(taught.model_dump_json())
    words = ["study", "plan", str(file), "--runs", str(tmp_path / "runs"), "--cache", str(cache_dir)]
    said = CliRunner().invoke(app, words, catch_exceptions=False).output
    assert "teacher:strict      0/2" in said
    assert "8 trials, 0 finished, 8 to train" in said


@pytest.mark.ray
@pytest.mark.slow
def test_a_study_trains_its_teacher_before_its_students(
    taught: Study, tmp_path: Path, cache_dir: Path, ray_session: None, new_store: Callable[[Path], str]
) -> None:
    del ray_session
    store = Store(new_store(tmp_path))
    folders = {"runs_dir": tmp_path, "cache_dir": cache_dir}
    outcome = run_study(
        taught, RunConfig(**folders, store_uri=store.uri, seeds=(0,), arms=("strict", "lenient")), progress=False
    )
    assert sorted(outcome.finished) == ["lenient/0", "strict/0", "teacher:strict/0"]
    assert not (cache_dir / "teachers").exists()
    record = {(trial.arm, trial.seed): trial for trial in store.read_study("taught").trials}
    teacher = record["teacher:strict", 0]
    assert teacher.ended_ms is not None
    for arm in ("strict", "lenient"):
        student = record[arm, 0]
        assert student.started_ms is not None
        assert student.started_ms >= teacher.ended_ms
        assert "mining/pseudo_per_image" in student.metrics


@pytest.mark.ray
@pytest.mark.slow
def test_a_search_of_thresholds_trains_one_teacher(
    taught: Study, tmp_path: Path, cache_dir: Path, ray_session: None, new_store: Callable[[Path], str]
) -> None:
    del ray_session
    searched = taught.model_copy(
        update={
            "arms": taught.arms[:2],
            "seeds": (0,),
            "space": {"method.pseudo.min_score": Choice(values=(0.1, 0.3))},
            "search": Search(trials=2, sampler="grid"),
        }
    )
    store = Store(new_store(tmp_path))
    outcome = run_study(
        searched, RunConfig(runs_dir=tmp_path, cache_dir=cache_dir, store_uri=store.uri), progress=False
    )
    assert outcome.failed == {}
    search = store.read_study("taught.search")
    assert sorted((trial.arm, trial.seed) for trial in search.trials) == [
        ("strict", 0),
        ("strict", 1),
        ("teacher:strict", 100),
    ]
    assert sorted(outcome.finished) == ["base/0", "strict/0", "teacher:strict/0"]
