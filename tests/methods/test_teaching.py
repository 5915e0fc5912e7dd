"""Teachers: the average is its closed form, labels enter where they belong, a teacher is trained once."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from siod.data.loading.loader import train_batches
from siod.data.source import PreparedData
from siod.detectors.detector import Detector
from siod.detectors.spec import DetectorSpec
from siod.detectors.zoo import CENTERNET_TINY, build
from siod.dminer.dminer import DMiner
from siod.dminer.pgcl import PGCL
from siod.errors import UserError
from siod.json_file import read_json
from siod.methods.annotated import AnnotatedOnly
from siod.methods.csd import CSD
from siod.methods.mean_teacher import MeanTeacher
from siod.methods.method import Moment
from siod.methods.pseudo import PseudoBoxes
from siod.methods.steps.mean_teacher import MeanTeacherMethod
from siod.methods.steps.pseudo import choose_boxes
from siod.methods.steps.teacher import Teacher
from siod.methods.steps.teacher_student import TeacherStudentMethod
from siod.methods.strong import StrongView
from siod.methods.teacher_student import TeacherStudent
from siod.ops.padding import listed
from siod.training.checkpoint import CheckpointFolder, judged_weights, load
from siod.training.experiment import Experiment
from siod.training.run import ensure_teacher, train
from siod.training.stopping import Stopped, request_stop, stop_requested
from siod.types import Batch

Prepare = Callable[[Experiment], PreparedData]
Eager = Callable[[DetectorSpec], Detector]
FIRST = Moment(seed=0, epoch=1, step=0, steps=2, epochs=2)
AS_IT_IS = StrongView(jitter=0, grey=0, blur=0, cutouts=(0, 0))


def shift(student: torch.nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.fill_(value)


def test_the_average_is_its_closed_form() -> None:
    """From 1 with decay d, students at 2, 3, 5: d^3 + (1 - d)(2 d^2 + 3 d + 5)."""
    student = build(CENTERNET_TINY, num_classes=2)
    shift(student, 1.0)
    teacher, decay = Teacher(student), 0.9
    for value in (2.0, 3.0, 5.0):
        shift(student, value)
        teacher.follow(student, decay)
    expected = decay**3 + (1 - decay) * (2 * decay**2 + 3 * decay + 5)
    for parameter in teacher.detector.parameters():
        torch.testing.assert_close(parameter, torch.full_like(parameter, expected))


def test_running_statistics_follow_and_whole_numbers_are_copied() -> None:
    student = build(CENTERNET_TINY, num_classes=2)
    teacher = Teacher(student)
    state = student.state_dict()
    state["backbone.bn1.running_mean"].fill_(4.0)
    state["backbone.bn1.num_batches_tracked"].fill_(7)
    teacher.follow(student, 0.75)
    followed = teacher.detector.state_dict()
    assert set(followed["backbone.bn1.running_mean"].tolist()) == {1.0}
    assert followed["backbone.bn1.num_batches_tracked"] == 7


def test_until_it_starts_a_mean_teacher_is_a_copy_that_labels_nothing() -> None:
    student = build(CENTERNET_TINY, num_classes=2)
    method = MeanTeacherMethod(MeanTeacher(start_epoch=1, decay=0.9), student)
    shift(student, 2.0)
    method.after_update(FIRST)
    assert all((parameter == 2).all() for parameter in method.teacher.detector.parameters())
    assert method.teacher_at(FIRST) is None
    second = Moment(seed=0, epoch=2, step=0, steps=2, epochs=2)
    shift(student, 3.0)
    method.after_update(second)
    for parameter in method.teacher.detector.parameters():
        torch.testing.assert_close(parameter, torch.full_like(parameter, 2.1))
    assert method.teacher_at(second) is method.teacher
    assert method.judged() is method.teacher.detector
    assert MeanTeacherMethod(MeanTeacher(judged="student"), student).judged() is student


def a_batch(experiment: Experiment, prepared: Prepare) -> Batch:
    return next(iter(train_batches(prepared(experiment), experiment.augmentation, batch_size=8, seed=0, epoch=1)))


def student_of(spec: TeacherStudent, detector: Detector) -> TeacherStudentMethod:
    method = TeacherStudentMethod(spec, detector)
    method.receive_teacher(detector.state_dict())
    return method


def test_bare_images_are_learnt_from_the_teacher_s_boxes_alone(
    ssod_run: Experiment, prepared: Prepare, eager: Eager
) -> None:
    batch = a_batch(ssod_run, prepared)
    assert batch.annotated is not None
    method = student_of(TeacherStudent(pseudo=PseudoBoxes(min_score=0.2), strong=AS_IT_IS), eager(CENTERNET_TINY))
    known, strong = method.views(batch, FIRST).views
    pairs = list(zip(batch.targets, batch.annotated, strict=True))
    assert known.targets == tuple(target for target, annotated in pairs if annotated)
    bare = [row for row, annotated in enumerate(batch.annotated) if not annotated]
    assert torch.equal(strong.images, batch.images[bare])
    assert method.teacher is not None
    looked = method.teacher.look(batch.images[bare])
    for target, chosen in zip(strong.targets, listed(choose_boxes(method.spec.pseudo, looked, (96, 96))), strict=True):
        assert len(chosen.labels) > 0
        assert torch.equal(target.boxes_xyxy, chosen.boxes_xyxy)
        assert torch.equal(target.labels, chosen.labels)


def test_bare_images_without_boxes_teach_nothing(ssod_run: Experiment, prepared: Prepare, eager: Eager) -> None:
    """Above 1 there are none at all; above the best score of all images but one, one image is left."""
    batch = a_batch(ssod_run, prepared)
    assert batch.annotated is not None
    detector = eager(CENTERNET_TINY)
    bare = [row for row, annotated in enumerate(batch.annotated) if not annotated]
    best = sorted(float(score) for score in Teacher(detector).look(batch.images[bare]).scores[:, 0])
    for min_score, left_out in ((1.0, True), ((best[-1] + best[-2]) / 2, False)):
        method = student_of(TeacherStudent(pseudo=PseudoBoxes(min_score=min_score), strong=AS_IT_IS), detector)
        _, strong = method.views(batch, FIRST).views
        assert (len(strong.targets), strong.without_loss) == (1, left_out)
        assert (len(strong.targets[0].labels) == 0) == left_out


def test_where_any_image_may_lack_instances_boxes_join_the_annotated_ones_in_both_views(
    siod_run: Experiment, prepared: Prepare, eager: Eager
) -> None:
    batch = a_batch(siod_run, prepared)
    method = student_of(TeacherStudent(pseudo=PseudoBoxes(min_score=0.2), strong=AS_IT_IS), eager(CENTERNET_TINY))
    views = method.views(batch, FIRST)
    known, strong = views.views
    assert known.targets == strong.targets
    for before, after in zip(batch.targets, known.targets, strict=True):
        assert len(after.labels) > len(before.labels)
        assert torch.equal(after.boxes_xyxy[: len(before.labels)], before.boxes_xyxy)
    added = sum(len(target.labels) for target in known.targets) - sum(len(target.labels) for target in batch.targets)
    assert float(views.figures["pseudo_per_image"].mean()) == pytest.approx(added / 8)


def test_a_threshold_no_score_reaches_leaves_the_annotated_boxes(
    siod_run: Experiment, prepared: Prepare, eager: Eager
) -> None:
    batch = a_batch(siod_run, prepared)
    spec = TeacherStudent(pseudo=PseudoBoxes(min_score=1.0), strong=AS_IT_IS)
    views = student_of(spec, eager(CENTERNET_TINY)).views(batch, FIRST)
    for view in views.views:
        assert [target.labels.tolist() for target in view.targets] == [t.labels.tolist() for t in batch.targets]


def test_a_student_without_its_teacher_is_refused(siod_run: Experiment, prepared: Prepare) -> None:
    method = TeacherStudentMethod(TeacherStudent(), build(CENTERNET_TINY, num_classes=5))
    with pytest.raises(ValueError, match="must have been given a teacher's weights"):
        method.views(a_batch(siod_run, prepared), FIRST)


# Two stages.


@pytest.fixture
def taught(ssod_run: Experiment) -> Experiment:
    method = TeacherStudent(pseudo=PseudoBoxes(min_score=0.05))
    return ssod_run.with_changes({"method": method, "recipe.epochs": 1, "recipe.schedule": {"kind": "step"}})


def _train(experiment: Experiment, data: PreparedData, run_dir: Path, cache_dir: Path) -> None:
    torch.set_num_threads(1)
    train(experiment, data, run_dir, cache_dir=cache_dir)


@pytest.mark.slow
def test_a_teacher_is_trained_once_for_all_that_ask_at_the_same_time(
    taught: Experiment, prepared: Prepare, tmp_path: Path
) -> None:
    data, cache = prepared(taught), tmp_path / "cache"
    arms = {"one": taught, "other": taught.with_changes({"method.weight": 0.5})}
    spawn = multiprocessing.get_context("spawn")
    workers = [
        spawn.Process(target=_train, args=(experiment, data, tmp_path / name, cache))
        for name, experiment in arms.items()
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=300)
    assert [worker.exitcode for worker in workers] == [0, 0]
    (teacher,) = (path for path in (cache / "teachers").iterdir() if path.is_dir())
    assert (teacher / "train.log").read_text().count("epoch 1 of 1") == 1
    assert read_json(teacher / "experiment.json")["experiment"]["method"] == {"kind": "annotated_only"}
    for name in arms:
        (history,) = read_json(tmp_path / name / "history.json")
        assert {"train/heatmap", "train/strong_heatmap", "mining/pseudo_per_image"} <= history.keys()


def test_a_run_that_another_process_trains_is_waited_for_until_a_stop(
    taught: Experiment, prepared: Prepare, tmp_path: Path
) -> None:
    data, run_dir = prepared(taught), tmp_path / "run"
    teacher = taught.teacher()
    assert teacher is not None
    folder = tmp_path / "teachers" / teacher.identity(data.fingerprint)
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        with pytest.raises(UserError, match="another process is training here"):
            train(teacher, data, folder, cache_dir=tmp_path)
        request_stop(run_dir)
        with pytest.raises(Stopped, match="stopped as requested"):
            ensure_teacher(taught, data, tmp_path, run_dir=run_dir, teachers_dir=tmp_path / "teachers")


def test_another_seed_has_another_teacher_and_another_weight_the_same(
    taught: Experiment, prepared: Prepare, tmp_path: Path
) -> None:
    data = prepared(taught)
    files = [
        ensure_teacher(
            taught.with_changes(changes), data, tmp_path, run_dir=tmp_path / "run", teachers_dir=tmp_path / "teachers"
        )
        for changes in ({}, {"method.weight": 0.5, "method.pseudo.min_score": 0.4}, {"seed": 1})
    ]
    assert files[0] == files[1]
    assert files[0] is not None
    assert files[2] is not None
    assert files[0] != files[2]
    assert load(files[0])["epoch"] == 1
    idle = taught.with_changes({"method.weight": 0.0})
    assert ensure_teacher(idle, data, tmp_path, run_dir=tmp_path / "run", teachers_dir=tmp_path / "teachers") is None


def test_a_stop_of_the_student_stops_its_teacher_which_goes_on_later(
    taught: Experiment, prepared: Prepare, tmp_path: Path
) -> None:
    experiment, run_dir = taught.with_changes({"recipe.epochs": 2}), tmp_path / "run"
    data = prepared(experiment)
    request_stop(run_dir)
    with pytest.raises(Stopped, match="stopped after epoch 1 of 2"):
        ensure_teacher(experiment, data, tmp_path, run_dir=run_dir, teachers_dir=tmp_path / "teachers")
    assert stop_requested(run_dir)
    file = ensure_teacher(experiment, data, tmp_path, run_dir=tmp_path / "other", teachers_dir=tmp_path / "teachers")
    assert file is not None
    assert load(file)["epoch"] == 2
    (folder,) = (path for path in (tmp_path / "teachers").iterdir() if path.is_dir())
    assert [epoch for epoch, _ in CheckpointFolder(folder / "checkpoints").epochs()] == [2]
    assert "resuming after epoch 1 of 2" in (folder / "train.log").read_text()


# Teachers of teachers.


@pytest.fixture
def in_rounds(siod_run: Experiment) -> Experiment:
    """Two rounds, the first one taught by a run with PGCL."""
    mining = {"dminer": DMiner(splg=None, pgcl=PGCL(top_m=8))}
    method = TeacherStudent(pseudo=PseudoBoxes(min_score=0.05), teacher=mining, rounds=2)
    return siod_run.with_changes({"method": method, "recipe.epochs": 1, "recipe.schedule": {"kind": "step"}})


def test_the_teacher_is_the_experiment_with_its_changes_and_without_its_method(in_rounds: Experiment) -> None:
    last, first = in_rounds.teachers()
    assert last == in_rounds.with_changes({"method.rounds": 1})
    assert first == in_rounds.with_changes({"method": None, "dminer": DMiner(splg=None, pgcl=PGCL(top_m=8))})
    assert Experiment.model_validate_json(in_rounds.model_dump_json()) == in_rounds
    assert in_rounds.with_changes({"method.weight": 0.0}).teachers() == ()


def test_with_bare_images_a_teacher_learns_from_the_annotated_ones_unless_it_says_otherwise(
    ssod_run: Experiment,
) -> None:
    slow = TeacherStudent(teacher={"recipe.learning_rate": 1e-5})
    teacher = ssod_run.with_changes({"method": slow}).teacher()
    assert teacher == ssod_run.with_changes({"method": AnnotatedOnly(), "recipe.learning_rate": 1e-5})
    averaged = TeacherStudent(teacher={"method": MeanTeacher()})
    assert ssod_run.with_changes({"method": averaged}).teacher() == ssod_run.with_changes({"method": MeanTeacher()})


def test_a_teacher_of_its_own_and_rounds_are_not_said_by_default() -> None:
    assert not {"teacher", "rounds"} & TeacherStudent().model_dump(mode="json").keys()


@pytest.mark.parametrize("path", ["detector.norm", "seed", "annotations", "data", "compute.workers"])
def test_a_teacher_has_what_its_student_s_images_and_weights_ask_for(path: str) -> None:
    with pytest.raises(ValueError, match=f"teacher changes '{path}', but a teacher has the .* of its student"):
        TeacherStudent(teacher={path: 1})


def test_a_chain_is_trained_once_each_where_the_students_teachers_are_kept(
    in_rounds: Experiment, prepared: Prepare, tmp_path: Path
) -> None:
    data, kept = prepared(in_rounds), tmp_path / "teachers"
    folders = [kept / teacher.identity(data.fingerprint) for teacher in in_rounds.teachers()]
    file = ensure_teacher(in_rounds, data, tmp_path, run_dir=tmp_path / "run", teachers_dir=kept)
    assert file is not None
    assert file.parents[1] == folders[0]
    assert sorted(kept.iterdir()) == sorted(folders)
    assert not (tmp_path / "teachers" / "teachers").exists()
    (history,) = read_json(folders[0] / "history.json")
    assert "train/strong_heatmap" in history
    (history,) = read_json(folders[1] / "history.json")
    assert "train/pgcl" in history
    shutil.rmtree(folders[1])
    assert ensure_teacher(in_rounds, data, tmp_path, run_dir=tmp_path / "run", teachers_dir=kept) == file
    assert not folders[1].exists()


def test_a_stop_of_the_student_stops_the_first_teacher_of_the_chain(
    in_rounds: Experiment, prepared: Prepare, tmp_path: Path
) -> None:
    experiment, run_dir = in_rounds.with_changes({"recipe.epochs": 2}), tmp_path / "run"
    data = prepared(experiment)
    request_stop(run_dir)
    with pytest.raises(Stopped, match="stopped after epoch 1 of 2"):
        ensure_teacher(experiment, data, tmp_path, run_dir=run_dir, teachers_dir=tmp_path / "teachers")
    (folder,) = (path for path in (tmp_path / "teachers").iterdir() if path.is_dir())
    assert folder.name == experiment.teachers()[1].identity(data.fingerprint)


def test_a_mean_teacher_teaches_with_the_average_that_is_judged() -> None:
    state = {"model": {"w": 1}, "method": {"teacher": {"w": 2}}}
    for method, expected in ((None, 1), (MeanTeacher(), 2), (MeanTeacher(judged="student"), 1), (CSD(), 1)):
        plain = None if method is None else method.model_dump(mode="json")
        assert judged_weights({**state, "experiment": {"method": plain}}) == {"w": expected}
    assert judged_weights(state) == {"w": 1}
