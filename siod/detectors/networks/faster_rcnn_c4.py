"""Faster R-CNN on C4 features: proposals from the last stage but one, regions seen through the last stage.

B images of H x W pixels, C classes, D feature channels, h x w positions of the C4 features (P anchors on
them), R regions of the batch.

DMiner works on positions and needs classes; the proposal network has neither. With ``mining_branch`` a
class-wise classifier stands beside it, in training only: a convolution whose features the miners compare,
and a heatmap of C classes. Where the paper is silent on what the mined labels do, this is decided:

- The branch learns what CenterNet's heatmap learns, by the same penalty-reduced focal loss, mined labels
  added to the target (Eq. 5): the miners meet what they were made for. Its features are normalised before
  they are rectified, as CenterNet's are; those of a bare convolution come to resemble each other everywhere.
- An anchor's soft label is the mean of the mined labels around it, over more positions for larger anchors,
  for the class that has most of it. The paper's soft labels are of classes while objectness has none, and an
  anchor is an object if it is one of any class. Annotated boxes are no part of it: anchors near them have
  their hard labels already.
- A background anchor with soft label p keeps (1 - p)^4 of its objectness loss, the factor by which Eq. 5
  excuses a negative of the branch. Like there a mined label never says that there is an object, only how
  little is known about there being none: a false one costs a missed lesson, not a wrong one. Entries that
  are to be left out count as p = 1.
- Sampling and the number of sampled anchors that divides the loss stay as they are, and so does the region head but
  for reject: a background region whose centre is nearest to a position with a rejected entry of any class neither
  enters the region head's class loss nor counts in it, as SparseDet (Suri et al., ICCV 2023) leaves such proposals out
  of its sampler. An object learns its class there as anywhere.

Where nobody looked for a class in an image, its negatives are left out: of the branch's heatmap, and in the region head
the logit of the class is no part of the softmax of a region that is of another class or background. Objectness has no
classes and stays as it is, so that instances of such a class still teach that there is nothing to propose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor, nn
from torchvision.ops import roi_align

from siod.detectors.backbones.building import build_backbone, freeze_stages
from siod.detectors.detector import Detector, normalise
from siod.detectors.networks.annotated import AnnotatedBoxes, annotated_boxes
from siod.detectors.networks.float32 import in_float32
from siod.detectors.networks.region_head import (
    RegionTargets,
    build_region_head,
    region_detections,
    region_terms,
    sample_regions,
)
from siod.detectors.networks.region_proposals import (
    AnchorSample,
    Proposed,
    build_proposal_network,
    image_seeds,
    proposal_terms,
    propose,
    sample_anchors,
)
from siod.ops.boxes import centres_and_sizes
from siod.ops.focal import penalty_reduced_focal_terms
from siod.ops.heatmap import draw_heatmap, grid_positions
from siod.ops.padding import listed
from siod.ops.pooling import pool_pseudo_labels
from siod.ops.ragged import index_of
from siod.types import DenseLevel, Grid, Mined, unlabelled_classes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.detectors.faster_rcnn_c4 import FasterRCNNC4
    from siod.types import Detections, LossTerm, PaddedDetections, Target

# Eq. 5, alpha: how fast the loss of a negative falls as its soft label rises.
PENALTY_POWER = 4
# A fresh branch calls one position in a hundred an object of a class: with 80 classes and few positives, a tenth as
# in CenterNet would begin with a loss ten times the others', too steep for SGD.
HEATMAP_PRIOR = 0.01


class BranchOutputs(NamedTuple):
    """What the miners see: features, and scores in [0, 1]."""

    features: Float[Tensor, "b d h w"]
    scores: Float[Tensor, "b c h w"]


@dataclass(frozen=True)
class FasterRCNNOutputs:
    """Outputs of one batch.

    With targets ``regions`` are sampled for learning, ``wanted`` and ``seeds`` are there, and ``branch`` if
    the detector has one. Without, ``regions`` are all proposals, to be made detections of.
    """

    image_size: tuple[int, int]
    grid: tuple[int, int]
    proposed: Proposed
    regions: tuple[Float[Tensor, "_ 4"], ...]
    class_logits: Float[Tensor, "r c1"]
    box_deltas: Float[Tensor, "r c4"]
    wanted: RegionTargets | None = None
    seeds: tuple[int, ...] = ()
    branch: BranchOutputs | None = None


class FasterRCNNTargets(NamedTuple):
    """What the outputs are compared with: sampled anchors, sampled regions, the branch's heatmap if there is one.

    ``unlabelled`` are the classes of each image that nobody looked for, if there are any.
    """

    anchors: AnchorSample
    regions: RegionTargets
    heatmap: Float[Tensor, "b c h w"] | None
    unlabelled: Bool[Tensor, "b c"] | None


class FasterRCNNC4Detector(Detector):
    """Faster R-CNN in which the backbone's last stage is the region head.

    Args:
        spec: Architecture and losses.
        num_classes: Without background.

    Source: Ren et al., Faster R-CNN, NeurIPS 2015; He et al., Deep Residual Learning, CVPR 2016, appendix A;
        Li et al., SIOD, CVPR 2022, section 3.4.
    """

    def __init__(self, spec: FasterRCNNC4, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.spec = spec
        self.loss_weights = {"rpn_objectness": 1.0, "rpn_box": 1.0, "roi_class": 1.0, "roi_box": 1.0}
        self.size_divisor = self.stride_px = spec.size_divisor()
        self.positions = Grid(self.stride_px, first_px=0)  # where torchvision centres the anchors
        self.backbone = build_backbone(spec)
        self.pixels = spec.pixel_statistics()
        channels = self.backbone.stage_channels[-2]
        self.rpn = build_proposal_network(spec.proposals, channels)
        self.roi_heads = build_region_head(spec.head, self.backbone.out_channels, num_classes)
        self.mining_branch: _Branch | None = None
        # Last, so that the rest draws the same random weights with it and without.
        if spec.mining_branch is not None:
            self.mining_branch = _Branch(channels, spec.mining_branch.channels, num_classes)
            self.loss_weights["heatmap"] = spec.mining_branch.weight
        freeze_stages(self.backbone, spec.frozen_stages)
        self.to(memory_format=torch.channels_last)

    def forward(
        self, images: UInt8[Tensor, "b 3 height width"], targets: Sequence[Target] | None = None
    ) -> FasterRCNNOutputs:
        """Propose regions and look at them.

        Args:
            images: RGB; height and width are multiples of ``size_divisor``.
            targets: One per image, to learn from; None for detections.

        Returns:
            The outputs; random choices follow from torch's global generator and the images.

        Raises:
            ValueError: Height or width is no multiple of ``size_divisor``.
        """
        size = self.size_of(images)
        features = self.backbone.trunk(normalise(images, self.pixels))
        proposed = propose(self.rpn, features, images)
        grid = (features.shape[-2], features.shape[-1])
        if targets is None:
            regions = proposed.regions()
            return FasterRCNNOutputs(size, grid, proposed, regions, *self._look(features, regions))
        seeds = image_seeds(images)
        regions, wanted = sample_regions(
            self.roi_heads, proposed.boxes_xyxy, proposed.present, annotated_boxes(targets), seeds
        )
        branch = None if self.mining_branch is None else self.mining_branch(features)
        looked = self._look(features, regions)
        return FasterRCNNOutputs(size, grid, proposed, regions, *looked, wanted=wanted, seeds=seeds, branch=branch)

    def _look(
        self, features: Float[Tensor, "b d h w"], regions: Sequence[Float[Tensor, "_ 4"]]
    ) -> tuple[Float[Tensor, "r c1"], Float[Tensor, "r c4"]]:
        """Class logits and box deltas of regions, seen through the last stage."""
        positions = self.spec.head.positions
        numbered = torch.cat([_images_of(regions).to(regions[0])[:, None], torch.cat(list(regions))], dim=1)
        seen = roi_align(features, numbered, positions, spatial_scale=1 / self.stride_px, aligned=True)
        pooled = self.backbone.last_stage(seen.contiguous(memory_format=torch.channels_last)).mean(dim=(2, 3))
        class_logits, box_deltas = self.roi_heads.box_predictor(pooled)
        return class_logits, box_deltas

    def encode(self, targets: Sequence[Target], outputs: FasterRCNNOutputs) -> FasterRCNNTargets:
        """Sample anchors by the seeds in the outputs, and draw the branch's heatmap.

        Raises:
            ValueError: The outputs were made without targets.
        """
        if outputs.wanted is None:
            raise ValueError("outputs must come from a forward pass with targets to be compared with them")
        known = annotated_boxes(targets)
        anchors = sample_anchors(self.rpn, outputs.proposed.anchors_xyxy, known, outputs.seeds)
        heatmap = None if outputs.branch is None else self._heatmap(known, outputs.grid)
        return FasterRCNNTargets(anchors, outputs.wanted, heatmap, unlabelled_classes(targets))

    def _heatmap(self, known: AnnotatedBoxes, grid: tuple[int, int]) -> Float[Tensor, "b c h w"]:
        shape = (len(known.present), self.num_classes, *grid)
        return draw_heatmap(self.positions.place(known.boxes_xyxy), known.labels, known.image_index, shape=shape)

    def levels(self, outputs: FasterRCNNOutputs, encoded: FasterRCNNTargets) -> tuple[DenseLevel, ...]:
        """The mining branch's features and heatmap; nothing without it."""
        if outputs.branch is None or encoded.heatmap is None:
            return ()
        return (DenseLevel(outputs.branch.features, outputs.branch.scores, encoded.heatmap, self.positions),)

    def losses(
        self, outputs: FasterRCNNOutputs, encoded: FasterRCNNTargets, mined: Sequence[Mined]
    ) -> dict[str, LossTerm]:
        """Losses of proposal network, region head and, where there is one, mining branch.

        Source: Ren et al., Faster R-CNN, NeurIPS 2015, Eq. 1; Li et al., SIOD, CVPR 2022, Eq. 5 and section 3.4;
            Suri et al., SparseDet, ICCV 2023 (what the region head leaves out).
        """
        beta = self.spec.box_beta
        level = mined[0] if mined else Mined()
        terms = proposal_terms(
            outputs.proposed, encoded.anchors, box_beta=beta, background_weight=self._background_weight(level)
        )
        terms |= region_terms(
            outputs.class_logits,
            outputs.box_deltas,
            encoded.regions,
            box_beta=beta,
            left_out=self._rejected(outputs, encoded.regions, level),
            unlabelled=None if encoded.unlabelled is None else encoded.unlabelled[_images_of(outputs.regions)],
        )
        if outputs.branch is not None and encoded.heatmap is not None:
            terms["heatmap"] = penalty_reduced_focal_terms(
                outputs.branch.scores,
                encoded.heatmap,
                pseudo=level.pseudo,
                ignored=level.ignored,
                unlabelled=encoded.unlabelled,
            )
        return terms

    def _rejected(self, outputs: FasterRCNNOutputs, wanted: RegionTargets, mined: Mined) -> Bool[Tensor, " r"] | None:
        """Which background regions have their centre nearest to a position with a rejected entry."""
        if mined.rejected is None:
            return None
        centres, _ = centres_and_sizes(self.positions.place(torch.cat(list(outputs.regions))))
        across, down = grid_positions(centres, *outputs.grid).unbind(1)
        return (wanted.labels == 0) & mined.rejected.any(dim=1)[_images_of(outputs.regions), down, across]

    def _background_weight(self, mined: Mined) -> Float[Tensor, "b p"] | None:
        if self.spec.mining_branch is None or (mined.pseudo is None and mined.ignored is None):
            return None
        soft = anchor_soft_labels(
            mined, self.spec.mining_branch.pooling_kernels, len(self.spec.proposals.anchor_ratios)
        )
        # Eq. 5: (1 - p)^alpha
        return (1 - soft) ** PENALTY_POWER

    def decode(self, outputs: FasterRCNNOutputs) -> list[Detections]:
        """Suppress doubles within each class; at most ``head.max_detections`` an image, cut off at its edge.

        Raises:
            ValueError: The outputs were made with targets, whose boxes are among the regions.
        """
        return listed(self.decode_padded(outputs))

    def decode_padded(self, outputs: FasterRCNNOutputs) -> PaddedDetections:
        """The same as one table, which spares the host a wait."""
        if outputs.wanted is not None:
            raise ValueError("outputs must come from a forward pass without targets to be detections")
        return region_detections(
            self.roi_heads, outputs.class_logits, outputs.box_deltas, outputs.regions, outputs.image_size
        )


def _images_of(regions: Sequence[Float[Tensor, "_ 4"]]) -> Int[Tensor, " r"]:
    """The image of each region."""
    return index_of([len(of_image) for of_image in regions], regions[0].device)


def anchor_soft_labels(mined: Mined, kernels: Sequence[int], ratios: int) -> Float[Tensor, "b p"]:
    """Soft labels of anchors from what was mined at positions.

    Args:
        mined: Has ``pseudo`` or ``ignored`` or both.
        kernels: For each anchor size the width of its neighbourhood in positions, odd.
        ratios: Number of anchor ratios; anchors of all sizes follow each other within a ratio.

    Returns:
        In [0, 1], in the order of the anchors.

    Source: Li et al., SIOD, CVPR 2022, section 3.4.
    """
    ignored = None if mined.ignored is None else mined.ignored.float()
    present = [maps for maps in (mined.pseudo, ignored) if maps is not None]
    labels = torch.stack(present).amax(dim=0).clamp(0, 1)
    # One kernel at a time: all classes in all widths at once would be the greatest tensor of the step.
    by_size = torch.cat([pool_pseudo_labels(labels, [kernel]).amax(dim=1) for kernel in kernels], dim=1)
    return by_size.repeat(1, ratios, 1, 1).permute(0, 2, 3, 1).flatten(1)


class _Branch(nn.Module):
    """A convolution for the miners to compare features in, and a class heatmap on it."""

    def __init__(self, channels: int, hidden: int, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, hidden, kernel_size=3, padding=1, bias=False),
            # Each channel of an image about 0. Without, all positions soon share most of their features: a few steps
            # on digits made every position of an image more similar to the reference than 0.9.
            nn.GroupNorm(hidden, hidden),
            nn.ReLU(inplace=True),
        )
        self.heatmap = nn.Conv2d(hidden, num_classes, kernel_size=1)
        in_float32(self.heatmap)
        nn.init.normal_(self.heatmap.weight, std=0.01)
        nn.init.constant_(self.heatmap.bias, math.log(HEATMAP_PRIOR / (1 - HEATMAP_PRIOR)))  # type: ignore[arg-type]

    def forward(self, features: Float[Tensor, "b d h w"]) -> BranchOutputs:
        compared = self.features(features)
        # Laid out as the heatmap it is compared with.
        logits = self.heatmap(compared).to(torch.float32, memory_format=torch.contiguous_format)
        return BranchOutputs(compared, logits.sigmoid())
