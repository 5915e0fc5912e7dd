"""A teacher is a stage of its study: trained once per seed, before what it teaches, shared, planned and recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from siod.cli.main import app
from siod.data.annotation_sets import WholeImages
from siod.dminer.dminer import DMiner
from siod.dminer.pgcl import PGCL
from siod.errors import UserError
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
from siod.tuning.searching.search import StudySearch
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


@pytest.fixture(scope="module")
def chained(small: Experiment) -> Study:
    """On one box per category: a DMiner arm that teaches, and students of one and of three rounds."""
    base = small.with_changes({"recipe.epochs": 1, "dminer": None})
    mining = {"dminer": DMiner(splg=None, pgcl=PGCL(top_m=8))}
    taught = TAUGHT.with_changes({"teacher": mining})
    arms = (
        Arm(name="base"),
        Arm(name="once", changes={"method": taught}),
        Arm(name="thrice", changes={"method": taught.with_changes({"rounds": 3})}),
        Arm(name="dminer", changes=mining),
    )
    return Study(name="chained", question="Do rounds help?", base=base, arms=arms, baseline="base", seeds=(0, 1))


def test_a_chain_of_teachers_comes_in_stages_each_once(chained: Study, tmp_path: Path, cache_dir: Path) -> None:
    """The DMiner arm teaches ``once``, which is the first round of ``thrice``; the second round is no arm."""
    jobs = jobs_of(chained, tmp_path, cache_dir)
    stages = [[job.name for job in stage] for stage in in_stages(jobs)]
    assert stages == [
        ["dminer/0", "dminer/1"],
        ["once/0", "once/1"],
        ["teacher:thrice/0", "teacher:thrice/1"],
        ["base/0", "thrice/0", "base/1", "thrice/1"],
    ]


def test_teachers_of_teachers_are_named_after_the_arm_they_serve(
    chained: Study, tmp_path: Path, cache_dir: Path
) -> None:
    alone = chained.model_copy(update={"arms": (chained.arms[0], chained.arms[2]), "seeds": (0,)})
    stages = in_stages(jobs_of(alone, tmp_path, cache_dir))
    names = ["teacher:teacher:teacher:thrice/0", "teacher:teacher:thrice/0", "teacher:thrice/0"]
    assert [[job.name for job in stage] for stage in stages] == [*([name] for name in names), ["base/0", "thrice/0"]]
    first, second, third = (stage[0].experiment for stage in stages[:3])
    assert (first.method, first.dminer) == (None, chained.base.with_changes(chained.arms[3].changes).dminer)
    assert [getattr(one.method, "rounds", None) for one in (second, third)] == [1, 2]


def test_a_finished_teacher_needs_its_own_teachers_no_more(chained: Study, tmp_path: Path, cache_dir: Path) -> None:
    alone = chained.model_copy(update={"arms": (chained.arms[0], chained.arms[2]), "seeds": (0,)})
    jobs = jobs_of(alone, tmp_path, cache_dir)
    ((_,), (second,), (third,)) = teacher_stages(jobs)
    second.run_dir.mkdir(parents=True)
    write_json(second.run_dir / "result.json", {"ap_s": 0.1})
    assert teacher_stages(jobs) == ((third,),)


def test_a_plan_counts_and_names_a_chain_of_teachers(chained: Study, tmp_path: Path, cache_dir: Path) -> None:
    alone = chained.model_copy(update={"arms": (chained.arms[0], chained.arms[2]), "seeds": (0,)})
    file = tmp_path / "chained.json"
    file.write_text(alone.model_dump_json())
    words = ["study", "plan", str(file), "--runs", str(tmp_path / "runs"), "--cache", str(cache_dir)]
    said = CliRunner().invoke(app, words, catch_exceptions=False).output
    assert "teacher:teacher:teacher:thrice      0/1" in said
    assert "5 trials, 0 finished, 5 to train" in said


def test_a_teacher_that_cannot_be_is_refused_when_it_is_planned(
    chained: Study, tmp_path: Path, cache_dir: Path
) -> None:
    wrong = TAUGHT.with_changes({"teacher": {"dmner": None}})
    study = chained.model_copy(update={"arms": (chained.arms[0], Arm(name="wrong", changes={"method": wrong}))})
    with pytest.raises(UserError, match=r"^wrong: method\.teacher: unknown setting 'dmner'; did you mean 'dminer'"):
        jobs_of(study, tmp_path, cache_dir)


def test_a_plan_counts_teachers(taught: Study, tmp_path: Path, cache_dir: Path) -> None:
    file = tmp_path / "taught.json"
    file.write_text(taught.model_dump_json())
    words = ["study", "plan", str(file), "--runs", str(tmp_path / "runs"), "--cache", str(cache_dir)]
    said = CliRunner().invoke(app, words, catch_exceptions=False).output
    assert "teacher:strict      0/2" in said
    assert "8 trials, 0 finished, 8 to train" in said


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ({"method.weight": Choice(values=(0.5, 1.0))}, [["teacher:thrice/100"]]),
        ({"method.teacher.dminer.pgcl.top_m": Choice(values=(4, 8))}, []),
        ({"method.rounds": Choice(values=(1, 2))}, []),
        ({"recipe.learning_rate": Choice(values=(1e-3, 1e-4))}, []),
    ],
    ids=["a weight", "the teacher", "rounds", "what teachers have too"],
)
def test_a_search_trains_beforehand_the_teachers_that_all_its_trials_share(
    chained: Study, tmp_path: Path, cache_dir: Path, space: dict[str, Choice], expected: list[list[str]]
) -> None:
    """Later rounds have the searched weight in their own settings, so that each trial has its own."""
    study = chained.model_copy(
        update={
            "arms": (chained.arms[0], chained.arms[2]),
            "seeds": (100,),
            "space": space,
            "search": Search(trials=2, sampler="random"),
        }
    )
    bases = {job.arm: job for job in jobs_of(study, tmp_path, cache_dir)}
    search = StudySearch.open(study, {"thrice": bases["thrice"]}, tmp_path)
    assert [[job.name for job in stage] for stage in search.teacher_stages()] == expected


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
