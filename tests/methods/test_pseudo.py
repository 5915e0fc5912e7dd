"""Which detections become labels, worked out by hand."""

from __future__ import annotations

import pytest
import torch

from siod.methods.pseudo import PseudoBoxes, quality
from siod.types import Detections, Target

NONE = torch.zeros(0, 4)
NO_LABELS = torch.zeros(0, dtype=torch.long)
CPU = torch.device("cpu")


def detections(*rows: tuple[list[float], float, int]) -> Detections:
    boxes, scores, labels = zip(*rows, strict=True)
    return Detections(torch.tensor(boxes), torch.tensor(scores), torch.tensor(labels))


def test_only_scores_above_the_threshold_are_chosen() -> None:
    found = detections(([0.0, 0.0, 10.0, 10.0], 0.61, 0), ([20.0, 20.0, 30.0, 30.0], 0.6, 0))
    chosen = PseudoBoxes(min_score=0.6).choose(found, (64, 64))
    assert chosen.boxes_xyxy.tolist() == [[0.0, 0.0, 10.0, 10.0]]


def test_boxes_are_cut_at_the_edge_and_dropped_when_too_little_is_left() -> None:
    found = detections(([-5.0, -5.0, 10.0, 70.0], 0.9, 0), ([63.0, 10.0, 90.0, 30.0], 0.8, 0))
    chosen = PseudoBoxes().choose(found, (64, 64))
    assert chosen.boxes_xyxy.tolist() == [[0.0, 0.0, 10.0, 64.0]]


def test_of_doubles_of_a_class_the_better_stays() -> None:
    """The second box overlaps the first by 90 / 110 = 0.82; of another class it is no double."""
    found = detections(
        ([0.0, 0.0, 10.0, 10.0], 0.8, 0), ([1.0, 0.0, 11.0, 10.0], 0.9, 0), ([1.0, 0.0, 11.0, 10.0], 0.7, 1)
    )
    chosen = PseudoBoxes(suppression_iou=0.5).choose(found, (64, 64))
    assert (chosen.scores * 10).round().tolist() == [9.0, 7.0]


def test_a_box_on_an_annotated_one_of_its_class_does_not_enter_and_others_do() -> None:
    """Annotated: class 0 at 0..10. Overlaps: 5 px to the right 50 / 150 = 0.33, 4 px 60 / 140 = 0.43."""
    target = Target(torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.tensor([0]), NONE, NO_LABELS)
    merge = PseudoBoxes(merge_iou=0.4).merge
    near = detections(([4.0, 0.0, 14.0, 10.0], 0.9, 0))
    farther = detections(([5.0, 0.0, 15.0, 10.0], 0.9, 0))
    other_class = detections(([0.0, 0.0, 10.0, 10.0], 0.9, 1))
    assert merge(target, near).labels.tolist() == [0]
    assert merge(target, farther).boxes_xyxy.tolist() == [[0.0, 0.0, 10.0, 10.0], [5.0, 0.0, 15.0, 10.0]]
    assert merge(target, other_class).labels.tolist() == [0, 1]


def test_an_image_without_annotations_takes_all_that_was_chosen() -> None:
    bare = Target(NONE, NO_LABELS, NONE, NO_LABELS)
    merged = PseudoBoxes().merge(bare, detections(([0.0, 0.0, 8.0, 8.0], 0.9, 2)))
    assert (merged.boxes_xyxy.tolist(), merged.labels.tolist()) == ([[0.0, 0.0, 8.0, 8.0]], [2])


def test_quality_counts_hidden_instances_that_were_found() -> None:
    """Three pseudo boxes, one on a hidden instance of its class, one on one of another class, one on nothing."""
    hidden = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]])
    before = Target(NONE, NO_LABELS, hidden, torch.tensor([0, 1]))
    found = detections(
        ([0.0, 0.0, 10.0, 10.0], 0.9, 0), ([20.0, 20.0, 30.0, 30.0], 0.9, 0), ([40.0, 40.0, 50.0, 50.0], 0.9, 1)
    )
    after = PseudoBoxes().merge(before, found)
    figures = {name: float(term.mean()) for name, term in quality([before], [after], device=CPU).items()}
    assert figures == pytest.approx({"pseudo_per_image": 3, "pseudo_precision": 1 / 3, "pseudo_recall": 1 / 2})


def test_of_no_images_nothing_is_counted() -> None:
    assert {float(term.count) for term in quality([], [], device=CPU).values()} == {0.0}
