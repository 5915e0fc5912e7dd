"""What training relies on, asked of every family of detectors, each with and without DMiner.

A new family adds one line to ``FAMILIES``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from forked import run_ranks
from torch import Tensor

from siod.data.annotation_sets import Full
from siod.data.digits import Digits
from siod.data.loading.loader import train_batches
from siod.data.source import PreparedData, prepare
from siod.data.transforms import Augmentation, ShortEdge
from siod.detectors.detector import Detector
from siod.detectors.spec import DetectorSpec
from siod.detectors.zoo import (
    CENTERNET_TINY,
    FAMILIES,
    FASTER_RCNN_TINY,
    FASTER_RCNN_TINY_MINING,
    FCOS_TINY,
    RETINANET_TINY,
    build,
)
from siod.dminer.dminer import DMiner
from siod.dminer.pgcl import PGCL
from siod.dminer.splg import SPLG
from siod.evaluation.score_aware import GroundTruth, ScoreAwareEvaluator
from siod.training import loop
from siod.training.checkpoint import CheckpointFolder, load
from siod.training.context import InProcess
from siod.training.experiment import SGD, Experiment, Recipe, Scratch
from siod.training.phases import Phase
from siod.training.presets import digits_centernet
from siod.training.step import batch_loss
from siod.types import Batch, Detections, Mined, Target

CPU = torch.device("cpu")


class Family(NamedTuple):
    """The plain detector, the one DMiner works on, and for each of its levels how many positions PGCL selects."""

    plain: DetectorSpec
    mining: DetectorSpec
    top_m: tuple[int, ...]


EVERY_FAMILY = [
    Family(CENTERNET_TINY, CENTERNET_TINY, (8,)),
    Family(FASTER_RCNN_TINY, FASTER_RCNN_TINY_MINING, (8,)),
    Family(FCOS_TINY, FCOS_TINY, (12, 8, 4)),
    Family(RETINANET_TINY, RETINANET_TINY, (12, 8, 4)),
]
every_family = pytest.mark.parametrize("family", EVERY_FAMILY, ids=lambda family: family.plain.family)


def per_image(spec: DetectorSpec) -> DetectorSpec:
    """With statistics of one image at a time, so that a batch may be split."""
    return spec.with_changes({"norm": "group"})


def detector_of(spec: DetectorSpec, classes: int = 3) -> Detector:
    torch.manual_seed(0)
    return build(spec, num_classes=classes)


def target(boxes: Tensor, labels: list[int]) -> Target:
    return Target(boxes, torch.tensor(labels, dtype=torch.long), torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))


def images(batch: int, height: int = 96, width: int = 96) -> Tensor:
    return torch.randint(0, 256, (batch, 3, height, width), generator=torch.Generator().manual_seed(0)).byte()


def two_targets() -> list[Target]:
    first = torch.tensor([[8.0, 8.0, 30.0, 28.0], [40.0, 20.0, 84.0, 80.0]])
    return [target(first, [0, 2]), target(torch.tensor([[20.0, 30.0, 50.0, 62.0]]), [1])]


def miners(family: Family, *, min_similarity: float = -1.0) -> Phase:
    return Phase(1, 1, splg=SPLG(min_similarity=min_similarity), pgcl=PGCL(top_m=family.top_m))


def spread_out(detector: Detector) -> None:
    """Give heads a spread at which some anchors are objects and boxes move; the backbone keeps its weights."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            if not name.startswith(("backbone.", "fpn.")) and parameter.dim() != 1:
                parameter.normal_(std=0.1, generator=generator)
            elif name.endswith("cls_logits.bias"):
                parameter.zero_()


def test_every_family_that_experiments_know_is_asked() -> None:
    assert {family.plain.family for family in EVERY_FAMILY} == FAMILIES.keys() - {"toy"}
    for family in EVERY_FAMILY:
        assert family.mining.mined_levels() == len(family.top_m)


@every_family
@pytest.mark.parametrize("classes", [1, 80])
@pytest.mark.parametrize("boxes", [0, 1, 40])
def test_losses_are_finite_and_reach_every_parameter(family: Family, classes: int, boxes: int) -> None:
    """112 x 80 px are odd multiples of 16 px; the batch's other image has no box."""
    detector = detector_of(family.mining, classes)
    corners = torch.rand(boxes, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([50.0, 80.0])
    sizes = torch.linspace(8, 30, max(boxes, 1))[:boxes, None]
    crowded = target(torch.cat([corners, corners + sizes], dim=1), [index % classes for index in range(boxes)])
    pixels, targets = images(2, 112, 80), [crowded, target(torch.zeros(0, 4), [])]
    torch.manual_seed(1)
    loss = batch_loss(detector, detector(pixels, targets), targets, miners(family))
    assert loss.parts.keys() == {*detector.loss_weights, "pgcl"}
    assert all(part.isfinite() and part >= 0 for part in loss.parts.values())
    loss.total().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters() if p.requires_grad)


@every_family
def test_images_of_no_multiple_of_the_divisor_are_refused(family: Family) -> None:
    detector = detector_of(family.plain)
    with pytest.raises(ValueError, match=f"multiples of {detector.size_divisor}, got 96x100"):
        detector(images(1, 96, 100))


@every_family
@torch.no_grad()
def test_a_batch_of_two_is_detected_as_two_batches_of_one(family: Family) -> None:
    detector = detector_of(family.plain).eval()
    spread_out(detector)
    pixels = images(2)
    whole = detector.decode(detector(pixels))
    apart = [detector.decode(detector(pixels[index : index + 1]))[0] for index in range(2)]
    for together, alone in zip(whole, apart, strict=True):
        assert len(together.labels) == len(alone.labels) > 5
        torch.testing.assert_close(together.scores, alone.scores, rtol=1e-4, atol=1e-5)
        # Scores that are equal but for rounding may change places.
        one, other = (
            torch.cat([each.boxes_xyxy, each.scores[:, None] * 100, each.labels[:, None] * 1000], dim=1)
            for each in (together, alone)
        )
        farthest = (one[:, None] - other).abs().amax(dim=2)
        assert farthest.amin(dim=0).max() < 1e-2
        assert farthest.amin(dim=1).max() < 1e-2


@every_family
def test_two_images_have_the_losses_of_one_and_one(family: Family) -> None:
    detector = detector_of(per_image(family.mining))
    pixels, targets, phase = images(2), two_targets(), miners(family)

    def terms(rows: slice) -> dict[str, tuple[float, float]]:
        torch.manual_seed(3)
        chosen = targets[rows]
        outputs = detector(pixels[rows], chosen)
        loss = batch_loss(detector, outputs, chosen, phase)
        found = detector.losses(outputs, detector.encode(chosen, outputs), loss.mining.mined) | loss.mining.terms
        return {name: (float(term.total.detach()), float(term.count)) for name, term in found.items()}

    whole, first, second = terms(slice(0, 2)), terms(slice(0, 1)), terms(slice(1, 2))
    for name, (total, count) in whole.items():
        assert total == pytest.approx(first[name][0] + second[name][0], rel=1e-3)
        assert count == first[name][1] + second[name][1]


@every_family
def test_without_miners_the_loss_is_the_plain_detector_s_to_the_bit(family: Family) -> None:
    """Written out without miners, step and levels: encode, losses, weights."""
    detector, pixels, targets = detector_of(family.plain), images(2), two_targets()
    torch.manual_seed(3)
    outputs = detector(pixels, targets)
    loss = batch_loss(detector, outputs, targets, Phase(1, 1))
    terms = detector.losses(outputs, detector.encode(targets, outputs), [Mined()] * family.plain.mined_levels())
    plain = torch.stack([detector.loss_weights[name] * term.mean() for name, term in terms.items()]).sum()
    assert torch.equal(loss.total(), plain)
    assert loss.mining.masks() == {}


@every_family
def test_miners_at_work_change_the_loss_of_classes_alone(family: Family) -> None:
    detector, pixels, targets = detector_of(family.mining), images(2), two_targets()
    torch.manual_seed(3)
    outputs = detector(pixels, targets)
    without = batch_loss(detector, outputs, targets, Phase(1, 1))
    with_splg = batch_loss(detector, outputs, targets, Phase(1, 1, splg=SPLG(min_similarity=-1)))
    changed = {name for name, part in without.parts.items() if not torch.equal(part, with_splg.parts[name])}
    assert changed
    assert changed <= {"heatmap", "class", "rpn_objectness"}
    assert all(with_splg.parts[name] < without.parts[name] for name in changed)


@every_family
def test_the_gradient_reaches_the_backbone_through_pgcl_and_not_through_splg(family: Family) -> None:
    """Through SPLG: the gradient of the losses is what it is with the pseudo labels as fixed numbers."""
    detector, pixels, targets = detector_of(family.mining), images(2), two_targets()
    torch.manual_seed(3)
    outputs = detector(pixels, targets)
    loss = batch_loss(detector, outputs, targets, miners(family))
    weight = detector.backbone.conv1.weight
    (through_pgcl,) = torch.autograd.grad(loss.parts["pgcl"], weight, retain_graph=True)
    assert through_pgcl.abs().sum() > 0
    found = [level.pseudo for level in loss.mining.mined]
    assert any(pseudo is not None and pseudo.max() > 0 for pseudo in found)
    assert not any(pseudo is not None and pseudo.requires_grad for pseudo in found)
    rest = torch.stack([part for name, part in loss.parts.items() if name != "pgcl"]).sum()
    (mined,) = torch.autograd.grad(rest, weight, retain_graph=True)
    fixed = [Mined(torch.tensor(pseudo.numpy())) for pseudo in found if pseudo is not None]
    terms = detector.losses(outputs, detector.encode(targets, outputs), fixed)
    total = torch.stack([detector.loss_weights[name] * term.mean() for name, term in terms.items()]).sum()
    (expected,) = torch.autograd.grad(total, weight)
    torch.testing.assert_close(mined, expected)


@every_family
@torch.no_grad()
def test_what_dminer_needs_in_training_is_gone_afterwards(family: Family) -> None:
    """The plain detector takes its parameters from the one that was mined on, and finds the same."""
    plain, mining = detector_of(family.plain).eval(), detector_of(family.mining).eval()
    spread_out(mining)
    plain.load_state_dict({name: value for name, value in mining.state_dict().items() if name in plain.state_dict()})
    ours, theirs = plain.decode(plain(images(2))), mining.decode(mining(images(2)))
    for mine, other in zip(ours, theirs, strict=True):
        assert len(mine.labels) > 5
        assert torch.equal(mine.boxes_xyxy, other.boxes_xyxy)
        assert torch.equal(mine.scores, other.scores)
        assert torch.equal(mine.labels, other.labels)


@every_family
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_losses_stay_float32_and_gradients_finite(family: Family, dtype: torch.dtype) -> None:
    detector, targets, pixels = detector_of(family.mining), two_targets(), images(2)
    with torch.autocast("cpu", dtype=dtype):
        loss = batch_loss(detector, detector(pixels, targets), targets, miners(family))
    assert {part.dtype for part in loss.parts.values()} == {torch.float32}
    loss.total().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters() if p.requires_grad)


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


@every_family
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_boxes_and_peaks_are_not_rounded_to_half_precision(family: Family, dtype: torch.dtype) -> None:
    """100.3 pixels would be 100.5 in bfloat16, 100.3125 in float16."""
    detector, targets = detector_of(family.mining), two_targets()
    detector.half_precision = dtype
    layers = LAST_LAYERS[family.plain.family]
    for number, name in enumerate(layers):
        layer = detector.get_submodule(name)
        assert isinstance(layer.weight, Tensor)
        assert isinstance(layer.bias, Tensor)
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.constant_(layer.bias, 100.3 if name.endswith(("size_head.2", "bbox_reg")) else 0.3 + number)
    outputs = detector(images(2), targets)
    for name, read in layers.items():
        bias = detector.get_submodule(name).bias
        assert isinstance(bias, Tensor)
        assert read(outputs).dtype == torch.float32
        torch.testing.assert_close(read(outputs), bias.detach()[0].expand_as(read(outputs)), rtol=1e-6, atol=1e-6)


@every_family
def test_half_precision_is_around_the_network_alone(family: Family) -> None:
    """What is decoded and learnt from is float32, though nothing but the forward pass knows of half precision."""
    detector, targets, pixels = detector_of(family.mining), two_targets(), images(2)
    whole = batch_loss(detector, detector(pixels, targets), targets, miners(family))
    detector.half_precision = torch.bfloat16
    seen: list[torch.dtype] = []
    detector.backbone.layer3.register_forward_hook(lambda _, __, features: seen.append(features.dtype))
    half = batch_loss(detector, detector(pixels, targets), targets, miners(family))
    assert seen == [torch.bfloat16]
    assert not torch.is_autocast_enabled("cpu")
    assert {part.dtype for part in half.parts.values()} == {torch.float32}
    assert half.total().item() == pytest.approx(whole.total().item(), rel=0.05)
    assert half.total().item() != whole.total().item()
    found = detector.eval().decode(detector(pixels))
    assert {tensor.dtype for one in found for tensor in (one.boxes_xyxy, one.scores)} == {torch.float32}


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


def _one_of(rank: int, workers: int, runs: dict[str, Experiment], data: PreparedData, folder: Path) -> None:
    torch.set_num_threads(1)
    rendezvous = (folder / "rendezvous").as_uri()
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=workers)
    for name, experiment in runs.items():
        loop.run(experiment, data, InProcess(folder / name, device=CPU, rank=rank, world_size=workers))
    torch.distributed.destroy_process_group()


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
    (tmp_path / "several").mkdir()
    run_ranks(_one_of, args=(workers, runs, data, tmp_path / "several"), nprocs=workers)
    for name, experiment in runs.items():
        (alone,) = loop.run(experiment, data, InProcess(tmp_path / "one" / name, device=CPU)).history
        (together,) = last(tmp_path / "several" / name)["history"]
        terms = {key for key in alone if key.startswith("train/") and "per_second" not in key}
        assert ("train/pgcl" in terms) == name.endswith("_dminer")
        for term in terms:
            assert together[term] == pytest.approx(alone[term], rel=1e-5), (name, term)
        ours, theirs = (learnt(tmp_path / folder / name, experiment) for folder in ("one", "several"))
        assert (ours - theirs).norm() < 1e-3 * ours.norm(), name


@cache
def eight_images() -> Batch:
    """Eight images of digits, every instance annotated."""
    import tempfile  # noqa: PLC0415  (a folder that need not outlive the call)

    with tempfile.TemporaryDirectory() as folder:
        data = prepare(Digits(train_images=8, val_images=1), Full(), Path(folder))
        (batch,) = train_batches(data, Augmentation(input_size=(96, 96)), batch_size=8, seed=0, epoch=1)
    return batch


def ap50(batch: Batch, found: list[Detections]) -> float:
    counts = [len(each.labels) for each in batch.targets]
    truth = GroundTruth.from_arrays(
        image_ids=list(batch.image_ids),
        category_ids=range(5),
        annotation_image_ids=np.repeat(batch.image_ids, counts),
        annotation_category_ids=torch.cat([each.labels for each in batch.targets]),
        boxes=torch.cat([each.boxes_xyxy for each in batch.targets]),
    )
    evaluator = ScoreAwareEvaluator(truth)
    for image_id, each in zip(batch.image_ids, found, strict=True):
        evaluator.update(image_id, each.boxes_xyxy, each.scores, each.labels)
    return evaluator.compute().metrics()["ap50_s0"]


@pytest.mark.slow
@every_family
def test_each_learns_eight_images_by_heart(family: Family) -> None:
    """To an AP50 of 0.9 within 120 steps."""
    batch, detector = eight_images(), detector_of(family.plain, classes=5)
    optimiser = torch.optim.Adam(detector.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=120)
    reached = 0.0
    for step in range(120):
        loss = batch_loss(detector, detector(batch.images, batch.targets), batch.targets, Phase(1, 1))
        optimiser.zero_grad()
        loss.total().backward()
        optimiser.step()
        schedule.step()
        if step % 20 == 19 and step >= 59:
            with torch.inference_mode():
                reached = ap50(batch, detector.eval().decode(detector(batch.images)))
            detector.train()
            if reached >= 0.9:
                return
    assert reached >= 0.9
