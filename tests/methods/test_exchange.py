"""What one view finds becomes the other's target: with maps written by hand in place of a detector's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch

from siod.detectors.detector import Detector
from siod.detectors.networks.centernet import CenterNetOutputs
from siod.detectors.spec import DetectorSpec
from siod.detectors.zoo import CENTERNET_TINY
from siod.methods.co_student import CoStudent
from siod.methods.comining import CoMining
from siod.methods.method import Method, Moment, Weighted
from siod.methods.pseudo import PseudoBoxes
from siod.methods.steps.co_student import CoStudentMethod, revised
from siod.methods.steps.comining import CoMiningMethod
from siod.methods.strong import StrongView
from siod.ops.padding import listed, padded
from siod.types import Batch, Detections, LossTerm, PaddedDetections, Target

Eager = Callable[[DetectorSpec], Detector]
LABELLED, NEW, NEAR = [0.0, 0.0, 40.0, 40.0], [50.0, 50.0, 70.0, 70.0], [4.0, 0.0, 44.0, 40.0]
LAST = Moment(seed=0, epoch=9, step=0, steps=1, epochs=9)
AS_IT_IS = StrongView(jitter=0, grey=0, blur=0, cutouts=(0, 0))


@dataclass
class Recorder:
    """A criterion that writes down what it is asked."""

    asked: list[tuple[Target, ...]] = field(default_factory=list)

    def __call__(self, outputs: Any, targets: Sequence[Target]) -> dict[str, Weighted]:
        self.asked.append(tuple(targets))
        return {"loss": Weighted(1.0, LossTerm(outputs.scores.sum(), torch.ones(())))}


def one_image(annotated: tuple[bool, ...] | None = None) -> Batch:
    """Annotated with one box of class 1."""
    target = Target(torch.tensor([LABELLED]), torch.tensor([1]), torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    images = torch.zeros(1, 3, 96, 96, dtype=torch.uint8)
    return Batch(images, (target,), (5,), torch.zeros(1, 2, 3), annotated)


def seen(*views: list[tuple[list[float], float]]) -> CenterNetOutputs:
    """Maps of one image in several views, with a peak of class 1 for each box and score."""
    scores, size = torch.zeros(len(views), 5, 24, 24), torch.zeros(len(views), 2, 24, 24)
    for view, found in enumerate(views):
        for (left, top, right, bottom), score in found:
            x, y = int(left + right) // 8, int(top + bottom) // 8
            scores[view, 1, y, x] = score
            size[view, :, y, x] = torch.tensor([right - left, bottom - top]) / 4
    return CenterNetOutputs(torch.zeros(len(views), 1, 24, 24), scores, size, torch.zeros(len(views), 2, 24, 24))


def exchanged(method: Method, batch: Batch) -> Recorder:
    """One step in which the first view shows a new object, and the second one doubts it and doubles the label."""
    recorder = Recorder()
    outputs = seen([(NEW, 0.9)], [(NEAR, 0.95), (NEW, 0.55)])
    method.objective(method.views(batch, LAST), outputs, recorder)
    return recorder


def test_co_mining_gives_each_view_what_the_other_is_sure_of(eager: Eager) -> None:
    """The first view's new box is above 0.6 and enters the second's target; the second's are a double and a doubt.

    The double overlaps the label by 36 / 44 = 0.82, above 0.4.
    """
    detector = eager(CENTERNET_TINY)
    method = CoMiningMethod(CoMining(pseudo=PseudoBoxes(min_score=0.6)), detector)
    first, second = exchanged(method, one_image()).asked
    assert [target.boxes_xyxy.tolist() for target in first] == [[LABELLED]]
    assert [target.boxes_xyxy.tolist() for target in second] == [[LABELLED, NEW]]
    assert [target.labels.tolist() for target in second] == [[1, 1]]


def test_in_a_wholly_annotated_image_nothing_is_added(eager: Eager) -> None:
    detector = eager(CENTERNET_TINY)
    method = CoMiningMethod(CoMining(pseudo=PseudoBoxes(min_score=0.6)), detector)
    asked = exchanged(method, one_image(annotated=(True,))).asked
    assert [[target.boxes_xyxy.tolist() for target in targets] for targets in asked] == [[[LABELLED]], [[LABELLED]]]


def test_co_students_give_each_other_what_they_are_sure_of(eager: Eager) -> None:
    """The teacher finds nothing above 1; at 0.5 both views are sure of the new box."""
    detector = eager(CENTERNET_TINY)
    spec = CoStudent(pseudo=PseudoBoxes(min_score=1.0), student=PseudoBoxes(min_score=0.5), strong=AS_IT_IS)
    method = CoStudentMethod(spec, detector)
    weak, strong = exchanged(method, one_image()).asked
    assert [target.boxes_xyxy.tolist() for target in weak] == [[LABELLED, NEW]]
    assert [target.boxes_xyxy.tolist() for target in strong] == [[LABELLED, NEW]]


def table(*rows: tuple[list[float], float, int]) -> PaddedDetections:
    """Boxes of one image, with their scores and classes."""
    boxes, scores, labels = zip(*rows, strict=True)
    return padded([Detections(torch.tensor(boxes), torch.tensor(scores), torch.tensor(labels))])


def rows_of(found: PaddedDetections) -> list[tuple[list[float], float, int]]:
    (image,) = listed(found)
    scores = [round(score, 2) for score in image.scores.tolist()]
    return list(zip(image.boxes_xyxy.tolist(), scores, image.labels.tolist(), strict=True))


# Overlaps with BOX: 90 / 110 = 0.82, 60 / 140 = 0.43, 1/2 to the bit.
BOX, NEAR_IT, HALF_OFF, HALF_OF_IT = (
    [20.0, 20.0, 30.0, 30.0],
    [21.0, 20.0, 31.0, 30.0],
    [24.0, 20.0, 34.0, 30.0],
    [20.0, 20.0, 30.0, 25.0],
)
ELSEWHERE = [60.0, 60.0, 70.0, 70.0]


@pytest.mark.parametrize(
    ("found", "taught", "expected"),
    [
        ((NEAR_IT, 0.6, 1), (BOX, 0.7, 1), [(BOX, 0.7, 1)]),
        ((NEAR_IT, 0.7, 1), (BOX, 0.7, 1), [(BOX, 0.7, 1)]),
        ((NEAR_IT, 0.8, 1), (BOX, 0.7, 1), [(NEAR_IT, 0.8, 1)]),
        ((NEAR_IT, 0.6, 1), (BOX, 0.7, 2), [(BOX, 0.7, 2)]),
        ((HALF_OFF, 0.6, 1), (BOX, 0.7, 1), [(BOX, 0.7, 1), (HALF_OFF, 0.6, 1)]),
        ((HALF_OF_IT, 0.6, 1), (BOX, 0.7, 1), [(HALF_OF_IT, 0.6, 1)]),
        ((ELSEWHERE, 0.6, 1), (BOX, 0.7, 1), [(BOX, 0.7, 1), (ELSEWHERE, 0.6, 1)]),
    ],
    ids=["surer", "as sure", "less sure", "of another class", "too far off", "by half", "where nothing was found"],
)
def test_a_teacher_s_box_corrects_or_adds(found: Any, taught: Any, expected: Any) -> None:
    assert rows_of(revised(table(found), table(taught))) == expected


def test_of_several_surer_boxes_a_student_takes_the_one_that_overlaps_it_most() -> None:
    """The surest overlaps it by 0.82, the next is the same box, the last one is it but less sure."""
    found = table((BOX, 0.6, 1))
    taught = table((NEAR_IT, 0.9, 1), (BOX, 0.7, 2), (BOX, 0.5, 3))
    assert rows_of(revised(found, taught)) == [(BOX, 0.7, 2)]


def test_a_teacher_s_box_that_several_of_a_student_s_take_is_there_once() -> None:
    """The first and the third overlap it by 1 and 0.82; the second is surer than it."""
    found = table((NEAR_IT, 0.6, 1), (BOX, 0.75, 3), (BOX, 0.5, 2), (ELSEWHERE, 0.4, 2))
    expected = [(NEAR_IT, 0.7, 1), (BOX, 0.75, 3), (ELSEWHERE, 0.4, 2)]
    assert rows_of(revised(found, table((NEAR_IT, 0.7, 1)))) == expected


def test_a_view_that_shows_nothing_takes_what_the_teacher_found_and_the_other_way_round() -> None:
    nothing = replace(table((BOX, 0.6, 1)), valid=torch.tensor([[False]]))
    some = table((BOX, 0.7, 1))
    assert rows_of(revised(nothing, some)) == rows_of(revised(some, nothing)) == [(BOX, 0.7, 1)]
    none = PaddedDetections(torch.zeros(1, 0, 4), torch.zeros(1, 0), torch.zeros(1, 0).long(), torch.zeros(1, 0).bool())
    assert rows_of(revised(none, some)) == rows_of(revised(some, none)) == [(BOX, 0.7, 1)]


class Surely:
    """In place of a teacher: sure of the same boxes in every image."""

    def __init__(self, found: PaddedDetections) -> None:
        self.found = found

    def look(self, images: torch.Tensor) -> PaddedDetections:
        assert len(images) == len(self.found.valid)
        return self.found


def test_co_student_s_teacher_revises_what_each_view_gives_to_the_other(eager: Eager) -> None:
    """The weak view's new box has 0.9 and stays; the strong one's has 0.55 and becomes the teacher's, of class 2.

    The teacher's double of the label, alone in the weak view, is dropped there too: 36 / 44 = 0.82 is above 0.4.
    """
    method = CoStudentMethod(
        CoStudent(pseudo=PseudoBoxes(min_score=0.6), student=PseudoBoxes(min_score=0.5), strong=AS_IT_IS),
        eager(CENTERNET_TINY),
    )
    near_new = [51.0, 50.0, 71.0, 70.0]
    taught = table((near_new, 0.8, 2), (NEAR, 0.7, 1), ([10.0, 60.0, 20.0, 80.0], 0.6, 1))
    method.teacher = Surely(taught)
    weak, strong = exchanged(method, one_image()).asked
    assert weak[0].boxes_xyxy.tolist() == [LABELLED, near_new]
    assert weak[0].labels.tolist() == [1, 2]
    assert strong[0].boxes_xyxy.tolist() == [LABELLED, NEW]
    assert strong[0].labels.tolist() == [1, 1]


def test_without_revision_the_teacher_s_boxes_stand_beside_those_of_the_other_view(eager: Eager) -> None:
    """The teacher's comes first; the other view's new box is of another class, and no double."""
    spec = CoStudent(
        pseudo=PseudoBoxes(min_score=0.6), student=PseudoBoxes(min_score=0.5), strong=AS_IT_IS, revision=False
    )
    method = CoStudentMethod(spec, eager(CENTERNET_TINY))
    method.teacher = Surely(table(([51.0, 50.0, 71.0, 70.0], 0.8, 2)))
    weak, strong = exchanged(method, one_image()).asked
    for targets in (weak, strong):
        assert targets[0].boxes_xyxy.tolist() == [LABELLED, [51.0, 50.0, 71.0, 70.0], NEW]
        assert targets[0].labels.tolist() == [1, 2, 1]
