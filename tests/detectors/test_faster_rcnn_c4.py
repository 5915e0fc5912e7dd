"""Faster R-CNN on C4 features: torchvision's numbers, soft labels of anchors, and what a training loop relies on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import roi_align

from siod.detectors.detector import normalise
from siod.detectors.faster_rcnn_c4 import FasterRCNNC4, MiningBranch
from siod.detectors.networks.faster_rcnn_c4 import FasterRCNNC4Detector, anchor_soft_labels
from siod.detectors.networks.region_proposals import Drawn, draw, image_seeds, propose
from siod.detectors.region_proposals import ProposalNetwork
from siod.detectors.zoo import FASTER_RCNN_R50_C4, FASTER_RCNN_TINY, FASTER_RCNN_TINY_MINING
from siod.dminer.splg import SPLG
from siod.errors import UserError
from siod.testing.scenes import noise, target, two_targets
from siod.training.presets import DIGITS_FASTER_RCNN_DMINER, digits_faster_rcnn
from siod.types import LossTerm, Mined, Target

# Statistics of one image at a time, so that images do not depend on their batch.
PLAIN = FASTER_RCNN_TINY.with_changes({"norm": "group"})
MINING = FASTER_RCNN_TINY_MINING.with_changes({"norm": "group"})


def detector_of(spec: FasterRCNNC4, classes: int = 3) -> FasterRCNNC4Detector:
    torch.manual_seed(0)
    return FasterRCNNC4Detector(spec, classes)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's global random numbers from a seed on, for the time being."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        yield


def for_torchvision(targets: list[Target], *, background: int) -> list[dict[str, Tensor]]:
    return [{"boxes": each.boxes_xyxy, "labels": each.labels + background} for each in targets]


def terms_of(
    detector: FasterRCNNC4Detector, pixels: Tensor, targets: list[Target], mined: Mined | None = None
) -> dict[str, LossTerm]:
    torch.manual_seed(3)
    outputs = detector(pixels, targets)
    return detector.losses(outputs, detector.encode(targets, outputs), [] if mined is None else [mined])


def spread_out(module: nn.Module) -> None:
    """Give weights a spread at which scores differ and boxes move."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.1)


class Aligned(nn.Module):
    """RoI align as torchvision's heads call it."""

    def __init__(self, positions: int, stride_px: int) -> None:
        super().__init__()
        self.positions, self.stride_px = positions, stride_px

    def forward(self, features: dict[str, Tensor], boxes: list[Tensor], _: object) -> Tensor:
        seen: Tensor = roi_align(features["0"], boxes, self.positions, 1 / self.stride_px, aligned=True)
        return seen


def torchvision_heads(detector: FasterRCNNC4Detector) -> RoIHeads:
    """torchvision's own heads with the detector's weights."""
    head = detector.spec.head
    box_head = nn.Sequential(detector.backbone.layer4, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return RoIHeads(
        Aligned(head.positions, detector.stride_px),
        box_head,
        detector.roi_heads.box_predictor,
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=head.sampled,
        positive_fraction=head.objects,
        bbox_reg_weights=None,
        score_thresh=head.score_threshold,
        nms_thresh=0.5,
        detections_per_img=head.max_detections,
    )


def test_proposals_and_detections_are_torchvision_s_for_the_same_weights() -> None:
    detector = detector_of(PLAIN.with_changes({"head.score_threshold": 0.2})).eval()
    spread_out(detector.rpn)
    spread_out(detector.roi_heads)
    pixels, sizes = noise(2, 96, 96), [(96, 96)] * 2
    with torch.no_grad():
        outputs = detector(pixels)
        found = detector.decode(outputs)
        features = {"0": detector.backbone.trunk(normalise(pixels))}
        proposals, _ = detector.rpn(ImageList(pixels, sizes), features)
        wanted, _ = torchvision_heads(detector).eval()(features, proposals, sizes)
    for ours, theirs in zip(outputs.regions, proposals, strict=True):
        assert len(ours) == FASTER_RCNN_TINY.proposals.kept[1]
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    for mine, expected in zip(found, wanted, strict=True):
        assert len(mine.labels) > 5
        torch.testing.assert_close(mine.boxes_xyxy, expected["boxes"], rtol=0, atol=1e-4)
        torch.testing.assert_close(mine.scores, expected["scores"])
        assert torch.equal(mine.labels, expected["labels"] - 1)


@pytest.mark.parametrize("boxes", [0, 2])
def test_all_four_losses_are_torchvision_s_for_the_same_random_choices(boxes: int) -> None:
    detector = detector_of(PLAIN.with_changes({"box_beta": 1 / 9}))
    spread_out(detector.rpn)
    pixels, targets = noise(1, 96, 96), [two_targets()[0] if boxes else target([], [])]
    torch.manual_seed(3)
    seed = image_seeds(pixels)[0]
    ours = terms_of(detector, pixels, targets)
    features = {"0": detector.backbone.trunk(normalise(pixels))}
    with seeded(seed):
        proposals, theirs = detector.rpn(
            ImageList(pixels, [(96, 96)]), features, for_torchvision(targets, background=0)
        )
    with seeded(seed):
        _, losses = torchvision_heads(detector)(features, proposals, [(96, 96)], for_torchvision(targets, background=1))
    theirs |= losses
    assert ours["rpn_objectness"].count == ours["rpn_box"].count == FASTER_RCNN_TINY.proposals.sampled
    assert ours["roi_class"].count == ours["roi_box"].count == FASTER_RCNN_TINY.head.sampled
    assert (ours["rpn_box"].total > 0) == (ours["roi_box"].total > 0) == (boxes > 0)
    torch.testing.assert_close(ours["rpn_objectness"].mean(), theirs["loss_objectness"])
    torch.testing.assert_close(ours["rpn_box"].mean(), theirs["loss_rpn_box_reg"])
    torch.testing.assert_close(ours["roi_class"].mean(), theirs["loss_classifier"])
    torch.testing.assert_close(ours["roi_box"].mean(), theirs["loss_box_reg"])


def test_the_paper_s_detector_has_detectron2_s_anchors_and_the_weights_of_its_layers() -> None:
    with torch.device("meta"):
        detector = FasterRCNNC4Detector(FASTER_RCNN_R50_C4, 80)
        published = resnet50()
    sides = {
        (round((box[2] - box[0]).item()), round((box[3] - box[1]).item()))
        for box in AnchorGenerator(((32, 64, 128, 256, 512),), ((0.5, 1.0, 2.0),)).cell_anchors[0]
    }
    assert len(sides) == detector.rpn.anchor_generator.num_anchors_per_location()[0] == 15
    assert {(32, 32), (512, 512), (46, 22), (22, 46)} <= sides  # 32 sqrt 2 = 45.3 and 32 / sqrt 2 = 22.6, rounded
    backbone = {name: value.shape for name, value in detector.backbone.state_dict().items()}
    theirs = {name: value.shape for name, value in published.state_dict().items() if not name.startswith("fc.")}
    assert backbone == {name: shape for name, shape in theirs.items() if "num_batches" not in name}
    proposing = 1024 * 1024 * 9 + 1024 + (1024 + 1) * 15 * (1 + 4)
    predicting = (2048 + 1) * 81 * (1 + 4)
    rest = sum(p.numel() for name, p in detector.named_parameters() if not name.startswith("backbone."))
    assert rest == proposing + predicting
    assert detector.size_divisor == detector.stride_px == 16
    frozen = {name.split(".")[1] for name, p in detector.named_parameters() if not p.requires_grad}
    assert frozen == {"conv1", "layer1"}


def test_features_have_half_the_stride_of_the_last_stage_and_other_sizes_are_refused() -> None:
    detector = detector_of(MINING)
    outputs = detector(noise(1, 104, 72), [target([], [])])
    assert outputs.branch is not None
    assert outputs.branch.scores.shape == (1, 3, 13, 9)
    assert len(outputs.proposed.anchors_xyxy) == 13 * 9 * 15
    with pytest.raises(ValueError, match="multiples of 8, got 96x100"):
        detector(noise(1, 96, 100))


def test_detections_and_losses_are_not_made_of_each_other_s_outputs() -> None:
    detector, targets = detector_of(PLAIN), two_targets()
    with pytest.raises(ValueError, match="without targets to be detections"):
        detector.decode(detector(noise(2, 96, 96), targets))
    with pytest.raises(ValueError, match="with targets to be compared"):
        detector.encode(targets, detector(noise(2, 96, 96)))


# Random choices.


def test_what_is_sampled_in_an_image_does_not_depend_on_its_batch() -> None:
    pixels = noise(3, 96, 96)
    torch.manual_seed(7)
    together = image_seeds(pixels)
    torch.manual_seed(7)
    assert image_seeds(pixels[2:]) == together[2:]
    assert image_seeds(pixels[2:]) != together[2:]  # another step, another choice
    detector, targets = detector_of(PLAIN), two_targets()
    whole = terms_of(detector, noise(2, 96, 96), targets)
    parts = [terms_of(detector, noise(2, 96, 96)[index : index + 1], targets[index : index + 1]) for index in range(2)]
    for name, term in whole.items():
        assert term.total.item() == pytest.approx(sum(part[name].total.item() for part in parts), rel=1e-4)
        assert term.count == sum(part[name].count for part in parts)


def labelled(images: int, candidates: int, *, of_object: float) -> Tensor:
    """1 for objects, 0 for background, -1 for what is neither."""
    odds = torch.rand(images, candidates, generator=torch.Generator().manual_seed(candidates))
    return torch.where(odds < of_object, 1.0, torch.where(odds > 0.9, -1.0, 0.0))


@pytest.mark.parametrize(("candidates", "of_object"), [(300, 0.2), (300, 0.01), (10, 0.5), (300, 0.0), (300, 1.0)])
def test_what_is_drawn_is_torchvision_s_choice_for_the_seed_of_each_image(candidates: int, of_object: float) -> None:
    labels, seeds = labelled(3, candidates, of_object=of_object), (5, 2**31 - 1, 5)
    drawn = draw(labels == 1, labels == 0, seeds, number=32, share=0.25)
    sampler = BalancedPositiveNegativeSampler(32, 0.25)
    masks = []
    for of_image, seed in zip(labels, seeds, strict=True):
        with seeded(seed):
            (objects,), (background,) = sampler([of_image])
        masks.append(torch.stack([objects, background]))
    expected = torch.stack(masks, dim=1)
    assert drawn.objects.tolist() == expected[0].flatten().nonzero().flatten().tolist()
    assert drawn.background.tolist() == expected[1].flatten().nonzero().flatten().tolist()
    assert drawn.counts == tuple(expected.sum(dim=(0, 2)).tolist())


def test_of_no_candidates_none_is_drawn() -> None:
    nothing = torch.zeros(2, 7, dtype=torch.bool)
    drawn = draw(nothing, nothing, (1, 2), number=8, share=0.5)
    assert (drawn.objects.tolist(), drawn.background.tolist(), drawn.counts) == ([], [], (0, 0))


def test_drawing_leaves_the_global_generator_where_it_was() -> None:
    labels = labelled(2, 50, of_object=0.3)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    assert isinstance(draw(labels == 1, labels == 0, (3, 4), number=8, share=0.5), Drawn)
    assert torch.equal(torch.rand(1), expected)


def test_the_same_seed_gives_the_same_losses() -> None:
    detector = detector_of(MINING)
    first, second = (terms_of(detector, noise(2, 96, 96), two_targets(), Mined()) for _ in range(2))
    assert all(torch.equal(first[name].total, second[name].total) for name in first)


# DMiner.


def test_soft_labels_of_anchors_are_means_over_the_kernel_of_their_size() -> None:
    """Worked by hand on 5 x 5 positions, two classes, 0.9 of the first and 0.6 of the second in the middle.

    Kernel 1: 0.9 in the middle. Kernel 3: 0.9 / 9 = 0.1 in the middle's neighbourhood, 0.6 / 9 for the second
    class being less. Kernel 5: 0.9 / 25 in the middle, 0.9 / 9 in a corner, which sees 3 x 3 positions.
    """
    pseudo = torch.zeros(1, 2, 5, 5)
    pseudo[0, :, 2, 2] = torch.tensor([0.9, 0.6])
    soft = anchor_soft_labels(Mined(pseudo), (1, 3, 5), ratios=2).view(5, 5, 2, 3)
    torch.testing.assert_close(soft[2, 2], torch.tensor([[0.9, 0.1, 0.036]] * 2))
    torch.testing.assert_close(soft[1, 3], torch.tensor([[0.0, 0.1, 0.9 / 16]] * 2))
    torch.testing.assert_close(soft[4, 0], torch.tensor([[0.0, 0.0, 0.1]] * 2))


def test_soft_labels_are_in_the_order_of_the_anchors() -> None:
    detector = detector_of(MINING.with_changes({"mining_branch.pooling_kernels": (1, 3, 5, 7, 9)}), 1)
    pseudo = torch.zeros(1, 1, 12, 12)
    pseudo[0, 0, 5, 7] = 1.0
    soft = anchor_soft_labels(Mined(pseudo), (1, 3, 5, 7, 9), ratios=3)[0]
    anchors = propose(detector.rpn, torch.zeros(1, 64, 12, 12), noise(1, 96, 96)).anchors_xyxy
    at_position = ((anchors[:, :2] + anchors[:, 2:]) / 2 - torch.tensor([7.0, 5.0]) * 8).abs().amax(dim=1) < 1
    sides = (anchors[at_position, 2:] - anchors[at_position, :2]).prod(dim=1).sqrt()
    wanted = [1 / kernel**2 for kernel in (1, 3, 5, 7, 9)]
    nearest = (sides[:, None] - torch.tensor(PLAIN.proposals.anchor_sizes_px)).abs().argmin(dim=1)
    assert nearest.bincount().tolist() == [3] * 5
    torch.testing.assert_close(soft[at_position], torch.tensor(wanted)[nearest])


@pytest.mark.parametrize(("soft", "kept"), [(0.0, 1.0), (0.5, 1 / 16), (1.0, 0.0)])
def test_a_background_anchor_keeps_the_fourth_power_of_its_doubt(soft: float, kept: float) -> None:
    detector, targets, pixels = detector_of(MINING), two_targets(), noise(2, 96, 96)
    spread_out(detector.rpn)
    plain = terms_of(detector, pixels, targets, Mined())
    everywhere = terms_of(detector, pixels, targets, Mined(torch.full((2, 3, 12, 12), soft)))
    excused = terms_of(detector, pixels, targets, Mined(ignored=torch.ones(2, 3, 12, 12, dtype=torch.bool)))
    objects = excused["rpn_objectness"].total  # nothing of the background is left
    assert 0 < objects < plain["rpn_objectness"].total
    expected = objects + kept * (plain["rpn_objectness"].total - objects)
    torch.testing.assert_close(everywhere["rpn_objectness"].total, expected)
    assert everywhere["rpn_objectness"].count == plain["rpn_objectness"].count
    for name in ("rpn_box", "roi_class", "roi_box"):
        assert torch.equal(everywhere[name].total, plain[name].total)


def test_what_all_positions_share_does_not_make_them_similar_to_the_miners() -> None:
    branch = detector_of(MINING).mining_branch
    assert branch is not None
    noise = torch.randn(1, 64, 12, 12, generator=torch.Generator().manual_seed(0))
    directions = nn.functional.normalize(branch(noise + 10).features[0].flatten(1), dim=0)
    assert (directions.T @ directions).median() < SPLG().min_similarity


def test_mined_labels_enter_the_branch_as_they_enter_centernet_s_heatmap() -> None:
    detector, targets, pixels = detector_of(MINING), two_targets(), noise(2, 96, 96)
    torch.manual_seed(3)
    outputs = detector(pixels, targets)
    encoded = detector.encode(targets, outputs)
    assert outputs.branch is not None
    assert encoded.heatmap is not None
    # Anchors centred at (16, 16), (64, 48) and (32, 48) px are nearest to centres (19, 18), (62, 50) and (35, 46) px.
    assert encoded.heatmap.eq(1).nonzero().tolist() == [[0, 0, 2, 2], [0, 2, 6, 8], [1, 1, 6, 4]]
    pseudo = torch.rand(2, 3, 12, 12) * (encoded.heatmap == 0)
    wanted, score = encoded.heatmap + pseudo, outputs.branch.scores.double()
    focal = torch.where(wanted == 1, (1 - score) ** 2 * score.log(), (1 - wanted) ** 4 * score**2 * (1 - score).log())
    found = detector.losses(outputs, encoded, [Mined(pseudo)])["heatmap"]
    assert found.count == 3
    assert found.total.item() == pytest.approx(-focal.sum().item(), rel=1e-4)


def test_a_branch_leaves_the_other_losses_as_they_are_to_the_bit() -> None:
    plain = terms_of(detector_of(PLAIN), noise(2, 96, 96), two_targets())
    beside = terms_of(detector_of(MINING), noise(2, 96, 96), two_targets(), Mined())
    assert beside.keys() - plain.keys() == {"heatmap"}
    assert all(torch.equal(beside[name].total, term.total) for name, term in plain.items())


def test_the_branch_is_all_that_a_plain_detector_lacks_and_no_work_without_targets() -> None:
    plain, mining = detector_of(PLAIN), detector_of(MINING)
    extra = mining.state_dict().keys() - plain.state_dict().keys()
    assert {name.split(".")[0] for name in extra} == {"mining_branch"}
    assert mining(noise(1, 96, 96)).branch is None


def test_under_autocast_anchors_stay_float32() -> None:
    """In half precision the corners of large anchors would lose whole pixels."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = detector_of(MINING)(noise(1, 96, 96), two_targets()[:1])
    assert outputs.proposed.objectness.dtype == outputs.proposed.deltas.dtype == torch.float32
    assert outputs.proposed.anchors_xyxy.dtype == torch.float32


# Settings.


def test_dminer_without_the_branch_it_works_on_is_refused() -> None:
    with pytest.raises(UserError, match=r"dminer needs detector\.mining_branch"):
        digits_faster_rcnn().with_changes({"dminer": DIGITS_FASTER_RCNN_DMINER})


def test_settings_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(UserError, match="pooling_kernels must have one entry for each of the 5"):
        FASTER_RCNN_R50_C4.with_changes({"mining_branch": MiningBranch(pooling_kernels=(1, 3))})
    with pytest.raises(UserError, match="pooling_kernels must be odd"):
        FASTER_RCNN_TINY_MINING.with_changes({"mining_branch.pooling_kernels": (1, 3, 3, 4, 5)})
    with pytest.raises(UserError, match=r"background_iou 0\.8 must not be above object_iou 0\.7"):
        ProposalNetwork.parse({"background_iou": 0.8}, source="proposals")


@pytest.mark.parametrize("sizes", [(32, 32), (8, 9), (12, 20, 21)])
def test_anchors_that_are_the_same_in_whole_pixels_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=rf"anchor_sizes_px {sizes[-2]} and {sizes[-1]} make an anchor"):
        ProposalNetwork.parse({"anchor_sizes_px": sizes}, source="proposals")


def test_anchors_that_leave_gaps_between_positions_are_refused() -> None:
    """The stride is 8 px: the tiny preset's smallest anchors, of 12 px, have larger ones beside them."""
    with pytest.raises(UserError, match=r"15 px at most leave gaps between positions 8 px apart; add one of 16"):
        FASTER_RCNN_TINY.with_changes({"proposals.anchor_sizes_px": (4, 15)})
    assert FASTER_RCNN_TINY.with_changes({"proposals.anchor_sizes_px": (4, 16)}).proposals.anchor_sizes_px == (4, 16)
