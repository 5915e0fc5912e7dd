"""What training relies on, asked of every family of detectors, each with and without DMiner.

A new family adds one line to ``EVERY_FAMILY``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from forked import run_ranks
from torch import Tensor

from siod.data.digits import Digits
from siod.data.source import PreparedData, prepare
from siod.data.transforms import Augmentation, ShortEdge
from siod.detectors.spec import DetectorSpec
from siod.detectors.zoo import (
    CENTERNET_TINY,
    DFINE_TINY,
    FAMILIES,
    FASTER_RCNN_TINY,
    FASTER_RCNN_TINY_MINING,
    FCOS_TINY,
    RETINANET_TINY,
    RTDETR_TINY,
    build,
)
from siod.dminer.dminer import DMiner
from siod.dminer.pgcl import PGCL
from siod.dminer.splg import SPLG
from siod.testing.detector import DETECTOR_CHECKS
from siod.testing.detector_mining import check_mining_leaves_detections_alone
from siod.testing.networks import eager, fresh, learnt_by_heart, losses_without_and_with_labels, noise_for
from siod.testing.scenes import two_targets
from siod.training import loop
from siod.training.checkpoint import CheckpointFolder, load
from siod.training.context import InProcess
from siod.training.experiment import SGD, Experiment, Recipe, Scratch
from siod.training.presets import digits_centernet

CPU = torch.device("cpu")


class Family(NamedTuple):
    """The plain detector, the one DMiner works on, and for each of its levels how many positions PGCL selects."""

    plain: DetectorSpec
    mining: DetectorSpec
    top_m: tuple[int, ...]


DENSE_FAMILIES = [
    Family(CENTERNET_TINY, CENTERNET_TINY, (8,)),
    Family(FASTER_RCNN_TINY, FASTER_RCNN_TINY_MINING, (8,)),
    Family(FCOS_TINY, FCOS_TINY, (12, 8, 4)),
    Family(RETINANET_TINY, RETINANET_TINY, (12, 8, 4)),
]
# Of an extra; test_query.py and those beside it are skipped, and say so, where it is not installed.
QUERY_FAMILIES = [
    Family(RTDETR_TINY, RTDETR_TINY, (12, 8, 4)),
    Family(DFINE_TINY, DFINE_TINY, (12, 8, 4)),
]
EVERY_FAMILY = [*DENSE_FAMILIES, *(QUERY_FAMILIES if find_spec("transformers") else [])]
dense_family = pytest.mark.parametrize("family", DENSE_FAMILIES, ids=lambda family: family.plain.family)
every_family = pytest.mark.parametrize("family", EVERY_FAMILY, ids=lambda family: family.plain.family)


def per_image(spec: DetectorSpec) -> DetectorSpec:
    """With statistics of one image at a time, so that a batch may be split."""
    return spec.with_changes({"norm": "group"})


def settings_of_every_family() -> list[DetectorSpec]:
    """The plain ones, and those for DMiner where they are others."""
    specs = {spec.model_dump_json(): spec for family in EVERY_FAMILY for spec in (family.plain, family.mining)}
    return list(specs.values())


def test_every_family_that_experiments_know_is_asked() -> None:
    assert {family.plain.family for family in (*DENSE_FAMILIES, *QUERY_FAMILIES)} == FAMILIES.keys() - {"toy"}
    for family in EVERY_FAMILY:
        assert family.mining.mined_levels() == len(family.top_m)
    assert len(settings_of_every_family()) == len(EVERY_FAMILY) + 1


@pytest.mark.parametrize("spec", settings_of_every_family(), ids=lambda spec: f"{spec.family}-{spec.mined_levels()}")
@pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
def test_it_keeps_what_training_relies_on(check: Callable[[DetectorSpec], None], spec: DetectorSpec) -> None:
    check(spec)


@every_family
def test_what_dminer_needs_in_training_is_gone_afterwards(family: Family) -> None:
    check_mining_leaves_detections_alone(family.plain, family.mining)


@every_family
@torch.no_grad()
def test_checks_of_detections_have_detections_to_compare(family: Family) -> None:
    detector = eager(family.mining).eval()
    assert all(len(found.labels) > 5 for found in detector.decode(detector(noise_for(detector, 2))))


@every_family
def test_pseudo_labels_change_the_losses_of_classes_alone(family: Family) -> None:
    without, with_labels = losses_without_and_with_labels(family.mining)
    changed = {name for name, part in without.items() if not torch.equal(part, with_labels[name])}
    assert changed
    assert changed <= {"heatmap", "class", "rpn_objectness", "denoising_class"}


# What each family's boxes and, where peaks are read from them, scores are made of: the last layers and their outputs.
LAST_LAYERS: dict[str, dict[str, Callable[[Any], Tensor]]] = {
    "centernet": {
        "size_head.2": lambda outputs: outputs.size,
        "offset_head.2": lambda outputs: outputs.offset,
        "heatmap_head.2": lambda outputs: outputs.scores.logit(),
    },
    "faster_rcnn_c4": {
        "rpn.head.bbox_pred": lambda outputs: outputs.proposed.deltas,
        "rpn.head.cls_logits": lambda outputs: outputs.proposed.objectness,
        "roi_heads.box_predictor.bbox_pred": lambda outputs: outputs.box_deltas,
        "roi_heads.box_predictor.cls_score": lambda outputs: outputs.class_logits,
        "mining_branch.heatmap": lambda outputs: outputs.branch.scores.logit(),
    },
    "fcos": {
        "head.regression_head.bbox_reg": lambda outputs: outputs.deltas,
        "head.regression_head.bbox_ctrness": lambda outputs: outputs.centre_logits,
    },
    "retinanet": {"head.regression_head.bbox_reg": lambda outputs: outputs.deltas},
}


@dense_family
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_boxes_and_peaks_are_not_rounded_to_half_precision(family: Family, dtype: torch.dtype) -> None:
    """100.3 pixels would be 100.5 in bfloat16, 100.3125 in float16."""
    detector, targets = fresh(family.mining), two_targets()
    detector.half_precision = dtype
    layers = LAST_LAYERS[family.plain.family]
    for number, name in enumerate(layers):
        layer = detector.get_submodule(name)
        assert isinstance(layer.weight, Tensor)
        assert isinstance(layer.bias, Tensor)
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.constant_(layer.bias, 100.3 if name.endswith(("size_head.2", "bbox_reg")) else 0.3 + number)
    outputs = detector(noise_for(detector, 2), targets)
    for name, read in layers.items():
        bias = detector.get_submodule(name).bias
        assert isinstance(bias, Tensor)
        assert read(outputs).dtype == torch.float32
        torch.testing.assert_close(read(outputs), bias.detach()[0].expand_as(read(outputs)), rtol=1e-6, atol=1e-6)


# Training.


def small(spec: DetectorSpec) -> Experiment:
    return digits_centernet().with_changes(
        {
            "data": Digits(train_images=8, val_images=2),
            "weights": Scratch(),
            "detector": per_image(spec),
            "recipe.epochs": 1,
            "recipe.batch_size": 8,
        }
    )


def _train(rank: int, workers: int, runs: dict[str, Experiment], data: PreparedData, folder: Path) -> None:
    for name, experiment in runs.items():
        loop.run(experiment, data, InProcess(folder / name, device=CPU, rank=rank, world_size=workers))


def runs_of_every_family(batch_size: int) -> dict[str, Experiment]:
    """Plain on inputs of two sizes, of which uneven shares but the first have the smaller; with DMiner on one size."""
    two_sizes = Augmentation(short_edge=ShortEdge(lengths=(64, 64, 96), longest=96))
    runs = {}
    for family in EVERY_FAMILY:
        name, dminer = family.plain.family, DMiner(splg=SPLG(), pgcl=PGCL(top_m=family.top_m))
        runs[name] = small(family.plain).with_changes({"augmentation": two_sizes})
        runs[f"{name}_dminer"] = small(family.mining).with_changes({"dminer": dminer})
    # The update of SGD is as long as the gradient; Adam's hardly depends on it.
    recipe = Recipe(epochs=1, batch_size=batch_size, optimiser=SGD(), learning_rate=0.01)
    return {name: experiment.with_changes({"recipe": recipe}) for name, experiment in runs.items()}


def learnt(run_dir: Path, experiment: Experiment) -> Tensor:
    """What the run added to each parameter of its fresh detector."""
    torch.manual_seed(experiment.seed)
    fresh = build(experiment.detector, num_classes=5)
    state = last(run_dir)["model"]
    return torch.cat([(state[name] - value.detach()).flatten() for name, value in fresh.named_parameters()])


def last(run_dir: Path) -> dict[str, Any]:
    latest = CheckpointFolder(run_dir / "checkpoints").latest()
    assert latest is not None
    return load(latest)


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "batch_size"), [(2, 8), (2, 5), (3, 7)])
def test_several_workers_have_the_losses_of_one_and_learn_as_much(
    tmp_path: Path, workers: int, batch_size: int
) -> None:
    """Shares of 4 and 4, 3 and 2, 3 and 2 and 2 images."""
    runs = runs_of_every_family(batch_size)
    first = next(iter(runs.values()))
    data = prepare(first.data, first.annotations, tmp_path / "cache")
    run_ranks(_train, args=(workers, runs, data, tmp_path / "several"), nprocs=workers)
    for name, experiment in runs.items():
        (alone,) = loop.run(experiment, data, InProcess(tmp_path / "one" / name, device=CPU)).history
        (together,) = last(tmp_path / "several" / name)["history"]
        terms = {key for key in alone if key.startswith("train/") and "per_second" not in key}
        assert ("train/pgcl" in terms) == name.endswith("_dminer")
        for term in terms:
            assert together[term] == pytest.approx(alone[term], rel=1e-5), (name, term)
        ours, theirs = (learnt(tmp_path / folder / name, experiment) for folder in ("one", "several"))
        assert (ours - theirs).norm() < 1e-3 * ours.norm(), name


@pytest.mark.slow
@dense_family
def test_each_learns_eight_images_by_heart(family: Family) -> None:
    """To an AP50 of 0.9 within 120 steps."""
    assert learnt_by_heart(family.plain, images=8, steps=120) >= 0.9
