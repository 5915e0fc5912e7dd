"""What one view finds becomes the other's target: with maps written by hand in place of a detector's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from siod.detectors.detector import Detector
from siod.detectors.networks.centernet import CenterNetOutputs
from siod.detectors.spec import DetectorSpec
from siod.detectors.zoo import CENTERNET_TINY
from siod.methods.co_student import CoStudent
from siod.methods.comining import CoMining
from siod.methods.method import Method, Moment, Weighted
from siod.methods.pseudo import PseudoBoxes
from siod.methods.steps.co_student import CoStudentMethod
from siod.methods.steps.comining import CoMiningMethod
from siod.methods.strong import StrongView
from siod.types import Batch, LossTerm, Target

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


def test_co_student_adds_the_other_view_s_boxes_to_the_teacher_s(eager: Eager) -> None:
    """The teacher finds nothing above 1; at 0.5 both views are sure of the new box."""
    detector = eager(CENTERNET_TINY)
    spec = CoStudent(pseudo=PseudoBoxes(min_score=1.0), student=PseudoBoxes(min_score=0.5), strong=AS_IT_IS)
    method = CoStudentMethod(spec, detector)
    weak, strong = exchanged(method, one_image()).asked
    assert [target.boxes_xyxy.tolist() for target in weak] == [[LABELLED, NEW]]
    assert [target.boxes_xyxy.tolist() for target in strong] == [[LABELLED, NEW]]
