"""What states of categories and rejected entries do to the losses of each family, worked out beside them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from siod.detectors.networks.region_head import RegionTargets, region_terms
from siod.detectors.spec import DetectorSpec
from siod.detectors.zoo import (
    CENTERNET_TINY,
    FASTER_RCNN_TINY,
    FASTER_RCNN_TINY_MINING,
    FCOS_TINY,
    RETINANET_TINY,
)
from siod.ops.focal import penalty_reduced_focal_terms
from siod.state import State
from siod.testing.networks import eager, noise_for
from siod.testing.scenes import two_targets
from siod.training.phases import Phase
from siod.training.step import batch_loss
from siod.types import LossTerm, Mined, Target, unlabelled_classes

# Image 0 has boxes of classes 0 and 2, image 1 of class 1.
KEEP_1 = [[State.SOME, State.ABSENT, State.SOME], [State.ABSENT, State.SOME, State.ABSENT]]
ONE_UNLABELLED = [[State.COMPLETE, State.UNLABELLED, State.COMPLETE], [State.ABSENT, State.COMPLETE, State.ABSENT]]
MINED = [CENTERNET_TINY, FASTER_RCNN_TINY_MINING, FCOS_TINY, RETINANET_TINY]
every_mined_family = pytest.mark.parametrize("spec", MINED, ids=lambda spec: spec.family)


def known(states: list[list[State]] | None) -> list[Target]:
    rows = [None, None] if states is None else torch.tensor(states, dtype=torch.int8)
    return [replace(one, states=row) for one, row in zip(two_targets(), rows, strict=True)]


def compared(spec: DetectorSpec, states: list[list[State]] | None, mined: Mined | None = None) -> tuple[Any, Any, Any]:
    """Outputs, encoded targets and loss terms of two images; what was mined is of the first level."""
    detector, targets = eager(spec), known(states)
    torch.manual_seed(3)
    outputs = detector(noise_for(detector, 2), targets)
    encoded = detector.encode(targets, outputs)
    levels = [Mined() if level or mined is None else mined for level in range(spec.mined_levels())]
    return outputs, encoded, detector.losses(outputs, encoded, levels)


def same(one: LossTerm, other: LossTerm) -> bool:
    return torch.equal(one.total, other.total) and torch.equal(one.count, other.count)


def test_the_classes_nobody_looked_for_are_told_of_each_image() -> None:
    unlabelled = unlabelled_classes(known(ONE_UNLABELLED))
    assert unlabelled is not None
    assert unlabelled.tolist() == [[False, True, False], [False, False, False]]
    assert unlabelled_classes(known(KEEP_1)) is None
    assert unlabelled_classes(known(None)) is None


def test_a_centernet_leaves_out_the_map_of_an_unlabelled_class() -> None:
    outputs, _, plain = compared(CENTERNET_TINY, None)
    _, encoded, terms = compared(CENTERNET_TINY, ONE_UNLABELLED)
    negatives = penalty_reduced_focal_terms(outputs.scores[:1, 1:2], encoded.heatmap[:1, 1:2])
    assert encoded.heatmap[0, 1].max() == 0
    torch.testing.assert_close(terms["heatmap"].total, plain["heatmap"].total - negatives.total)
    assert terms["heatmap"].count == plain["heatmap"].count == 3
    assert all(same(terms[name], plain[name]) for name in ("size", "offset"))


@pytest.mark.parametrize("spec", [FCOS_TINY, RETINANET_TINY], ids=lambda spec: spec.family)
def test_a_pyramid_leaves_out_an_unlabelled_class_on_all_levels(spec: DetectorSpec) -> None:
    """Also of P6 and P7, which miners do not see; RetinaNet's doubtful anchors are left out anyway."""
    outputs, _, plain = compared(spec, None)
    _, encoded, terms = compared(spec, ONE_UNLABELLED)
    logits = outputs.class_logits[0, :, 1]
    of_class = sigmoid_focal_loss(logits, torch.zeros_like(logits))
    if encoded.ignored is not None:
        of_class = of_class[~encoded.ignored[0]]
    torch.testing.assert_close(terms["class"].total, plain["class"].total - of_class.sum())
    assert all(same(terms[name], plain[name]) for name in plain if name != "class")


@pytest.mark.parametrize("spec", [FASTER_RCNN_TINY, FASTER_RCNN_TINY_MINING])
def test_the_logit_of_an_unlabelled_class_is_no_part_of_the_softmax_of_a_region(spec: DetectorSpec) -> None:
    outputs, encoded, plain = compared(spec, None)
    _, _, terms = compared(spec, ONE_UNLABELLED)
    first = len(outputs.regions[0])
    logits, labels = outputs.class_logits, encoded.regions.labels
    assert not (labels[:first] == 2).any()
    without = logits[:first, [0, 1, 3]]
    of_first = functional.cross_entropy(without, torch.where(labels[:first] == 3, 2, labels[:first]), reduction="sum")
    of_second = functional.cross_entropy(logits[first:], labels[first:], reduction="sum")
    torch.testing.assert_close(terms["roi_class"].total, of_first + of_second)
    assert terms["roi_class"].count == plain["roi_class"].count
    assert all(same(terms[name], plain[name]) for name in ("rpn_objectness", "rpn_box", "roi_box"))
    if "heatmap" in plain:
        assert terms["heatmap"].total < plain["heatmap"].total


def test_a_region_of_an_unlabelled_class_learns_it() -> None:
    """A teacher's box may be of such a class: its own logit stays in the softmax, the other's goes."""
    logits = torch.tensor([[0.5, 1.0, 2.0], [0.5, 1.0, 2.0]], requires_grad=True)
    targets = RegionTargets(torch.tensor([2, 0]), torch.zeros(2, 4), torch.tensor([0]))
    terms = region_terms(logits, torch.zeros(2, 12), targets, unlabelled=torch.tensor([[True, True], [False, True]]))
    of_class_2, background = (
        functional.log_softmax(logits[row, kept], dim=0) for row, kept in ((0, [0, 2]), (1, [0, 1]))
    )
    torch.testing.assert_close(terms["roi_class"].total, -of_class_2[1] - background[0])
    terms["roi_class"].total.backward()
    assert logits.grad is not None
    assert logits.grad[0, 1] == logits.grad[1, 2] == 0
    assert logits.grad.isfinite().all()


@every_mined_family
def test_reject_changes_nothing_to_the_bit_where_everything_is_complete(spec: DetectorSpec) -> None:
    detector = eager(spec)
    complete = [[State.COMPLETE, State.ABSENT, State.COMPLETE], [State.ABSENT, State.COMPLETE, State.ABSENT]]
    losses = []
    for states, share in ((None, 0.0), (None, 0.2), (complete, 0.0), (KEEP_1, 0.0), (complete, 0.2), (KEEP_1, 0.2)):
        targets = known(states)
        torch.manual_seed(3)
        outputs = detector(noise_for(detector, 2), targets)
        losses.append(batch_loss(detector, outputs, targets, Phase(1, 1, rejected_share=share)).parts)
    plain, *same_bits, nothing_rejected, rejected = losses
    for parts in same_bits:
        assert all(torch.equal(parts[name], plain[name]) for name in plain)
    for name in plain:
        torch.testing.assert_close(nothing_rejected[name], plain[name])
    class_loss = {"faster_rcnn_c4": "roi_class", "centernet": "heatmap"}.get(spec.family, "class")
    assert rejected[class_loss] != plain[class_loss]


@pytest.mark.parametrize("spec", [CENTERNET_TINY, FCOS_TINY], ids=lambda spec: spec.family)
def test_a_rejected_entry_is_no_negative_of_its_class_and_stays_one_of_the_others(spec: DetectorSpec) -> None:
    """The first position of image 1, class 0."""
    outputs, encoded, plain = compared(spec, None)
    heatmap = encoded.heatmap if spec.family == "centernet" else encoded.heatmaps[0]
    assert heatmap[1, :, 0, 0].max() == 0
    rejected = torch.zeros_like(heatmap, dtype=torch.bool)
    rejected[1, 0, 0, 0] = True
    _, _, terms = compared(spec, None, Mined(ignored=rejected, rejected=rejected))
    if spec.family == "centernet":
        score = outputs.scores[1, 0, 0, 0]
        name, lost = "heatmap", -score.square() * (1 - score).log()
    else:
        logit = outputs.class_logits[1, 0, 0]
        name, lost = "class", sigmoid_focal_loss(logit, torch.zeros_like(logit))
    assert lost > 1e-5 * plain[name].total  # ten times what may differ by rounding
    torch.testing.assert_close(terms[name].total, plain[name].total - lost)


def test_a_background_region_on_a_rejected_position_neither_teaches_nor_counts() -> None:
    """Positions lie at multiples of the stride, so the nearest to a centre is its rounded quotient."""
    outputs, encoded, plain = compared(FASTER_RCNN_TINY_MINING, None)
    regions, labels = torch.cat(outputs.regions), encoded.regions.labels
    first = len(outputs.regions[0])
    stride = 96 // outputs.grid[0]
    cells = ((regions[:, :2] + regions[:, 2:]) / 2 / stride + 0.5).floor().long().clamp(max=outputs.grid[0] - 1)
    # The cell of the first background region of image 1, for one class.
    place = first + int((labels[first:] == 0).nonzero()[0])
    across, down = cells[place].tolist()
    rejected = torch.zeros_like(encoded.heatmap, dtype=torch.bool)
    rejected[1, 2, down, across] = True
    there = (cells == cells[place]).all(dim=1) & (torch.arange(len(labels)) >= first)
    left_out = there & (labels == 0)
    assert 1 <= int(left_out.sum()) < len(labels)

    _, _, terms = compared(FASTER_RCNN_TINY_MINING, None, Mined(ignored=rejected, rejected=rejected))
    each = functional.cross_entropy(outputs.class_logits, labels, reduction="none")
    torch.testing.assert_close(terms["roi_class"].total, each[~left_out].sum())
    assert terms["roi_class"].count == len(labels) - left_out.sum()
    assert same(terms["roi_box"], plain["roi_box"])

    _, _, ignored = compared(FASTER_RCNN_TINY_MINING, None, Mined(ignored=rejected))
    assert same(ignored["roi_class"], plain["roi_class"])
    assert torch.equal(ignored["rpn_objectness"].total, terms["rpn_objectness"].total)


def test_an_object_on_a_rejected_position_is_learnt() -> None:
    outputs, encoded, plain = compared(FASTER_RCNN_TINY_MINING, None)
    rejected = torch.ones_like(encoded.heatmap, dtype=torch.bool)
    _, _, terms = compared(FASTER_RCNN_TINY_MINING, None, Mined(ignored=rejected, rejected=rejected))
    objects = encoded.regions.objects
    each = functional.cross_entropy(outputs.class_logits, encoded.regions.labels, reduction="none")
    assert terms["roi_class"].count == len(objects) > 0
    torch.testing.assert_close(terms["roi_class"].total, each[objects].sum())
    assert same(terms["roi_box"], plain["roi_box"])
