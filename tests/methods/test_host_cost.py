"""What methods ask of the host of a GPU: waits that do not grow with the batch, few operations an image.

Counted on the CPU; docs/methods.md has the figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from host_cost import HostCost

from siod.detectors.detector import Detector
from siod.detectors.spec import DetectorSpec
from siod.detectors.zoo import CENTERNET_TINY
from siod.methods.annotated import AnnotatedOnly
from siod.methods.co_student import CoStudent
from siod.methods.comining import CoMining
from siod.methods.csd import CSD
from siod.methods.mean_teacher import MeanTeacher
from siod.methods.method import Moment, View
from siod.methods.pseudo import PseudoBoxes
from siod.methods.spec import MethodSpec
from siod.methods.steps.pseudo import choose_boxes, merge_boxes, quality
from siod.methods.steps.strong import strong_view
from siod.methods.teacher_student import STAC_VIEW, TeacherStudent
from siod.methods.zoo import METHODS, build_method
from siod.ops.padding import listed
from siod.state import State
from siod.training.phases import Phase
from siod.training.step import DetectorAndMiners, normalised
from siod.types import Batch, Target

Eager = Callable[[DetectorSpec], Detector]
FIRST = Moment(seed=0, epoch=1, step=0, steps=2, epochs=2)
EAGER = PseudoBoxes(min_score=0.2)
SIDE_PX, CLASSES = 64, 5
ASKED = [
    AnnotatedOnly(),
    CSD(foreground_score=0.2),
    CoMining(pseudo=EAGER),
    TeacherStudent(pseudo=EAGER),
    MeanTeacher(pseudo=EAGER, start_epoch=0),
    CoStudent(pseudo=EAGER, student=EAGER, start_epoch=0),
]
every_method = pytest.mark.parametrize("spec", ASKED, ids=lambda spec: spec.kind)


def a_batch(images: int) -> Batch:
    """Noise with two annotated and two hidden boxes an image."""
    generator = torch.Generator().manual_seed(images)
    targets = []
    for _ in range(images):
        low = torch.rand(4, 2, generator=generator) * 40
        boxes, labels = torch.cat([low, low + 20], dim=1), torch.randperm(CLASSES, generator=generator)[:4]
        targets.append(Target(boxes[:2], labels[:2], boxes[2:], labels[2:]))
    pixels = torch.randint(0, 256, (images, 3, SIDE_PX, SIDE_PX), dtype=torch.uint8, generator=generator)
    return Batch(pixels, tuple(targets), tuple(range(images)), torch.zeros(images, 2, 3))


def half_bare(images: int) -> Batch:
    """Every other image without annotations."""
    batch = a_batch(images)
    targets = tuple(
        replace(target, boxes_xyxy=target.boxes_xyxy[:0], labels=target.labels[:0]) if row % 2 else target
        for row, target in enumerate(batch.targets)
    )
    return replace(batch, targets=targets, annotated=tuple(row % 2 == 0 for row in range(images)))


def of_a_step(spec: MethodSpec | None, detector: Detector, batch: Batch, *, at_work: bool = True) -> Any:
    """What views, losses, gradients and what follows the update cost."""
    method = build_method(spec, detector)
    if spec is not None and spec.needs_teacher():
        method.receive_teacher(detector.state_dict())
    with HostCost() as cost:
        views = method.views(batch, FIRST)
        outputs = detector(views.images, views.targets)
        objective = method.objective(views, outputs, DetectorAndMiners(detector, Phase(1, 2)))
        torch.stack(list(normalised(objective.parts, 1).values())).sum().backward()
        method.after_update(FIRST)
    if at_work and hasattr(spec, "pseudo"):
        assert objective.figures["pseudo_per_image"].mean() > 0
    return cost


def test_every_method_that_experiments_know_is_asked() -> None:
    assert {spec.kind for spec in ASKED} == METHODS.keys() - {"mirror_too"}


@every_method
@pytest.mark.parametrize("batch_of", [a_batch, half_bare])
def test_waits_and_nearly_all_operations_are_those_of_a_small_batch(
    spec: MethodSpec, batch_of: Callable[[int], Batch], eager: Eager
) -> None:
    """Up to 4 an image remain: its place in the batch for each of two views, a copy that moves it, its mirroring."""
    detector = eager(CENTERNET_TINY)
    of_a_step(None, detector, batch_of(2))  # fills caches
    small, larger, large = (of_a_step(spec, detector, batch_of(images)) for images in (2, 8, 16))
    assert small.waits == larger.waits == large.waits
    assert large.operations - larger.operations <= 8 * 4


def with_states(batch: Batch) -> Batch:
    """Categories with boxes have more of them, the others are absent."""
    targets = []
    for target in batch.targets:
        states = torch.zeros(CLASSES, dtype=torch.int8).index_fill_(0, target.labels, int(State.SOME))
        targets.append(replace(target, states=states))
    return replace(batch, targets=tuple(targets))


@pytest.mark.parametrize("spec", ASKED[2:], ids=lambda spec: spec.kind)
def test_thresholds_from_decoys_ask_for_no_further_wait_and_for_few_operations_of_the_whole_batch(
    spec: MethodSpec, eager: Eager
) -> None:
    """Up to 112 for the images that a method labels, twice in Co-mining, thrice in Co-Student."""
    decoys = EAGER.with_changes({"clean": True, "max_fdr": 0.2})
    changes = {name: decoys for name in ("pseudo", "student") if name in type(spec).model_fields}
    detector = eager(CENTERNET_TINY)
    of_a_step(None, detector, a_batch(2), at_work=False)  # fills caches
    for images in (2, 8):
        given = of_a_step(spec, detector, with_states(a_batch(images)))
        estimated = of_a_step(spec.with_changes(changes), detector, with_states(a_batch(images)), at_work=False)
        assert estimated.waits == given.waits
        assert estimated.operations - given.operations <= 112 * {"comining": 2, "co_student": 3}.get(spec.kind, 1)


def test_pseudo_boxes_and_strong_views_are_at_most_40_operations_an_image(eager: Eager) -> None:
    """With all there is: every change of colour, patches, boxes that move; 2 to 4 waits are the batch's."""
    detector, device = eager(CENTERNET_TINY), torch.device("cpu")
    for images in (8, 16):
        batch = a_batch(images)
        with torch.no_grad():
            outputs = detector(batch.images)
            with HostCost() as cost:
                chosen = choose_boxes(EAGER, detector.decode_padded(outputs), (SIDE_PX, SIDE_PX))
                targets = merge_boxes(EAGER, batch.targets, chosen)
                quality(batch.targets, targets, device=device)
                strong_view(View(batch.images, targets), batch.image_ids, STAC_VIEW, FIRST)
        assert int(chosen.valid.sum()) > images
        assert cost.operations <= 40 * images
        assert cost.waits == {"_local_scalar_dense": 1, "nms": 1, "cpu": 2}


def test_a_list_of_detections_is_one_wait(eager: Eager) -> None:
    detector = eager(CENTERNET_TINY)
    with torch.no_grad():
        outputs = detector(a_batch(4).images)
        with HostCost() as cost:
            found = detector.decode_padded(outputs)
        assert cost.synchronisations == 0
        with HostCost() as cost:
            alone = detector.decode(outputs)
    assert cost.waits == {"cpu": 1}
    assert [len(each.labels) for each in alone] == found.valid.sum(dim=1).tolist()
    for one, other in zip(alone, listed(found), strict=True):
        assert torch.equal(one.boxes_xyxy, other.boxes_xyxy)
        assert (one.scores > 0).all()
