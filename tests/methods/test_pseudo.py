"""Which detections become labels: worked out by hand, and against the plain way, one image after another."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import batched_nms, box_iou, clip_boxes_to_image

from siod.methods.pseudo import PseudoBoxes
from siod.methods.steps.pseudo import choose_boxes, merge_boxes, quality
from siod.ops.padding import listed, padded
from siod.types import Detections, Target

NONE = torch.zeros(0, 4)
NO_LABELS = torch.zeros(0, dtype=torch.long)
CPU = torch.device("cpu")


def detections(*rows: tuple[list[float], float, int]) -> Detections:
    boxes, scores, labels = zip(*rows, strict=True)
    return Detections(torch.tensor(boxes), torch.tensor(scores), torch.tensor(labels))


def chosen_of(pseudo: PseudoBoxes, found: Detections) -> Detections:
    """Of one image of 64 x 64."""
    return listed(choose_boxes(pseudo, padded([found]), (64, 64)))[0]


def merged_into(pseudo: PseudoBoxes, target: Target, chosen: Detections) -> Target:
    return merge_boxes(pseudo, [target], padded([chosen]))[0]


def test_only_scores_above_the_threshold_are_chosen() -> None:
    found = detections(([0.0, 0.0, 10.0, 10.0], 0.61, 0), ([20.0, 20.0, 30.0, 30.0], 0.6, 0))
    chosen = chosen_of(PseudoBoxes(min_score=0.6), found)
    assert chosen.boxes_xyxy.tolist() == [[0.0, 0.0, 10.0, 10.0]]


def test_boxes_are_cut_at_the_edge_and_dropped_when_too_little_is_left() -> None:
    found = detections(([-5.0, -5.0, 10.0, 70.0], 0.9, 0), ([63.0, 10.0, 90.0, 30.0], 0.8, 0))
    chosen = chosen_of(PseudoBoxes(), found)
    assert chosen.boxes_xyxy.tolist() == [[0.0, 0.0, 10.0, 64.0]]


def test_of_doubles_of_a_class_the_better_stays() -> None:
    """The second box overlaps the first by 90 / 110 = 0.82; of another class it is no double."""
    found = detections(
        ([0.0, 0.0, 10.0, 10.0], 0.8, 0), ([1.0, 0.0, 11.0, 10.0], 0.9, 0), ([1.0, 0.0, 11.0, 10.0], 0.7, 1)
    )
    chosen = chosen_of(PseudoBoxes(suppression_iou=0.5), found)
    assert (chosen.scores * 10).round().tolist() == [9.0, 7.0]


def test_a_box_on_an_annotated_one_of_its_class_does_not_enter_and_others_do() -> None:
    """Annotated: class 0 at 0..10. Overlaps: 5 px to the right 50 / 150 = 0.33, 4 px 60 / 140 = 0.43."""
    target = Target(torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.tensor([0]), NONE, NO_LABELS)
    pseudo = PseudoBoxes(merge_iou=0.4)
    near = detections(([4.0, 0.0, 14.0, 10.0], 0.9, 0))
    farther = detections(([5.0, 0.0, 15.0, 10.0], 0.9, 0))
    other_class = detections(([0.0, 0.0, 10.0, 10.0], 0.9, 1))
    assert merged_into(pseudo, target, near).labels.tolist() == [0]
    assert merged_into(pseudo, target, farther).boxes_xyxy.tolist() == [[0.0, 0.0, 10.0, 10.0], [5.0, 0.0, 15.0, 10.0]]
    assert merged_into(pseudo, target, other_class).labels.tolist() == [0, 1]


def test_an_image_without_annotations_takes_all_that_was_chosen() -> None:
    bare = Target(NONE, NO_LABELS, NONE, NO_LABELS)
    merged = merged_into(PseudoBoxes(), bare, detections(([0.0, 0.0, 8.0, 8.0], 0.9, 2)))
    assert (merged.boxes_xyxy.tolist(), merged.labels.tolist()) == ([[0.0, 0.0, 8.0, 8.0]], [2])


def test_merged_boxes_are_told_from_annotated_ones_also_when_more_join() -> None:
    target = Target(torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.tensor([0]), NONE, NO_LABELS)
    first = merged_into(PseudoBoxes(), target, detections(([20.0, 0.0, 30.0, 10.0], 0.9, 0)))
    assert first.pseudo is not None
    assert first.pseudo.tolist() == [False, True]
    second = merged_into(PseudoBoxes(), first, detections(([40.0, 0.0, 50.0, 10.0], 0.9, 1)))
    assert second.pseudo is not None
    assert second.pseudo.tolist() == [False, True, True]
    nothing_new = merged_into(PseudoBoxes(), target, detections(([0.0, 0.0, 10.0, 10.0], 0.9, 0)))
    assert nothing_new.pseudo is None


def test_quality_counts_hidden_instances_that_were_found() -> None:
    """Three pseudo boxes, one on a hidden instance of its class, one on one of another class, one on nothing."""
    hidden = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]])
    before = Target(NONE, NO_LABELS, hidden, torch.tensor([0, 1]))
    found = detections(
        ([0.0, 0.0, 10.0, 10.0], 0.9, 0), ([20.0, 20.0, 30.0, 30.0], 0.9, 0), ([40.0, 40.0, 50.0, 50.0], 0.9, 1)
    )
    after = merged_into(PseudoBoxes(), before, found)
    figures = {name: float(term.mean()) for name, term in quality([before], [after], device=CPU).items()}
    assert figures == pytest.approx({"pseudo_per_image": 3, "pseudo_precision": 1 / 3, "pseudo_recall": 1 / 2})


def test_of_no_images_nothing_is_counted() -> None:
    assert {float(term.count) for term in quality([], [], device=CPU).values()} == {0.0}


# All images at once against one after another.


def chosen_alone(pseudo: PseudoBoxes, found: Detections, image_size: tuple[int, int]) -> Detections:
    """The plain way: masks and torchvision's suppression by class, for one image."""
    sure = found.scores > pseudo.min_score
    scores, labels = found.scores[sure], found.labels[sure]
    boxes = clip_boxes_to_image(found.boxes_xyxy[sure], image_size)
    large = (boxes[:, 2:] - boxes[:, :2]).amin(dim=1) >= 2
    boxes, scores, labels = boxes[large], scores[large], labels[large]
    kept = batched_nms(boxes, scores, labels, pseudo.suppression_iou)
    return Detections(boxes[kept], scores[kept], labels[kept])


def alike(found: Detections, boxes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return box_iou(found.boxes_xyxy, boxes) * (found.labels[:, None] == labels)


def merged_alone(pseudo: PseudoBoxes, target: Target, chosen: Detections) -> tuple[torch.Tensor, torch.Tensor]:
    fresh = ~(alike(chosen, target.boxes_xyxy, target.labels) > pseudo.merge_iou).any(dim=1)
    boxes, labels = chosen.boxes_xyxy[fresh], chosen.labels[fresh]
    return torch.cat([target.boxes_xyxy, boxes]), torch.cat([target.labels, labels])


def quality_alone(before: list[Target], after: list[Target]) -> dict[str, tuple[int, int]]:
    boxes = right = hidden = recalled = 0
    for old, new in zip(before, after, strict=True):
        first = len(old.labels)
        pseudo = Detections(new.boxes_xyxy[first:], torch.ones(len(new.labels) - first), new.labels[first:])
        hits = alike(pseudo, old.hidden_boxes_xyxy, old.hidden_labels) >= 0.5
        boxes, hidden = boxes + len(pseudo.labels), hidden + len(old.hidden_labels)
        right, recalled = right + int(hits.any(dim=1).sum()), recalled + int(hits.any(dim=0).sum())
    return {
        "pseudo_per_image": (boxes, len(before)),
        "pseudo_precision": (right, boxes),
        "pseudo_recall": (recalled, hidden),
    }


SIDE_PX, CLASSES = 128, 4


def some_boxes(count: int, generator: torch.Generator) -> torch.Tensor:
    """Of quarters of pixels, so that shifts by class do not round them; some reach beyond the image."""
    low = torch.randint(-20, 4 * SIDE_PX, (count, 2), generator=generator)
    sizes = torch.randint(0, 160, (count, 2), generator=generator)
    return torch.cat([low, low + sizes], dim=1) / 4


def an_image(generator: torch.Generator) -> tuple[Detections, Target]:
    """Detections in any order, the second half near the first; some scores are equal, some boxes are known."""
    count, annotated, hidden = (int(torch.randint(0, most, (), generator=generator)) for most in (40, 5, 5))
    boxes = some_boxes(count, generator)
    half = count // 2
    boxes[half : 2 * half] = boxes[:half] + torch.randint(-12, 13, (half, 4), generator=generator) / 4
    boxes = torch.cat([torch.minimum(boxes[:, :2], boxes[:, 2:]), torch.maximum(boxes[:, :2], boxes[:, 2:])], dim=1)
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    scores = torch.randint(1, 20, (count,), generator=generator) / 20
    known, known_labels = some_boxes(annotated, generator), torch.randint(0, CLASSES, (annotated,), generator=generator)
    there, there_labels = some_boxes(hidden, generator), torch.randint(0, CLASSES, (hidden,), generator=generator)
    if count and annotated:
        known[0], known_labels[0] = boxes[0], labels[0]
    if count and hidden:
        there[0], there_labels[0] = boxes[-1], labels[-1]
    return Detections(boxes, scores, labels), Target(known, known_labels, there, there_labels)


@given(st.integers(0, 2**32), st.integers(1, 6), st.sampled_from([0.0, 0.3, 0.9]))
def test_all_images_at_once_are_labelled_as_one_after_another_to_the_bit(
    seed: int, images: int, min_score: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    found, targets = zip(*(an_image(generator) for _ in range(images)), strict=True)
    pseudo, size = PseudoBoxes(min_score=min_score, suppression_iou=0.5), (SIDE_PX, SIDE_PX)
    together = choose_boxes(pseudo, padded(found), size)
    alone = [chosen_alone(pseudo, each, size) for each in found]
    for one, other in zip(alone, listed(together), strict=True):
        assert torch.equal(one.boxes_xyxy, other.boxes_xyxy)
        assert torch.equal(one.scores, other.scores)
        assert torch.equal(one.labels, other.labels)
    merged = merge_boxes(pseudo, targets, together)
    for target, chosen, after in zip(targets, alone, merged, strict=True):
        boxes, labels = merged_alone(pseudo, target, chosen)
        assert torch.equal(after.boxes_xyxy, boxes)
        assert torch.equal(after.labels, labels)
        assert after.hidden_boxes_xyxy is target.hidden_boxes_xyxy
    figures = {name: (int(term.total), int(term.count)) for name, term in quality(targets, merged, device=CPU).items()}
    assert figures == quality_alone(list(targets), list(merged))


@pytest.mark.parametrize("label", [0, 79, 1202])
@pytest.mark.parametrize("place", [0, 63])
def test_what_is_suppressed_depends_neither_on_the_class_nor_on_the_place_in_the_batch(label: int, place: int) -> None:
    """8 px wide, 2.68 apart: 5.32 / 10.68 = 0.498 of their union are shared. A third box lies in the far corner."""
    found = detections(
        ([10.0, 10.0, 18.0, 18.0], 0.9, label),
        ([12.68, 10.0, 20.68, 18.0], 0.8, label),
        ([1320.0, 1320.0, 1333.0, 1333.0], 0.7, label),
    )
    batch = [found if row == place else detections(([0.0, 0.0, 9.0, 9.0], 0.9, label)) for row in range(64)]
    chosen = choose_boxes(PseudoBoxes(suppression_iou=0.5), padded(batch), (1333, 1333))
    assert chosen.valid[place].tolist() == [True, True, True]
