"""Which detections become labels where the annotations tell what cannot be hidden."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from siod.data.annotation_sets import Full, Missing
from siod.data.source import PreparedData
from siod.detectors.detector import Detector
from siod.detectors.spec import DetectorSpec
from siod.detectors.zoo import CENTERNET_TINY
from siod.errors import UserError
from siod.methods.co_student import CoStudent
from siod.methods.comining import CoMining
from siod.methods.mean_teacher import MeanTeacher
from siod.methods.method import Moment
from siod.methods.pseudo import PseudoBoxes
from siod.methods.spec import MethodSpec
from siod.methods.steps.labelling import Labeller
from siod.methods.steps.teacher_student import TeacherStudentMethod
from siod.methods.teacher_student import TeacherStudent
from siod.methods.zoo import build_method
from siod.state import State
from siod.testing.method import METHOD_CHECKS
from siod.testing.method_steps import mixed_batch, sparse_batch
from siod.training.experiment import Experiment
from siod.training.fitness import refuse_unfit
from siod.types import PaddedDetections, Target

Prepare = Callable[[Experiment], PreparedData]
Eager = Callable[[DetectorSpec], Detector]
FIRST = Moment(seed=0, epoch=1, step=0, steps=2, epochs=2)
ABSENT, COMPLETE, SOME, UNKNOWN, UNLABELLED = map(int, State)
NONE, NO_LABELS = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
CLEAN = PseudoBoxes(min_score=0.1, clean=True)
ESTIMATED = PseudoBoxes(min_score=0.1, clean=True, max_fdr=0.2, half_life_images=1000)
SIZE = (96, 96)


def bare(*states: int) -> Target:
    return Target(NONE, NO_LABELS, NONE, NO_LABELS, torch.tensor(states, dtype=torch.int8) if states else None)


def a_find_of_each_class(images: int, scores: list[float]) -> PaddedDetections:
    """In each image one box of each class, with these scores."""
    count = len(scores)
    low = torch.arange(count)[:, None] * 16.0
    boxes = torch.cat([low.expand(-1, 2), low.expand(-1, 2) + 12], dim=1)
    shape = (images, count)
    return PaddedDetections(
        boxes.expand(images, -1, -1),
        torch.tensor(scores).expand(shape),
        torch.arange(count).expand(shape),
        torch.ones(shape, dtype=torch.bool),
    )


def chosen_labels(labeller: Labeller, found: PaddedDetections, targets: list[Target]) -> list[list[int]]:
    boxes = labeller.choose(found, targets, SIZE, FIRST).boxes
    return [sorted(labels[valid].tolist()) for labels, valid in zip(boxes.labels, boxes.valid, strict=True)]


def test_categories_that_cannot_hide_get_no_label(eager: Eager) -> None:
    labeller, any_category = (Labeller(spec, eager(CENTERNET_TINY)) for spec in (CLEAN, PseudoBoxes(min_score=0.1)))
    found = a_find_of_each_class(2, [0.9] * 5)
    targets = [bare(ABSENT, COMPLETE, SOME, UNKNOWN, UNLABELLED), bare(SOME, SOME, ABSENT, ABSENT, ABSENT)]
    assert chosen_labels(labeller, found, targets) == [[2, 3, 4], [0, 1]]
    assert chosen_labels(any_category, found, targets) == [[0, 1, 2, 3, 4]] * 2


def test_where_targets_have_no_states_nothing_is_hidden(eager: Eager) -> None:
    labeller = Labeller(CLEAN, eager(CENTERNET_TINY))
    assert chosen_labels(labeller, a_find_of_each_class(2, [0.9] * 5), [bare(), bare()]) == [[], []]


def some_of_the_first(images: int) -> list[Target]:
    """Every other image may hide the first two categories and lacks the others; the rest lack all but the last."""
    one, other = bare(SOME, SOME, ABSENT, ABSENT, ABSENT), bare(ABSENT, ABSENT, ABSENT, ABSENT, SOME)
    return [one if index % 2 == 0 else other for index in range(images)]


def test_a_category_is_labelled_while_few_of_it_are_found_where_it_is_absent(eager: Eager) -> None:
    """The first category is found in its own images alone, the second one everywhere, the last one nowhere.

    Of 60 images each: first (0 + 1) of 60, second (60 + 1) of 60.
    """
    labeller = Labeller(ESTIMATED, eager(CENTERNET_TINY))
    targets, found = some_of_the_first(120), a_find_of_each_class(120, [0.9, 0.9, 0.05, 0.05, 0.05])
    absent = torch.tensor([target.states is not None and int(target.states[0]) == ABSENT for target in targets])
    valid = found.valid.clone()
    valid[absent, 0] = False
    found = replace(found, valid=valid)
    chosen = labeller.choose(found, targets, SIZE, FIRST)
    assert chosen_labels(labeller, found, targets)[:2] == [[0], []]
    estimate = chosen.figures["pseudo_fdr_estimated"]
    assert float(estimate.count) == 60
    assert float(estimate.mean()) == pytest.approx(1 / 60)


def test_finds_on_annotated_boxes_tell_nothing_of_the_others(eager: Eager) -> None:
    """All 60 finds that would be true lie on annotated boxes; those of which a share could be false are none."""
    labeller = Labeller(ESTIMATED, eager(CENTERNET_TINY))
    found = a_find_of_each_class(120, [0.9, 0.9, 0.05, 0.05, 0.05])
    targets = [
        replace(target, boxes_xyxy=found.boxes_xyxy[0, :2], labels=torch.tensor([0, 1])) if index % 2 == 0 else target
        for index, target in enumerate(some_of_the_first(120))
    ]
    assert chosen_labels(labeller, found, targets) == [[]] * 120


def test_a_teacher_that_fires_everywhere_labels_no_more(eager: Eager) -> None:
    """After 10 steps of 100 images the good finds of the first steps are forgotten."""
    labeller = Labeller(ESTIMATED.with_changes({"half_life_images": 100}), eager(CENTERNET_TINY))
    targets, found = some_of_the_first(100), a_find_of_each_class(100, [0.9] * 5)
    good = replace(found, valid=found.valid & (torch.stack([t.states for t in targets]) == SOME))
    for _ in range(5):
        assert chosen_labels(labeller, good, targets)[:2] == [[0, 1], [4]]
    for _ in range(10):
        last = chosen_labels(labeller, found, targets)
    assert last == [[]] * 100


def test_nothing_is_labelled_until_a_hundred_images_were_looked_at(eager: Eager) -> None:
    labeller = Labeller(ESTIMATED, eager(CENTERNET_TINY))
    targets, found = some_of_the_first(50), a_find_of_each_class(50, [0.9] * 5)
    good = replace(found, valid=found.valid & (torch.stack([t.states for t in targets]) == SOME))
    assert chosen_labels(labeller, good, targets) == [[]] * 50
    # The first 50 count a little less by now: 50 * 2 ** (-50 / 1000) + 50 = 98.3 images.
    assert chosen_labels(labeller, good, targets) == [[]] * 50
    assert chosen_labels(labeller, good, targets)[:2] == [[0, 1], [4]]


def test_a_resumed_labeller_goes_on_to_the_bit(eager: Eager) -> None:
    targets, found = some_of_the_first(120), a_find_of_each_class(120, [0.9, 0.8, 0.4, 0.3, 0.2])
    one, other = (Labeller(ESTIMATED, eager(CENTERNET_TINY)) for _ in range(2))
    one.choose(found, targets, SIZE, FIRST)
    other.load_state_dict(one.state_dict())
    for labeller in (one, other):
        labeller.choose(found, targets, SIZE, FIRST)
    (mine,), (theirs,) = one.state_dict().values(), other.state_dict().values()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


# Methods.

ASKED = [
    CoMining(pseudo=ESTIMATED),
    TeacherStudent(pseudo=ESTIMATED),
    MeanTeacher(pseudo=ESTIMATED, start_epoch=0, decay=0.5),
    CoStudent(pseudo=ESTIMATED, student=ESTIMATED, start_epoch=0, decay=0.5),
]
every_method = pytest.mark.parametrize("spec", ASKED, ids=lambda spec: spec.kind)


@every_method
@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_with_thresholds_from_decoys_a_method_keeps_what_training_relies_on(
    check: Callable[[MethodSpec, DetectorSpec], None], spec: MethodSpec
) -> None:
    check(spec, CENTERNET_TINY.with_changes({"norm": "group"}))


@every_method
def test_a_method_remembers_what_was_found_and_goes_on_from_there(spec: MethodSpec, eager: Eager) -> None:
    detector = eager(CENTERNET_TINY)
    one, other = build_method(spec, detector), build_method(spec, detector)
    for method in (one, other):
        if spec.needs_teacher():
            method.receive_teacher(detector.state_dict())
    counts = [name for name in one.state_dict() if name.endswith("labeller")]
    assert len(counts) == (2 if spec.kind == "co_student" else 1)
    for name in counts:
        one.state_dict()[name]["seen"].add_(7)
    other.load_state_dict(one.state_dict())
    assert [float(other.state_dict()[name]["seen"]) for name in counts] == [7] * len(counts)


def test_in_sets_with_bare_images_the_teacher_looks_at_annotated_ones_too(eager: Eager) -> None:
    detector, batch = eager(CENTERNET_TINY), mixed_batch()
    method = TeacherStudentMethod(TeacherStudent(pseudo=ESTIMATED), detector)
    method.receive_teacher(detector.state_dict())
    views = method.views(batch, FIRST)
    assert method.labeller.decoys is not None
    finds = method.labeller.decoys.finds
    known = [target for target, annotated in zip(batch.targets, batch.annotated or (), strict=True) if annotated]
    assert float(finds.seen) == len(batch.targets) == 4
    assert set(finds.images[1].tolist()) == {float(4 - len(known))}
    assert float(finds.boxes[0, :, 0].sum()) > 0
    assert views.views[0].targets == tuple(known)


def test_clean_labels_are_of_the_categories_an_image_has_a_box_of(eager: Eager) -> None:
    detector, batch = eager(CENTERNET_TINY), sparse_batch()
    method = TeacherStudentMethod(TeacherStudent(pseudo=CLEAN), detector)
    method.receive_teacher(detector.state_dict())
    added = 0
    for before, after in zip(batch.targets, method.views(batch, FIRST).views[0].targets, strict=True):
        labels = after.labels[len(before.labels) :]
        assert set(labels.tolist()) <= set(before.labels.tolist())
        added += len(labels)
    assert added > 0


# Settings and refusals.


def test_settings_that_are_not_used_are_not_said() -> None:
    assert PseudoBoxes().model_dump(mode="json") == {"min_score": 0.6, "suppression_iou": 0.5, "merge_iou": 0.4}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_fdr": 0.1}, "set clean to true with it"),
        ({"clean": True, "half_life_images": 500}, "half_life_images has no effect without max_fdr"),
        ({"clean": True, "max_fdr": 1.0}, "max_fdr: .*less than 1"),
        ({"clean": True, "max_fdr": 0.1, "half_life_images": 50}, "half_life_images: .*greater than or equal to 100"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PseudoBoxes().with_changes(changes)


@pytest.mark.parametrize(
    ("policy", "pseudo", "message"),
    [
        (Full(), CLEAN, r"^method\.pseudo\.clean: .* nothing is left to label; set method to null"),
        (Missing(fraction=0.5), ESTIMATED, r"^method\.pseudo\.max_fdr: .* no image that surely lacks a category"),
    ],
)
def test_annotations_that_tell_too_little_are_refused_before_training(
    policy: Any, pseudo: PseudoBoxes, message: str, siod_run: Experiment, prepared: Prepare
) -> None:
    experiment = siod_run.with_changes({"annotations": policy, "method": MeanTeacher(pseudo=pseudo)})
    with pytest.raises(UserError, match=message) as refused:
        refuse_unfit(experiment, prepared(experiment))
    assert "\n" not in str(refused.value)
    plain = experiment.with_changes({"method.pseudo": PseudoBoxes()})
    refuse_unfit(plain, prepared(plain))
