"""What training relies on, asked of every method: weight zero, two workers, resuming, refusals.

A new method adds one line to ``METHODS_ASKED``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from forked import run_ranks

from siod.data.source import PreparedData
from siod.detectors.detector import Detector
from siod.detectors.spec import DetectorSpec
from siod.detectors.zoo import CENTERNET_TINY, DFINE_TINY, FASTER_RCNN_TINY, FCOS_TINY, RETINANET_TINY, RTDETR_TINY
from siod.dminer.dminer import DMiner
from siod.dminer.pgcl import PGCL
from siod.errors import UserError
from siod.methods.annotated import AnnotatedOnly
from siod.methods.co_student import CoStudent
from siod.methods.comining import CoMining
from siod.methods.csd import CSD
from siod.methods.mean_teacher import MeanTeacher
from siod.methods.pseudo import PseudoBoxes
from siod.methods.spec import MethodSpec
from siod.methods.teacher_student import TeacherStudent
from siod.methods.zoo import METHODS
from siod.testing.method import METHOD_CHECKS, check_method
from siod.testing.method_runs import check_a_resumed_run_equals_an_unbroken_one
from siod.testing.method_steps import a_step, mixed_batch, sparse_batch
from siod.training import checkpoint, loop
from siod.training.checkpoint import CheckpointFolder, load
from siod.training.context import InProcess
from siod.training.experiment import Experiment, FromCheckpoint

CPU = torch.device("cpu")
Prepare = Callable[[Experiment], PreparedData]
Eager = Callable[[DetectorSpec], Detector]
EAGER = PseudoBoxes(min_score=0.2)


class Asked(NamedTuple):
    """A method at work in its first epoch, and on which detectors."""

    spec: MethodSpec
    detectors: tuple[DetectorSpec, ...]


METHODS_ASKED = [
    Asked(CSD(foreground_score=0.2), (CENTERNET_TINY,)),
    Asked(CoMining(pseudo=EAGER), (CENTERNET_TINY, FCOS_TINY, RETINANET_TINY)),
    Asked(TeacherStudent(pseudo=EAGER), (CENTERNET_TINY, FCOS_TINY, RETINANET_TINY)),
    Asked(MeanTeacher(pseudo=EAGER, start_epoch=0, decay=0.5), (CENTERNET_TINY, FCOS_TINY, RETINANET_TINY)),
    Asked(
        CoStudent(pseudo=EAGER, student=EAGER, start_epoch=0, decay=0.5), (CENTERNET_TINY, FCOS_TINY, RETINANET_TINY)
    ),
]
# Of an extra, and dear: one detector each of the methods with a finished teacher and with two views and an average.
WITH_QUERIES: list[tuple[MethodSpec, DetectorSpec]] = [
    (TeacherStudent(pseudo=EAGER), RTDETR_TINY),
    (CoStudent(pseudo=EAGER, student=EAGER, start_epoch=0, decay=0.5), DFINE_TINY),
]
EACH = [(asked.spec, detector) for asked in METHODS_ASKED for detector in asked.detectors]
EACH += WITH_QUERIES if find_spec("transformers") else []
each = pytest.mark.parametrize(
    ("spec", "detector"), EACH, ids=[f"{spec.kind}-{detector.family}" for spec, detector in EACH]
)
every_method = pytest.mark.parametrize("asked", METHODS_ASKED, ids=lambda asked: asked.spec.kind)


def test_every_method_that_experiments_know_is_asked() -> None:
    asked = {asked.spec.kind for asked in METHODS_ASKED} | {AnnotatedOnly().kind}
    assert asked == METHODS.keys() - {"mirror_too"}


def per_image(spec: DetectorSpec) -> DetectorSpec:
    """With statistics of one image at a time, so that a batch may be split."""
    return spec.with_changes({"norm": "group"})


# Resuming looks at what a method carries, whatever the detector.
OF_EACH_METHOD = {check_a_resumed_run_equals_an_unbroken_one}
FIRST_OF_EACH = [(asked.spec, asked.detectors[0]) for asked in METHODS_ASKED]
CHECKED = [
    pytest.param(check, spec, detector, id=f"{check.__name__}-{spec.kind}-{detector.family}")
    for check in METHOD_CHECKS
    for spec, detector in (FIRST_OF_EACH if check in OF_EACH_METHOD else EACH)
]


@pytest.mark.parametrize(("check", "spec", "detector"), CHECKED)
def test_it_keeps_what_training_relies_on(
    check: Callable[[MethodSpec, DetectorSpec], None], spec: MethodSpec, detector: DetectorSpec
) -> None:
    check(spec, per_image(detector))


def test_annotated_images_alone_keep_what_training_relies_on() -> None:
    check_method(AnnotatedOnly())


@each
def test_at_work_it_adds_terms_and_finds_pseudo_boxes(spec: MethodSpec, detector: DetectorSpec, eager: Eager) -> None:
    student = eager(per_image(detector))
    base = a_step(student, None, sparse_batch())
    for batch in (sparse_batch(), mixed_batch()):
        parts, gradients, figures = a_step(student, spec, batch)
        assert parts.keys() > base.parts.keys()
        assert all(figure > 0 for name, figure in figures.items() if name == "pseudo_per_image")
        assert bool(figures) == hasattr(spec, "pseudo")
        assert gradients.keys() == base.gradients.keys()


def test_without_it_bare_images_teach_background(eager: Eager) -> None:
    student = eager(per_image(CENTERNET_TINY))
    assert set(mixed_batch().annotated or ()) == {True, False}
    base = a_step(student, None, mixed_batch()).parts
    annotated = a_step(student, AnnotatedOnly(), mixed_batch()).parts
    assert base["heatmap"] > annotated["heatmap"]
    torch.testing.assert_close(base["size"], annotated["size"])


# Experiments.


@every_method
def test_an_experiment_names_it_and_its_identity_changes_with_it(asked: Asked, siod_run: Experiment) -> None:
    experiment = siod_run.with_changes({"method": asked.spec})
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment
    names = [siod_run, experiment, experiment.with_changes({"method.weight": 0.5})]
    assert len({one.identity("data") for one in names}) == 3
    assert experiment.with_changes({"method": None}).identity("data") == siod_run.identity("data")
    assert "method" not in siod_run.model_dump(mode="json")


@every_method
def test_a_detector_without_dense_outputs_is_refused_in_one_sentence(asked: Asked, siod_run: Experiment) -> None:
    with pytest.raises(UserError, match=rf"method {asked.spec.kind} compares .* faster_rcnn_c4") as refused:
        siod_run.with_changes({"method": asked.spec, "detector": FASTER_RCNN_TINY})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"kind": "csv"}, "unknown method 'csv'; did you mean 'csd'"),
        ({"kind": "csd", "wieght": 1.0}, "unknown setting 'wieght' in CSD; did you mean 'weight'"),
        ({"kind": "csd", "weight": -1.0}, "weight: .*greater than or equal to 0"),
        ({"kind": "comining", "recoloured": {"flip": 0.5}}, r"recoloured\.flip and recoloured\.translate must be 0"),
        ({"kind": "co_student", "strong": {"translate": 0.1}}, r"strong\.flip and strong\.translate must be 0"),
    ],
)
def test_a_wrong_setting_is_named(method: dict[str, Any], message: str, siod_run: Experiment) -> None:
    with pytest.raises(UserError, match=message) as refused:
        siod_run.with_changes({"method": method})
    assert "\n" not in str(refused.value)


# Runs.


def final(run_dir: Path) -> dict[str, Any]:
    latest = CheckpointFolder(run_dir / "checkpoints").latest()
    assert latest is not None
    return load(latest)


def start_file(experiment: Experiment, folder: Path, eager: Eager) -> Path:
    """Weights that find something from the first step on, for the student and for the teacher it may need."""
    path = folder / f"start-{experiment.detector.family}.pt"
    checkpoint.save(path, {"model": eager(experiment.detector).state_dict()})
    return path


def run(experiment: Experiment, data: PreparedData, context: InProcess, start: Path) -> loop.Trained:
    needs = experiment.method is not None and experiment.method.needs_teacher()
    return loop.run(experiment, data, context, initial_weights=start, teacher=start if needs else None)


Runs = dict[str, tuple[Experiment, PreparedData, Path]]


def _train(rank: int, workers: int, runs: Runs, folder: Path) -> None:
    for name, (experiment, data, start) in runs.items():
        run(experiment, data, InProcess(folder / name, device=CPU, rank=rank, world_size=workers), start)


@pytest.mark.slow
@pytest.mark.parametrize("images", [(4, 4), (3, 2), (3, 2, 2)], ids=str)
def test_several_workers_have_the_losses_of_one(
    images: tuple[int, ...], both_sets: dict[str, Experiment], prepared: Prepare, eager: Eager, tmp_path: Path
) -> None:
    """On one step of so many images each; after an update scores on either side of a threshold may change sides."""
    runs: Runs = {}
    for asked in METHODS_ASKED:
        for name, experiment in both_sets.items():
            changes = {
                "method": asked.spec,
                "recipe.epochs": 1,
                "recipe.schedule": {"kind": "step"},
                "recipe.batch_size": sum(images),
                "detector": asked.detectors[-1],
            }
            one = experiment.with_changes(changes).with_changes({"detector.norm": "group"})
            start = start_file(one, tmp_path, eager)
            one = one.with_changes({"weights": FromCheckpoint(file=start)})
            runs[f"{asked.spec.kind}-{name}"] = (one, prepared(one), start)
    workers = len(images)
    run_ranks(_train, args=(workers, runs, tmp_path / "several"), nprocs=workers)
    for name, (experiment, data, start) in runs.items():
        (alone,) = run(experiment, data, InProcess(tmp_path / "one" / name, device=CPU), start).history
        (together,) = final(tmp_path / "several" / name)["history"]
        measured = {key for key in alone if key.startswith(("train/", "mining/")) and "per_second" not in key}
        for key in measured:
            assert together[key] == pytest.approx(alone[key], rel=1e-4, abs=1e-7), (name, key)


DECOYS = PseudoBoxes(min_score=0.2, clean=True, max_fdr=0.5)


@pytest.mark.slow
def test_several_workers_count_the_finds_of_one(
    ssod_run: Experiment, prepared: Prepare, eager: Eager, tmp_path: Path
) -> None:
    """A worker's share may be of bare images alone; all wait for each other as often."""
    detector = per_image(CENTERNET_TINY)
    experiment = ssod_run.with_changes({"recipe.epochs": 1, "recipe.batch_size": 2, "detector": detector})
    start = start_file(experiment, tmp_path, eager)
    data, runs = prepared(experiment), {}
    for spec in (
        CoMining(pseudo=DECOYS),
        TeacherStudent(pseudo=DECOYS),
        MeanTeacher(pseudo=DECOYS, start_epoch=0, decay=0.5),
        CoStudent(pseudo=DECOYS, student=DECOYS, start_epoch=0, decay=0.5),
    ):
        changes = {"method": spec, "weights": FromCheckpoint(file=start), "recipe.learning_rate": 1e-9}
        runs[spec.kind] = (experiment.with_changes(changes), data, start)
    run_ranks(_train, args=(2, runs, tmp_path / "several"), nprocs=2)
    for name, (one, _, _) in runs.items():
        run(one, data, InProcess(tmp_path / "one" / name, device=CPU), start)
        alone, together = (final(tmp_path / many / name)["method"]["labeller"] for many in ("one", "several"))
        assert float(alone["seen"]) > 7
        assert float(alone["boxes"][1, :, 0].sum()) > 20
        for counted in ("boxes", "images", "seen"):
            torch.testing.assert_close(together[counted], alone[counted], atol=2, rtol=0.02)


def test_dminer_is_an_experiment_s_other_half(siod_run: Experiment) -> None:
    both = siod_run.with_changes({"dminer": DMiner(pgcl=PGCL(top_m=8)), "method": CoMining()})
    assert both.dminer is not None
    assert both.method is not None
