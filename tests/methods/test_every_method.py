"""What training relies on, asked of every method: weight zero, two workers, resuming, refusals.

A new method adds one line to ``METHODS_ASKED``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from forked import run_ranks

from siod.data.loading.loader import train_batches
from siod.data.source import PreparedData
from siod.detectors.detector import Detector
from siod.detectors.spec import DetectorSpec
from siod.detectors.zoo import CENTERNET_TINY, FASTER_RCNN_TINY, FCOS_TINY, RETINANET_TINY
from siod.dminer.dminer import DMiner
from siod.dminer.pgcl import PGCL
from siod.dminer.splg import SPLG
from siod.errors import UserError
from siod.methods.annotated import AnnotatedOnly
from siod.methods.co_student import CoStudent
from siod.methods.comining import CoMining
from siod.methods.csd import CSD
from siod.methods.mean_teacher import MeanTeacher
from siod.methods.method import Moment
from siod.methods.pseudo import PseudoBoxes
from siod.methods.spec import MethodSpec
from siod.methods.teacher_student import TeacherStudent
from siod.methods.zoo import METHODS, build_method
from siod.training import checkpoint, loop
from siod.training.checkpoint import CheckpointFolder, load
from siod.training.context import InProcess, request_stop
from siod.training.experiment import Experiment, FromCheckpoint
from siod.training.phases import Phase
from siod.training.step import DetectorAndMiners, normalised
from siod.types import Batch

CPU = torch.device("cpu")
FIRST = Moment(seed=0, epoch=1, step=0, steps=2, epochs=2)
Prepare = Callable[[Experiment], PreparedData]
Eager = Callable[[DetectorSpec], Detector]
EAGER = PseudoBoxes(min_score=0.2)


class Asked(NamedTuple):
    """A method at work in its first epoch, and on which detectors."""

    spec: MethodSpec
    detectors: tuple[DetectorSpec, ...]

    @property
    def idle(self) -> MethodSpec:
        """With its weight at zero."""
        return self.spec.with_changes({"weight": 0.0})


METHODS_ASKED = [
    Asked(CSD(foreground_score=0.2), (CENTERNET_TINY,)),
    Asked(CoMining(pseudo=EAGER), (CENTERNET_TINY, FCOS_TINY, RETINANET_TINY)),
    Asked(TeacherStudent(pseudo=EAGER), (CENTERNET_TINY, FCOS_TINY, RETINANET_TINY)),
    Asked(MeanTeacher(pseudo=EAGER, start_epoch=0, decay=0.5), (CENTERNET_TINY, FCOS_TINY, RETINANET_TINY)),
    Asked(
        CoStudent(pseudo=EAGER, student=EAGER, start_epoch=0, decay=0.5), (CENTERNET_TINY, FCOS_TINY, RETINANET_TINY)
    ),
]
EACH = [(asked.spec, detector) for asked in METHODS_ASKED for detector in asked.detectors]
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


def a_batch(experiment: Experiment, prepared: Prepare) -> Batch:
    return next(iter(train_batches(prepared(experiment), experiment.augmentation, batch_size=4, seed=0, epoch=1)))


class Step(NamedTuple):
    parts: dict[str, torch.Tensor]
    gradients: dict[str, torch.Tensor]
    figures: dict[str, float]


def losses(detector: Detector, spec: MethodSpec | None, batch: Batch, phase: Phase | None = None) -> Step:
    """The parts of one step, the gradients, and what was found."""
    detector.zero_grad(set_to_none=True)
    method = build_method(spec, detector)
    if spec is not None and spec.needs_teacher():
        method.receive_teacher(detector.state_dict())
    views = method.views(batch, FIRST)
    criterion = DetectorAndMiners(detector, phase or Phase(1, 2))
    objective = method.objective(views, detector(views.images, views.targets), criterion)
    parts = normalised(objective.parts, 1)
    torch.stack(list(parts.values())).sum().backward()
    gradients = {name: value.grad for name, value in detector.named_parameters() if value.grad is not None}
    figures = {name: float(term.mean()) for name, term in objective.figures.items()}
    return Step(parts, gradients, figures)


@each
def test_with_its_weight_at_zero_the_loss_is_the_base_s_to_the_bit(
    spec: MethodSpec, detector: DetectorSpec, siod_run: Experiment, prepared: Prepare, eager: Eager
) -> None:
    batch, student = a_batch(siod_run, prepared), eager(per_image(detector))
    idle, idle_gradients, _ = losses(student, spec.with_changes({"weight": 0.0}), batch)
    base, base_gradients, _ = losses(student, None, batch)
    assert idle.keys() == base.keys()
    assert all(torch.equal(idle[name], base[name]) for name in base)
    assert idle_gradients.keys() == base_gradients.keys()
    assert all(torch.equal(idle_gradients[name], base_gradients[name]) for name in base_gradients)


@every_method
def test_with_bare_images_and_weight_zero_the_loss_is_that_of_annotated_images(
    asked: Asked, ssod_run: Experiment, prepared: Prepare, eager: Eager
) -> None:
    batch, student = a_batch(ssod_run, prepared), eager(per_image(asked.detectors[0]))
    assert batch.annotated is not None
    assert set(batch.annotated) == {True, False}
    idle = losses(student, asked.idle, batch).parts
    base = losses(student, AnnotatedOnly(), batch).parts
    assert all(torch.equal(idle[name], base[name]) for name in base)


@each
def test_at_work_it_adds_terms_and_every_parameter_learns(
    spec: MethodSpec, detector: DetectorSpec, both_sets: dict[str, Experiment], prepared: Prepare, eager: Eager
) -> None:
    student = eager(per_image(detector))
    for experiment in both_sets.values():
        parts, gradients, figures = losses(student, spec, a_batch(experiment, prepared))
        base, base_gradients, _ = losses(student, None, a_batch(both_sets["siod"], prepared))
        assert parts.keys() > base.keys()
        assert all(figure > 0 for name, figure in figures.items() if name == "pseudo_per_image")
        assert bool(figures) == hasattr(spec, "pseudo")
        assert all(part.isfinite() for part in parts.values())
        assert gradients.keys() == base_gradients.keys()
        assert all(gradient.isfinite().all() for gradient in gradients.values())


@every_method
def test_it_works_beside_dminer(asked: Asked, siod_run: Experiment, prepared: Prepare, eager: Eager) -> None:
    miners = Phase(1, 2, splg=SPLG(), pgcl=PGCL(top_m=8))
    parts = losses(eager(asked.detectors[0]), asked.spec, a_batch(siod_run, prepared), miners).parts
    assert "pgcl" in parts
    assert all(part.isfinite() for part in parts.values())


@every_method
def test_a_batch_of_bare_images_alone_counts_no_annotation(
    asked: Asked, ssod_run: Experiment, prepared: Prepare, eager: Eager
) -> None:
    """As a worker may get them: nothing is known, something must pass through the detector."""
    batch = a_batch(ssod_run, prepared)
    assert batch.annotated is not None
    rows = [index for index, annotated in enumerate(batch.annotated) if not annotated]
    bare = Batch(
        batch.images[rows],
        tuple(batch.targets[row] for row in rows),
        tuple(batch.image_ids[row] for row in rows),
        batch.to_original[rows],
        (False,) * len(rows),
    )
    student = eager(per_image(asked.detectors[0]))
    for spec in (asked.idle, AnnotatedOnly()):
        step = losses(student, spec, bare)
        assert {float(part.detach()) for part in step.parts.values()} == {0.0}
        assert step.gradients.keys() == dict(student.named_parameters()).keys()
    parts = losses(student, asked.spec, bare).parts
    assert all(part.isfinite() for part in parts.values())


def test_without_it_bare_images_teach_background(ssod_run: Experiment, prepared: Prepare, eager: Eager) -> None:
    batch, student = a_batch(ssod_run, prepared), eager(per_image(CENTERNET_TINY))
    base = losses(student, None, batch).parts
    annotated = losses(student, AnnotatedOnly(), batch).parts
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


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def start_file(experiment: Experiment, folder: Path, eager: Eager) -> Path:
    """Weights that find something from the first step on, for the student and for the teacher it may need."""
    path = folder / f"start-{experiment.detector.family}.pt"
    checkpoint.save(path, {"model": eager(experiment.detector).state_dict()})
    return path


def run(experiment: Experiment, data: PreparedData, context: InProcess, start: Path) -> loop.Trained:
    needs = experiment.method is not None and experiment.method.needs_teacher()
    return loop.run(experiment, data, context, initial_weights=start, teacher=start if needs else None)


@every_method
def test_a_resumed_run_equals_an_unbroken_one_to_the_bit(
    asked: Asked, ssod_run: Experiment, prepared: Prepare, eager: Eager, tmp_path: Path
) -> None:
    start = start_file(ssod_run, tmp_path, eager)
    experiment = ssod_run.with_changes({"method": asked.spec, "weights": FromCheckpoint(file=start)})
    data = prepared(experiment)
    unbroken = run(experiment, data, InProcess(tmp_path / "a", device=CPU), start)
    stopping = InProcess(tmp_path / "b", lambda epoch, metrics: request_stop(tmp_path / "b"), device=CPU)
    with pytest.raises(loop.Stopped):
        run(experiment, data, stopping, start)
    resumed = run(experiment, data, InProcess(tmp_path / "b", device=CPU), start)
    assert resumed.history[-1]["ap_s"] == unbroken.history[-1]["ap_s"]
    one, other = final(tmp_path / "a"), final(tmp_path / "b")
    assert same(one["model"], other["model"])
    assert same(one["method"], other["method"])


Runs = dict[str, tuple[Experiment, PreparedData, Path]]


def _one_of(rank: int, workers: int, runs: Runs, folder: Path) -> None:
    torch.set_num_threads(1)
    rendezvous = (folder / "rendezvous").as_uri()
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=workers)
    for name, (experiment, data, start) in runs.items():
        run(experiment, data, InProcess(folder / name, device=CPU, rank=rank, world_size=workers), start)
    torch.distributed.destroy_process_group()


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
                "recipe.batch_size": sum(images),
                "detector": asked.detectors[-1],
            }
            one = experiment.with_changes(changes).with_changes({"detector.norm": "group"})
            start = start_file(one, tmp_path, eager)
            one = one.with_changes({"weights": FromCheckpoint(file=start)})
            runs[f"{asked.spec.kind}-{name}"] = (one, prepared(one), start)
    workers = len(images)
    (tmp_path / "several").mkdir()
    run_ranks(_one_of, args=(workers, runs, tmp_path / "several"), nprocs=workers)
    for name, (experiment, data, start) in runs.items():
        (alone,) = run(experiment, data, InProcess(tmp_path / "one" / name, device=CPU), start).history
        (together,) = final(tmp_path / "several" / name)["history"]
        measured = {key for key in alone if key.startswith(("train/", "mining/")) and "per_second" not in key}
        for key in measured:
            assert together[key] == pytest.approx(alone[key], rel=1e-4, abs=1e-7), (name, key)


def test_dminer_is_an_experiment_s_other_half(siod_run: Experiment) -> None:
    both = siod_run.with_changes({"dminer": DMiner(pgcl=PGCL(top_m=8)), "method": CoMining()})
    assert both.dminer is not None
    assert both.method is not None
