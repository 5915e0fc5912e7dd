"""What training relies on, asked of every method: weight zero, two workers, resuming, refusals.

A new method adds one line to ``METHODS_ASKED``.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from siod.data.loader import train_batches
from siod.data.source import PreparedData
from siod.detectors.detector import DetectorSpec
from siod.detectors.zoo import CENTERNET_TINY, FASTER_RCNN_TINY, FCOS_TINY, RETINANET_TINY, build
from siod.dminer.dminer import DMiner
from siod.dminer.pgcl import PGCL
from siod.dminer.splg import SPLG
from siod.errors import UserError
from siod.methods.annotated import AnnotatedOnly
from siod.methods.comining import CoMining
from siod.methods.csd import CSD
from siod.methods.method import MethodSpec, Moment
from siod.methods.pseudo import PseudoBoxes
from siod.methods.zoo import METHODS, build_method
from siod.training import loop
from siod.training.checkpoint import CheckpointFolder, load
from siod.training.context import InProcess, request_stop
from siod.training.experiment import Experiment
from siod.training.phases import Phase
from siod.training.step import DetectorAndMiners, normalised
from siod.types import Batch

CPU = torch.device("cpu")
FIRST = Moment(seed=0, epoch=1, step=0, steps=2, epochs=2)
Prepare = Callable[[Experiment], PreparedData]
# A fresh detector calls everything an object with a score near 0.1.
EAGER = PseudoBoxes(min_score=0.05)


class Asked(NamedTuple):
    """A method at work in its first epoch, and on which detectors."""

    spec: MethodSpec
    detectors: tuple[DetectorSpec, ...]

    @property
    def idle(self) -> MethodSpec:
        """With its weight at zero."""
        return self.spec.with_changes({"weight": 0.0})


METHODS_ASKED = [
    Asked(CSD(foreground_score=0.05), (CENTERNET_TINY,)),
    Asked(CoMining(pseudo=EAGER), (CENTERNET_TINY, FCOS_TINY, RETINANET_TINY)),
]
EACH = [(asked.spec, detector) for asked in METHODS_ASKED for detector in asked.detectors]
each = pytest.mark.parametrize(
    ("spec", "detector"), EACH, ids=[f"{spec.kind}-{detector.family}" for spec, detector in EACH]
)
every_method = pytest.mark.parametrize("asked", METHODS_ASKED, ids=lambda asked: asked.spec.kind)


def test_every_method_that_experiments_know_is_asked() -> None:
    asked = {asked.spec.kind for asked in METHODS_ASKED} | {AnnotatedOnly().kind}
    assert asked == METHODS.keys() - {"mirror_too"}


def a_batch(experiment: Experiment, prepared: Prepare) -> Batch:
    return next(iter(train_batches(prepared(experiment), experiment.augmentation, batch_size=4, seed=0, epoch=1)))


def losses(
    detector_spec: DetectorSpec, spec: MethodSpec | None, batch: Batch, phase: Phase | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The parts of one step with fresh weights, and the gradients."""
    torch.manual_seed(0)
    detector = build(detector_spec.with_changes({"norm": "group"}), num_classes=5)
    method = build_method(spec, detector)
    views = method.views(batch, FIRST)
    criterion = DetectorAndMiners(detector, phase or Phase(1, 2))
    parts = normalised(method.objective(views, detector(views.images, views.targets), criterion).parts, 1)
    torch.stack(list(parts.values())).sum().backward()
    return parts, {name: value.grad for name, value in detector.named_parameters() if value.grad is not None}


@each
def test_with_its_weight_at_zero_the_loss_is_the_base_s_to_the_bit(
    spec: MethodSpec, detector: DetectorSpec, siod_run: Experiment, prepared: Prepare
) -> None:
    batch = a_batch(siod_run, prepared)
    idle, idle_gradients = losses(detector, spec.with_changes({"weight": 0.0}), batch)
    base, base_gradients = losses(detector, None, batch)
    assert idle.keys() == base.keys()
    assert all(torch.equal(idle[name], base[name]) for name in base)
    assert idle_gradients.keys() == base_gradients.keys()
    assert all(torch.equal(idle_gradients[name], base_gradients[name]) for name in base_gradients)


@every_method
def test_with_bare_images_and_weight_zero_the_loss_is_that_of_annotated_images(
    asked: Asked, ssod_run: Experiment, prepared: Prepare
) -> None:
    batch = a_batch(ssod_run, prepared)
    assert batch.annotated is not None
    assert set(batch.annotated) == {True, False}
    idle, _ = losses(asked.detectors[0], asked.idle, batch)
    base, _ = losses(asked.detectors[0], AnnotatedOnly(), batch)
    assert all(torch.equal(idle[name], base[name]) for name in base)


@each
def test_at_work_it_adds_terms_and_every_parameter_learns(
    spec: MethodSpec, detector: DetectorSpec, siod_run: Experiment, ssod_run: Experiment, prepared: Prepare
) -> None:
    for experiment in (siod_run, ssod_run):
        parts, gradients = losses(detector, spec, a_batch(experiment, prepared))
        base, base_gradients = losses(detector, None, a_batch(siod_run, prepared))
        assert parts.keys() > base.keys()
        assert all(part.isfinite() for part in parts.values())
        assert gradients.keys() == base_gradients.keys()
        assert all(gradient.isfinite().all() for gradient in gradients.values())


@every_method
def test_it_works_beside_dminer(asked: Asked, siod_run: Experiment, prepared: Prepare) -> None:
    miners = Phase(1, 2, splg=SPLG(), pgcl=PGCL(top_m=8))
    parts, _ = losses(asked.detectors[0], asked.spec, a_batch(siod_run, prepared), miners)
    assert "pgcl" in parts
    assert all(part.isfinite() for part in parts.values())


@every_method
def test_a_batch_of_bare_images_alone_counts_no_annotation(
    asked: Asked, ssod_run: Experiment, prepared: Prepare
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
    for spec in (asked.idle, AnnotatedOnly()):
        parts, _ = losses(asked.detectors[0], spec, bare)
        assert {float(part.detach()) for part in parts.values()} == {0.0}
    parts, _ = losses(asked.detectors[0], asked.spec, bare)
    assert all(part.isfinite() for part in parts.values())


def test_without_it_bare_images_teach_background(ssod_run: Experiment, prepared: Prepare) -> None:
    batch = a_batch(ssod_run, prepared)
    base, _ = losses(CENTERNET_TINY, None, batch)
    annotated, _ = losses(CENTERNET_TINY, AnnotatedOnly(), batch)
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


@every_method
def test_a_resumed_run_equals_an_unbroken_one_to_the_bit(
    asked: Asked, ssod_run: Experiment, prepared: Prepare, tmp_path: Path
) -> None:
    experiment = ssod_run.with_changes({"method": asked.spec})
    data = prepared(experiment)
    unbroken = loop.run(experiment, data, InProcess(tmp_path / "a", device=CPU))
    with pytest.raises(loop.Stopped):
        loop.run(
            experiment,
            data,
            InProcess(tmp_path / "b", lambda epoch, metrics: request_stop(tmp_path / "b"), device=CPU),
        )
    resumed = loop.run(experiment, data, InProcess(tmp_path / "b", device=CPU))
    assert resumed.history[-1]["ap_s"] == unbroken.history[-1]["ap_s"]
    one, other = final(tmp_path / "a"), final(tmp_path / "b")
    assert same(one["model"], other["model"])
    assert same(one["method"], other["method"])


def _one_of_two(rank: int, port: int, runs: dict[str, Experiment], data: dict[str, PreparedData], folder: Path) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    for name, experiment in runs.items():
        loop.run(experiment, data[name], InProcess(folder / name, device=CPU, rank=rank, world_size=2))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_workers_have_the_losses_of_one(
    siod_run: Experiment, ssod_run: Experiment, prepared: Prepare, tmp_path: Path, free_port: int
) -> None:
    """On one step of eight images; after an update scores on either side of a threshold may change sides."""
    runs = {}
    for asked in METHODS_ASKED:
        for name, experiment in (("siod", siod_run), ("ssod", ssod_run)):
            changes = {
                "method": asked.spec,
                "recipe.epochs": 1,
                "recipe.batch_size": 8,
                "detector": asked.detectors[-1],
            }
            runs[f"{asked.spec.kind}-{name}"] = experiment.with_changes(changes | {"detector.norm": "group"})
    data = {name: prepared(experiment) for name, experiment in runs.items()}
    spawn = multiprocessing.get_context("spawn")
    workers = [
        spawn.Process(target=_one_of_two, args=(rank, free_port, runs, data, tmp_path / "two")) for rank in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=300)
    assert [worker.exitcode for worker in workers] == [0, 0]
    for name, experiment in runs.items():
        (alone,) = loop.run(experiment, data[name], InProcess(tmp_path / "one" / name, device=CPU)).history
        (together,) = final(tmp_path / "two" / name)["history"]
        measured = {key for key in alone if key.startswith(("train/", "mining/")) and "per_second" not in key}
        for key in measured:
            assert together[key] == pytest.approx(alone[key], rel=1e-4, abs=1e-7), (name, key)


def test_dminer_is_an_experiment_s_other_half(siod_run: Experiment) -> None:
    both = siod_run.with_changes({"dminer": DMiner(pgcl=PGCL(top_m=8)), "method": CoMining()})
    assert both.dminer is not None
    assert both.method is not None
