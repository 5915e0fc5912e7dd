"""RetinaNet: torchvision's losses, levels of references, and pseudo labels pooled for anchors."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import detection

from siod.detectors.networks.fpn import PyramidOutputs
from siod.detectors.networks.retinanet import RetinaNetDetector
from siod.detectors.retinanet import RetinaNet
from siod.detectors.zoo import RETINANET_R50_FPN, RETINANET_TINY
from siod.errors import UserError
from siod.testing.scenes import noise, target
from siod.types import Mined

# Statistics of one image at a time.
SPEC = RETINANET_TINY.with_changes({"norm": "group"})
BOXES = [[4.0, 6.0, 22.0, 25.0], [10.0, 12.0, 50.0, 55.0], [30.0, 8.0, 94.0, 70.0], [60.0, 60.0, 72.0, 74.0]]


def detector_of(spec: RetinaNet = SPEC, classes: int = 3) -> RetinaNetDetector:
    torch.manual_seed(0)
    return RetinaNetDetector(spec, classes)


def outputs_of(detector: RetinaNetDetector, batch: int = 1) -> PyramidOutputs:
    """Outputs at which boxes and scores differ from anchor to anchor."""
    with torch.no_grad():
        for layer in (detector.head.regression_head.bbox_reg, detector.head.classification_head.cls_logits):
            layer.weight.normal_(std=0.1)
    outputs: PyramidOutputs = detector(noise(batch, 96, 96))
    return outputs


class NothingToLookThrough(nn.Module):
    """Stands for torchvision's backbone where its losses are computed from given outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.out_channels = 32


@pytest.mark.parametrize("count", [0, 1, 4])
def test_both_losses_of_an_image_are_torchvision_s(count: int) -> None:
    detector = detector_of()
    theirs = detection.RetinaNet(NothingToLookThrough(), 3, anchor_generator=detector.anchor_generator)
    outputs, known = outputs_of(detector), target(BOXES[:count], [0, 2, 1, 0][:count])
    expected = theirs.compute_loss(
        [{"boxes": known.boxes_xyxy, "labels": known.labels}],
        {"cls_logits": outputs.class_logits, "bbox_regression": outputs.deltas},
        [outputs.anchors_xyxy],
    )
    encoded = detector.encode([known], outputs)
    ours = detector.losses(outputs, encoded, [Mined()] * 3)
    assert encoded.ignored is not None
    assert (len(encoded.objects) > 0) == bool(encoded.ignored.any()) == (count > 0)
    torch.testing.assert_close(ours["class"].mean(), expected["classification"])
    torch.testing.assert_close(ours["box"].mean(), expected["bbox_regression"])


def test_the_paper_s_detector_has_nine_anchors_of_three_ratios_on_five_levels() -> None:
    with torch.device("meta"):
        detector = RetinaNetDetector(RETINANET_R50_FPN, 80)
    assert detector.anchor_generator.num_anchors_per_location() == [9] * 5
    assert detector.anchor_generator.sizes[0] == (32, 40, 50)
    assert detector.anchor_generator.sizes[-1] == (512, 645, 812)
    assert detector.spec.strides_px() == (8, 16, 32, 64, 128)


def test_the_anchor_that_overlaps_a_box_most_decides_its_level() -> None:
    """The widths are 12, 15, 19, then 24, 30, 38, then 48, 60, 76 px."""
    detector = detector_of()
    outputs = outputs_of(detector)
    squares = torch.tensor([[24.0, 24.0, 24 + side, 24 + side] for side in (12.0, 18.0, 26.0, 37.0, 50.0, 70.0)])
    assert detector.own_levels(squares, outputs).tolist() == [0, 0, 1, 1, 2, 2]
    assert detector.own_levels(squares[:0], outputs).tolist() == []


def test_soft_labels_of_anchors_are_means_over_the_kernel_of_their_size() -> None:
    """Worked by hand on 5 x 5 positions with 0.9 in the middle.

    Kernel 1: 0.9 in the middle alone. Kernel 3: 0.9 / 9 around it. Kernel 5: 0.9 / 25 in the middle; 0.9 / 9 in
    a corner, which sees 3 x 3 positions; 0.9 / 15 in the middle of an edge, which sees 3 x 5.
    """
    detector = detector_of(SPEC.with_changes({"pooling_kernels": (1, 3, 5)}))
    pseudo = torch.zeros(1, 2, 5, 5)
    pseudo[0, 1, 2, 2] = 0.9
    soft = detector.soft_labels(pseudo)
    assert soft.shape == (1, 5 * 5 * 9, 2)
    of_anchors = soft.view(5, 5, 3, 3, 2)
    assert of_anchors[..., 0].eq(0).all()
    expected = torch.zeros(3, 5, 5)
    expected[0, 2, 2] = 0.9
    expected[1, 1:4, 1:4] = 0.1
    expected[2] = torch.tensor(
        [
            [0.9 / 9, 0.9 / 12, 0.9 / 15, 0.9 / 12, 0.9 / 9],
            [0.9 / 12, 0.9 / 16, 0.9 / 20, 0.9 / 16, 0.9 / 12],
            [0.9 / 15, 0.9 / 20, 0.9 / 25, 0.9 / 20, 0.9 / 15],
            [0.9 / 12, 0.9 / 16, 0.9 / 20, 0.9 / 16, 0.9 / 12],
            [0.9 / 9, 0.9 / 12, 0.9 / 15, 0.9 / 12, 0.9 / 9],
        ]
    )
    for ratio in range(3):
        torch.testing.assert_close(of_anchors[:, :, ratio, :, 1].permute(2, 0, 1), expected)


def test_soft_labels_are_in_the_order_of_the_anchors() -> None:
    """At every position the anchors of one ratio follow each other, from the smallest to the largest."""
    detector = detector_of(SPEC.with_changes({"pooling_kernels": (1, 3, 5)}))
    anchors = outputs_of(detector).anchors_xyxy[: 24 * 24 * 9].view(24, 24, 3, 3, 4)
    middles = (anchors[..., :2] + anchors[..., 2:]) / 2
    wanted = torch.stack(torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="xy"), dim=-1) * 4
    assert (middles - wanted[:, :, None, None]).abs().max() < 1
    sides = (anchors[..., 2:] - anchors[..., :2]).prod(dim=-1).sqrt()
    assert (sides.diff(dim=3) > 1).all()
    assert (sides.std(dim=2) < 1).all()


def test_mined_positions_excuse_the_anchors_around_them() -> None:
    """Eq. 5 with torchvision's alpha and gamma: a negative of soft label p keeps (1 - p)^4 of 0.75 s^2 log(1 - s)."""
    detector = detector_of()
    outputs, known = outputs_of(detector), target(BOXES, [0, 2, 1, 0])
    encoded = detector.encode([known], outputs)
    pseudo = [torch.rand(1, 3, side, side) for side in (24, 12, 6)]
    found = detector.losses(outputs, encoded, [Mined(maps) for maps in pseudo])
    soft = torch.cat([detector.soft_labels(maps) for maps in pseudo], dim=1)[0].double()
    score = outputs.class_logits[0].double().sigmoid()
    hard = 0.75 * score**2 * -(1 - score).log()
    loss = (1 - soft) ** 4 * hard
    loss[encoded.objects] = hard[encoded.objects]
    own = score[encoded.objects, encoded.labels]
    loss[encoded.objects, encoded.labels] = 0.25 * (1 - own) ** 2 * -own.log()
    assert encoded.ignored is not None
    loss[encoded.ignored[0]] = 0
    assert found["class"].total.item() == pytest.approx(loss.sum().item(), rel=1e-4)
    assert found["class"].count == len(encoded.objects)
    assert torch.equal(found["box"].total, detector.losses(outputs, encoded, [Mined()] * 3)["box"].total)


def test_miners_see_the_best_anchor_of_each_class() -> None:
    detector = detector_of()
    outputs = outputs_of(detector, 2)
    levels = detector.levels(outputs, detector.encode([target(BOXES, [0, 2, 1, 0])] * 2, outputs))
    scores = outputs.class_logits.sigmoid()[:, 24 * 24 * 9 : (24 * 24 + 12 * 12) * 9].view(2, 12, 12, 9, 3)
    assert torch.equal(levels[1].scores[1, 2, 3, 7], scores[1, 3, 7, :, 2].max())
    assert [level.scores.shape[-1] for level in levels] == [24, 12, 6]


def test_settings_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(UserError, match="pooling_kernels must be odd"):
        RETINANET_TINY.with_changes({"pooling_kernels": (1, 2, 3)})
    with pytest.raises(UserError, match=r"background_iou 0\.6 must not be above object_iou 0\.5"):
        RETINANET_TINY.with_changes({"background_iou": 0.6})


@pytest.mark.parametrize("strides", [0.1, 1.5, 1.99])
def test_anchors_below_two_strides_are_refused(strides: float) -> None:
    with pytest.raises(UserError, match=rf"anchor_strides {strides} leaves gaps between anchors; set it to 2 or more"):
        RETINANET_TINY.with_changes({"anchor_strides": strides})


def test_anchors_that_are_the_same_in_whole_pixels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The finest level of a backbone whose last stride is 8 px has stride 2: widths of 4, 5 and 6 px."""
    monkeypatch.setattr(RetinaNet, "strides_px", lambda _: (2, 4, 8))
    with pytest.raises(UserError, match=r"anchor_strides 2 makes anchors of \(4, 5, 6\) px at the finest level"):
        RETINANET_TINY.with_changes({"anchor_strides": 2.0})


@pytest.mark.parametrize("strides", [2.0, 2.5, 3.0, 8.0])
def test_all_nine_anchors_of_a_position_differ(strides: float) -> None:
    detector = detector_of(SPEC.with_changes({"anchor_strides": strides}))
    anchors = outputs_of(detector).anchors_xyxy
    for level, side in enumerate((24, 12, 6)):
        first = sum(9 * other**2 for other in (24, 12, 6)[:level])
        assert len(set(map(tuple, anchors[first : first + 9].tolist()))) == 9, side


def test_a_box_in_the_lower_right_corner_is_one_anchor_s() -> None:
    """With 0.75 strides it met none and had all of the image."""
    detector = detector_of(SPEC.with_changes({"anchor_strides": 2.0}))
    outputs = outputs_of(detector)
    assert 1 <= len(detector.encode([target([[94.0, 94.0, 96.0, 96.0]], [0])], outputs).objects) <= 9
