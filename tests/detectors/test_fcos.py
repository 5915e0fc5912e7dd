"""FCOS: torchvision's assignment and losses, levels of references, and pseudo labels of positions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torchvision.models import detection

from siod.detectors.fcos import FCOS
from siod.detectors.networks.annotated import annotated_boxes
from siod.detectors.networks.fcos import FCOSDetector, centerness
from siod.detectors.networks.fpn import PyramidOutputs
from siod.detectors.zoo import FCOS_R50_FPN, FCOS_TINY
from siod.dminer.mining.quality import mining_counts
from siod.ops.matching import IGNORED
from siod.testing.scenes import noise, target
from siod.types import Grid, Mined

# Statistics of one image at a time.
SPEC = FCOS_TINY.with_changes({"norm": "group"})
POSITIONS = (24 * 24, 12 * 12, 6 * 6)


def detector_of(spec: FCOS = SPEC, classes: int = 3) -> FCOSDetector:
    torch.manual_seed(0)
    return FCOSDetector(spec, classes)


def matched(detector: FCOSDetector, boxes: Tensor, outputs: PyramidOutputs) -> Tensor:
    """The box of each position of an only image."""
    known = annotated_boxes([target(boxes.tolist(), [0] * len(boxes))])
    return detector.assign(known, outputs)[0]


def outputs_of(detector: FCOSDetector, batch: int = 1) -> PyramidOutputs:
    """Outputs at which boxes and scores differ from position to position."""
    with torch.no_grad():
        for layer in (detector.head.regression_head.bbox_reg, detector.head.regression_head.bbox_ctrness):
            layer.weight.normal_(std=0.1)
            layer.bias.normal_(mean=1.0)
    outputs: PyramidOutputs = detector(noise(batch, 96, 96))
    return outputs


class TheirLosses(torch.nn.Module):
    """torchvision's FCOS with nothing to look through: its losses are computed from given outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.out_channels = 32


BOXES = [[4.0, 6.0, 22.0, 25.0], [10.0, 12.0, 50.0, 55.0], [30.0, 8.0, 94.0, 70.0], [60.0, 60.0, 72.0, 74.0]]


@pytest.mark.parametrize("count", [0, 1, 4])
def test_the_three_losses_are_torchvision_s(count: int) -> None:
    """With its ranges of eight strides, which it cannot change."""
    detector = detector_of(SPEC.with_changes({"range_strides": 8.0}))
    theirs = detection.FCOS(
        TheirLosses(), 3, anchor_generator=detector.anchor_generator, head=None, center_sampling_radius=1.5
    )
    outputs, known = outputs_of(detector), target(BOXES[:count], [0, 2, 1, 0][:count])
    head_outputs = {
        "cls_logits": outputs.class_logits,
        "bbox_regression": outputs.deltas,
        "bbox_ctrness": outputs.centre_logits[:, :, None],
    }
    expected = theirs.compute_loss(
        [{"boxes": known.boxes_xyxy, "labels": known.labels}], head_outputs, [outputs.anchors_xyxy], list(POSITIONS)
    )
    encoded = detector.encode([known], outputs)
    ours = detector.losses(outputs, encoded, [Mined()] * 3)
    assert (len(encoded.objects) > 0) == (count > 0)
    torch.testing.assert_close(ours["class"].mean(), expected["classification"])
    torch.testing.assert_close(ours["box"].mean(), expected["bbox_regression"])
    torch.testing.assert_close(ours["centre"].mean(), expected["bbox_ctrness"])


@pytest.mark.parametrize("side", [4.0, 5.0, 6.0, 8.0, 24.0])
def test_a_reference_is_where_the_box_is_learnt_and_a_miner_that_finds_those_positions_is_right(side: float) -> None:
    """Torchvision's anchors are centred at multiples of the stride, not half a stride further."""
    detector = detector_of(classes=1).eval()
    outputs = outputs_of(detector)
    corners = torch.rand(40, 2, generator=torch.Generator().manual_seed(0)) * (90 - side)
    for box in torch.cat([corners, corners + side], dim=1):
        known = target([box.tolist()], [0])
        encoded = detector.encode([known], outputs)
        learnt = detector.assign(annotated_boxes([known]), outputs)[0] >= 0
        hidden = replace(target([], []), hidden_boxes_xyxy=known.boxes_xyxy, hidden_labels=known.labels)
        masks = [
            part.view(1, 1, *grid) for part, grid in zip(learnt.split(list(POSITIONS)), outputs.grids, strict=True)
        ]
        levels = detector.levels(outputs, encoded)
        assert [(level.heatmap == 1).sum() for level in levels] == [1, 1, 1]
        of_finest = [bool(learnt[: POSITIONS[0]].any()), bool((masks[0] & (levels[0].heatmap == 1)).any())]
        assert of_finest in ([True, True], [False, False])
        counts = mining_counts({"splg": masks}, [hidden], [level.grid for level in levels])["splg"]
        if learnt.any():
            assert counts.metrics("splg")["mining/splg_precision"] == counts.metrics("splg")["mining/splg_recall"] == 1


def test_a_position_belongs_to_the_box_it_is_in_the_middle_and_in_range_of() -> None:
    """Strides 4, 8, 16 with ranges that part at farthest sides of 16 and 32 px; the middle is 1.5 strides wide.

    A box of 16 px around (20, 20): on the first level positions closer than 6 px are at 16, 20 and 24 in both
    directions, at most 12 px from a side; all belong to it, and none on the other levels, which begin at 16 px.
    A box of 40 px around it: on the first level every position is 20 px or more from a side. On the second 16
    and 24 are closer than 12 px (8 is not), and 24 px from a side. On the third 16 and 32 are closer than 24 px,
    not more than 32 px from a side, which is where that level begins; 0 is at the edge.
    """
    detector = detector_of(SPEC.with_changes({"range_strides": 4.0}))
    outputs = outputs_of(detector)
    boxes = torch.tensor([[12.0, 12.0, 28.0, 28.0], [0.0, 0.0, 40.0, 40.0]])
    first, second, third = matched(detector, boxes, outputs).split(POSITIONS)
    assert detector.own_levels(boxes, outputs).tolist() == [0, 1]
    assert (first.view(24, 24) == 0).nonzero().tolist() == [[y, x] for y in (4, 5, 6) for x in (4, 5, 6)]
    assert (second.view(12, 12) == 1).nonzero().tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]
    assert [int((level >= 0).sum()) for level in (first, second, third)] == [9, 4, 0]


def test_of_two_boxes_around_a_position_the_smaller_one_has_it() -> None:
    detector = detector_of()
    outputs = outputs_of(detector)
    nested = torch.tensor([[10.0, 10.0, 30.0, 30.0], [14.0, 14.0, 26.0, 26.0]])
    for boxes, smaller in ((nested, 1), (nested.flip(0), 0)):
        assert matched(detector, boxes, outputs)[5 * 24 + 5] == smaller


def test_the_farthest_side_of_its_centre_decides_the_level_of_a_reference() -> None:
    detector = detector_of(SPEC.with_changes({"range_strides": 3.0}))
    outputs = outputs_of(detector)
    sides = [10.0, 23.9, 24.1, 47.9, 48.1, 90.0]
    flat = torch.tensor([[2.0, 2.0, 2 + side, 8.0] for side in sides])
    assert detector.own_levels(flat, outputs).tolist() == [0, 0, 1, 1, 2, 2]
    assert FCOS_R50_FPN.strides_px() == (8, 16, 32, 64, 128)


def test_a_reference_is_drawn_on_every_level_or_on_its_own() -> None:
    """(40, 40), (40, 40) and (48, 48) px are nearest to the centre (41, 41); 40 px belong to the second level."""
    known = target([[21.0, 21.0, 61.0, 61.0]], [1])
    everywhere = detector_of()
    encoded = everywhere.encode([known], outputs_of(everywhere))
    assert [heatmap.eq(1).nonzero().tolist() for heatmap in encoded.heatmaps] == [
        [[0, 1, 10, 10]],
        [[0, 1, 5, 5]],
        [[0, 1, 3, 3]],
    ]
    own = detector_of(SPEC.with_changes({"mining.references": "own_level"}))
    encoded = own.encode([known], outputs_of(own))
    assert [heatmap.sum() > 0 for heatmap in encoded.heatmaps] == [False, True, False]


def test_a_reference_of_a_level_that_is_not_mined_is_drawn_nowhere_and_nothing_is_mined_for_it() -> None:
    spec = SPEC.with_changes({"mining": {"levels": 2, "references": "own_level"}})
    detector = detector_of(spec)
    outputs = outputs_of(detector)
    levels = detector.levels(outputs, detector.encode([target([[2.0, 2.0, 92.0, 90.0]], [1])], outputs))
    assert [level.grid for level in levels] == [Grid(4, 0), Grid(8, 0)]
    assert all(level.heatmap.eq(0).all() for level in levels)


def test_miners_see_the_maps_the_head_is_fed_with_or_its_last_ones_and_its_scores() -> None:
    detector = detector_of()
    outputs = outputs_of(detector, 2)
    levels = detector.levels(outputs, detector.encode([target(BOXES, [0, 2, 1, 0])] * 2, outputs))
    assert [tuple(level.features.shape) for level in levels] == [(2, 32, 24, 24), (2, 32, 12, 12), (2, 32, 6, 6)]
    scores = torch.cat([level.scores.flatten(2) for level in levels], dim=2).transpose(1, 2)
    assert torch.equal(scores, outputs.class_logits.sigmoid())
    head = detector.head.classification_head
    torch.testing.assert_close(head([level.features for level in levels]), outputs.class_logits)
    tower = detector_of(SPEC.with_changes({"mining.features": "tower"}))
    outputs = outputs_of(tower, 2)
    levels = tower.levels(outputs, tower.encode([target(BOXES, [0, 2, 1, 0])] * 2, outputs))
    logits = tower.head.classification_head.cls_logits(levels[1].features)
    assert torch.equal(logits.permute(0, 2, 3, 1).flatten(1, 2), outputs.class_logits[:, 576:720])


def test_mined_positions_excuse_negatives_and_leave_objects_alone() -> None:
    """Eq. 5 with torchvision's alpha and gamma: a negative of soft label p keeps (1 - p)^4 of 0.75 p^2 log(1 - p)."""
    detector = detector_of()
    outputs, known = outputs_of(detector), target(BOXES, [0, 2, 1, 0])
    encoded = detector.encode([known], outputs)
    pseudo = [torch.rand(1, 3, side, side) for side in (24, 12, 6)]
    found = detector.losses(outputs, encoded, [Mined(maps) for maps in pseudo])
    soft = torch.cat([maps.flatten(2).transpose(1, 2) for maps in pseudo], dim=1)[0].double()
    score = outputs.class_logits[0].double().sigmoid()
    loss = 0.75 * (1 - soft) ** 4 * score**2 * -(1 - score).log()
    hard = 0.75 * score**2 * -(1 - score).log()
    loss[encoded.objects] = hard[encoded.objects]
    for position, label in zip(encoded.objects, encoded.labels, strict=True):
        own = score[position, label]
        loss[position, label] = 0.25 * (1 - own) ** 2 * -own.log()
    assert found["class"].total.item() == pytest.approx(loss.sum().item(), rel=1e-4)
    assert found["class"].count == len(encoded.objects)
    plain = detector.losses(outputs, encoded, [Mined()] * 3)
    for name in ("box", "centre"):
        assert torch.equal(found[name].total, plain[name].total)


def test_left_out_positions_lose_their_negative_loss_only() -> None:
    detector = detector_of()
    outputs, known = outputs_of(detector), target(BOXES[:1], [0])
    encoded = detector.encode([known], outputs)
    everything = [Mined(ignored=torch.ones(1, 3, side, side, dtype=torch.bool)) for side in (24, 12, 6)]
    found = detector.losses(outputs, encoded, everything)["class"]
    logits = outputs.class_logits[0, encoded.objects].double()
    score = logits.sigmoid()
    loss = 0.75 * score**2 * -(1 - score).log()
    loss[:, 0] = 0.25 * (1 - score[:, 0]) ** 2 * -score[:, 0].log()
    assert found.total.item() == pytest.approx(loss.sum().item(), rel=1e-4)
    assert found.count == len(encoded.objects) > 0


def test_centerness_is_one_in_the_middle() -> None:
    assert centerness(torch.tensor([[3.0, 5.0, 3.0, 5.0]])) == 1
    assert centerness(torch.tensor([[1.0, 1.0, 9.0, 1.0]])).item() == pytest.approx(1 / 3)


def test_no_position_is_in_doubt() -> None:
    detector = detector_of()
    outputs = outputs_of(detector)
    assert IGNORED not in matched(detector, torch.tensor(BOXES), outputs)
    assert detector.encode([target(BOXES, [0, 1, 2, 0])], outputs).ignored is None
