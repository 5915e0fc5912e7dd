"""What detectors on a feature pyramid share: the levels P3 to P7, what miners see of them, and detections.

A family adds its head, how anchors are given to boxes, and its box losses. Parts are torchvision's, and so are
the names of the parameters, except that ``backbone.body`` is ``backbone`` and ``backbone.fpn`` is ``fpn``.

Where the paper is silent on DMiner, this is decided:

- Miners look at the maps the heads are fed with (P3, P4, P5 of ``mining.levels`` 3), as they do in CenterNet, and
  at the class scores; where a position has several anchors, at the best score of each class.
- An annotated instance has its Gaussian on each mined level (``mining.references`` every_level), or only on the
  one that is to detect it (own_level). The first is the default: a hidden instance is often of another size than
  the reference, hence on another level, where it would have nothing to resemble.
- Its peak is at the position whose anchors are centred nearest to its own centre, and a mined position is judged by
  whether the centre of its anchors is inside a hidden instance.
- On a level without any reference nothing is mined and no contrast is drawn, for that class or, where there is
  none at all, for that image; such images do not count in the mean. That happens with own_level only, to
  instances of P6 and P7.
- What reject leaves out of the mined levels is left out of the anchors there, as a soft label of 1 would do; the other
  levels teach as ever.
- Pseudo labels change the classification loss alone, by Eq. 5 (:func:`siod.ops.focal.sigmoid_focal_terms`).
  Annotated Gaussians do not: these families have hard labels there. An anchor that is given to an annotated
  instance is labelled, whatever was mined at its position.

Where nobody looked for a class in an image, no anchor of any level learns that it is not that class.

B images, C classes, D channels, N annotated boxes of the batch, A anchors at a position, h x w positions of a
level, P anchors of all levels; those of one position follow each other.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FeaturePyramidNetwork, clip_boxes_to_image
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from siod.detectors.backbones.building import build_backbone, freeze_stages
from siod.detectors.detector import Detector, normalise
from siod.detectors.networks.annotated import AnnotatedBoxes, annotated_boxes
from siod.detectors.networks.published import load_torchvision_state
from siod.ops.focal import sigmoid_focal_terms
from siod.ops.heatmap import draw_heatmap
from siod.ops.matching import IGNORED
from siod.ops.padding import listed
from siod.ops.suppression import best_detections
from siod.types import DenseLevel, Grid, unlabelled_classes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torchvision.models.detection.anchor_utils import AnchorGenerator

    from siod.detectors.fpn import PyramidSpec
    from siod.detectors.networks.published import Published
    from siod.types import Detections, LossTerm, Mined, PaddedDetections, Target


class PyramidOutputs(NamedTuple):
    """Outputs of one batch; logits are before the sigmoid, ``deltas`` as the family's box coder has them.

    ``features`` are those of the mined levels, ``grids`` the heights and widths of all.
    """

    image_size: tuple[int, int]
    grids: tuple[tuple[int, int], ...]
    features: tuple[Float[Tensor, "b d _ _"], ...]
    class_logits: Float[Tensor, "b p c"]
    deltas: Float[Tensor, "b p 4"]
    anchors_xyxy: Float[Tensor, "p 4"]
    centre_logits: Float[Tensor, "b p"] | None = None


@dataclass(frozen=True)
class PyramidTargets:
    """What the outputs are compared with.

    ``objects`` are the anchors given to a box, as indices into all B x P, with its label and the box itself;
    ``ignored`` ones are neither objects nor background. ``heatmaps`` has one map for each mined level. ``unlabelled``
    are the classes of each image that nobody looked for, if there are any.
    """

    objects: Int[Tensor, " n"]
    labels: Int[Tensor, " n"]
    boxes_xyxy: Float[Tensor, "n 4"]
    ignored: Bool[Tensor, "b p"] | None
    heatmaps: tuple[Float[Tensor, "b c _ _"], ...]
    unlabelled: Bool[Tensor, "b c"] | None


class PyramidDetector(Detector):
    """A detector whose one head looks at every level of a feature pyramid.

    Args:
        spec: Architecture and losses.
        num_classes: Without background.
        head: Has torchvision's ``classification_head`` and ``regression_head``.
        anchors: One set of sizes and ratios for each level.

    Source: Lin et al., Feature Pyramid Networks, CVPR 2017; Li et al., SIOD, CVPR 2022, section 3.4.
    """

    may_ignore = False
    """Whether an anchor may be neither an object nor background."""
    published: Published
    """torchvision's weights of the family with ResNet-50."""

    def __init__(self, spec: PyramidSpec, num_classes: int, head: Any, anchors: AnchorGenerator) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.size_divisor = spec.size_divisor()
        self.pyramid = spec
        self.backbone = build_backbone(spec)
        self.pixels = spec.pixel_statistics()
        channels = spec.pyramid_channels
        extra = LastLevelP6P7(channels, channels) if spec.extra_levels else None
        self.fpn = FeaturePyramidNetwork(list(self.backbone.stage_channels[-3:]), channels, extra)
        self.head = head
        self.anchor_generator = anchors
        freeze_stages(self.backbone, spec.frozen_stages)
        self.to(memory_format=torch.channels_last)

    def forward(
        self,
        images: UInt8[Tensor, "b 3 height width"],
        targets: Sequence[Target] | None = None,  # noqa: ARG002  (nothing is sampled)
    ) -> PyramidOutputs:
        """Compute the outputs of all levels.

        Args:
            images: RGB; height and width are multiples of ``size_divisor``.
            targets: Not read.

        Returns:
            The outputs; logits and deltas in float32 whatever the precision of the rest.

        Raises:
            ValueError: Height or width is no multiple of ``size_divisor``.
        """
        size = self.size_of(images)
        stages = self.backbone.stages(normalise(images, self.pixels))
        levels = list(self.fpn(OrderedDict(zip("345", stages, strict=True))).values())
        # torchvision's class head in two steps, for the sake of the maps between them.
        towers = [self.head.classification_head.conv(level) for level in levels]
        logits = [self._of_each_anchor(self.head.classification_head.cls_logits(tower)) for tower in towers]
        boxes = self.head.regression_head(levels)
        deltas, centre_logits = boxes if isinstance(boxes, tuple) else (boxes, None)
        grids = tuple((level.shape[-2], level.shape[-1]) for level in levels)
        seen = towers if self.pyramid.mining.features == "tower" else levels
        return PyramidOutputs(
            image_size=size,
            grids=grids,
            features=tuple(seen[: self.pyramid.mining.levels]),
            class_logits=torch.cat(logits, dim=1).float(),
            deltas=deltas.float(),
            anchors_xyxy=self._anchors(images, grids),
            centre_logits=None if centre_logits is None else centre_logits.squeeze(2).float(),
        )

    def _of_each_anchor(self, logits: Float[Tensor, "b ac h w"]) -> Float[Tensor, "b _ c"]:
        return logits.permute(0, 2, 3, 1).reshape(len(logits), -1, self.num_classes)

    def _anchors(self, images: Tensor, grids: Sequence[tuple[int, int]]) -> Float[Tensor, "p 4"]:
        # The generator reads sizes, device and dtype: float32, or else large anchors lose their last pixels.
        maps = [torch.empty(1, 1, *grid, device=images.device) for grid in grids]
        anchors: Tensor = self.anchor_generator(ImageList(images, [(0, 0)]), maps)[0]
        return anchors

    def encode(self, targets: Sequence[Target], outputs: PyramidOutputs) -> PyramidTargets:
        """Give anchors to boxes, and draw the boxes on the mined levels; the host waits once."""
        known = annotated_boxes(targets)
        matches = self.assign(known, outputs)
        objects = (matches >= 0).flatten().nonzero().squeeze(1)
        slots = known.slots_of(matches, objects)
        return PyramidTargets(
            objects=objects,
            labels=known.slot_labels.flatten()[slots],
            boxes_xyxy=known.slots_xyxy.flatten(0, 1)[slots],
            ignored=matches == IGNORED if self.may_ignore else None,
            heatmaps=self._heatmaps(known, outputs),
            unlabelled=unlabelled_classes(targets),
        )

    def _heatmaps(self, known: AnnotatedBoxes, outputs: PyramidOutputs) -> tuple[Tensor, ...]:
        mining = self.pyramid.mining
        own_level = None if mining.references == "every_level" else self.own_levels(known.boxes_xyxy, outputs)
        batch, maps = len(outputs.class_logits), []
        for level, (grid, stride) in enumerate(zip(outputs.grids, self.pyramid.strides_px(), strict=True)):
            if level == mining.levels:
                break
            maps.append(
                draw_heatmap(
                    _positions(stride).place(known.boxes_xyxy),
                    known.labels,
                    known.image_index,
                    shape=(batch, self.num_classes, *grid),
                    drawn=None if own_level is None else own_level == level,
                )
            )
        return tuple(maps)

    @abstractmethod
    def assign(self, known: AnnotatedBoxes, outputs: PyramidOutputs) -> Int[Tensor, "b p"]:
        """Give the anchors of each image to its boxes.

        Args:
            known: The annotated boxes; an image may have none.
            outputs: They tell anchors and grids.

        Returns:
            For each anchor the slot of its box, or BACKGROUND or IGNORED.
        """

    @abstractmethod
    def own_levels(self, boxes_xyxy: Float[Tensor, "n 4"], outputs: PyramidOutputs) -> Int[Tensor, " n"]:
        """The level that is to detect each box."""

    def levels(self, outputs: PyramidOutputs, encoded: PyramidTargets) -> tuple[DenseLevel, ...]:
        """The finest levels: the maps the head is fed with, and the best anchor's score of each class."""
        # Miners choose by the scores and pass no gradient into them.
        logits = self._per_level(outputs.class_logits.detach(), outputs)
        mined = zip(outputs.features, encoded.heatmaps, logits, self.pyramid.strides_px(), strict=False)
        return tuple(
            DenseLevel(
                features, _best_scores(found, (features.shape[-2], features.shape[-1])), heatmap, _positions(stride)
            )
            for features, heatmap, found, stride in mined
        )

    def _per_level(self, values: Tensor, outputs: PyramidOutputs) -> tuple[Tensor, ...]:
        return torch.split(values, anchor_counts(outputs), dim=1)

    def class_term(self, outputs: PyramidOutputs, encoded: PyramidTargets, mined: Sequence[Mined]) -> LossTerm:
        """The focal loss of all anchors, what was mined included.

        Args:
            outputs: Of ``forward``.
            encoded: Of ``encode``.
            mined: One for each mined level; none at all is a plain detector's loss.

        Returns:
            The sum, counted by the positives.

        Source: Lin et al., Focal Loss, ICCV 2017, Eq. 5; Li et al., SIOD, CVPR 2022, Eq. 5.
        """
        target = torch.zeros_like(outputs.class_logits)
        target.view(-1).index_fill_(0, encoded.objects * self.num_classes + encoded.labels, 1)
        pseudo = self._of_anchors([level.pseudo for level in mined], outputs, encoded)
        left_out = self._of_anchors([level.ignored for level in mined], outputs, encoded)
        # What is left out counts as a soft label of 1, which is not one of the positives.
        kept = None if left_out is None else (1 - left_out).square_().square_()
        if encoded.ignored is not None:
            certain = (~encoded.ignored)[:, :, None].to(target.dtype)
            kept = certain if kept is None else kept.mul_(certain)
        if encoded.unlabelled is not None:
            looked_for = (~encoded.unlabelled)[:, None].to(target.dtype).expand_as(target)
            kept = looked_for if kept is None else kept * looked_for
        return sigmoid_focal_terms(outputs.class_logits, target, pseudo=pseudo, kept=kept)

    def _of_anchors(
        self, maps: Sequence[Tensor | None], outputs: PyramidOutputs, encoded: PyramidTargets
    ) -> Float[Tensor, "b p c"] | None:
        """What was mined at positions, for every anchor that is not given to a box."""
        if all(level is None for level in maps):
            return None
        labels = torch.zeros_like(outputs.class_logits)
        for mined, place in zip(maps, self._per_level(labels, outputs), strict=False):
            if mined is not None:
                place.copy_(self.soft_labels(mined.to(labels.dtype)))
        labels.flatten(0, 1).index_fill_(0, encoded.objects, 0)
        return labels

    @abstractmethod
    def soft_labels(self, mined: Float[Tensor, "b c h w"]) -> Float[Tensor, "b _ c"]:
        """Labels of the anchors of a level from those of its positions, in the order of the anchors."""

    @abstractmethod
    def boxes(self, deltas: Float[Tensor, "*k 4"], anchors_xyxy: Float[Tensor, "*k 4"]) -> Float[Tensor, "*k 4"]:
        """Where the objects of anchors are, in pixels of the input."""

    def scores(self, outputs: PyramidOutputs) -> Float[Tensor, "b p c"]:
        """How sure the detector is of each anchor and class, in [0, 1]."""
        return outputs.class_logits.sigmoid()

    def select(self, outputs: PyramidOutputs, images: slice) -> PyramidOutputs:
        """What belongs to these images; sizes and anchors are those of all."""
        centre_logits = outputs.centre_logits
        return outputs._replace(
            features=tuple(maps[images] for maps in outputs.features),
            class_logits=outputs.class_logits[images],
            deltas=outputs.deltas[images],
            centre_logits=None if centre_logits is None else centre_logits[images],
        )

    def decode(self, outputs: PyramidOutputs) -> list[Detections]:
        """Suppress doubles within each class; at most ``max_detections`` an image, cut off at its edge."""
        return listed(self.decode_padded(outputs))

    def decode_padded(self, outputs: PyramidOutputs) -> PaddedDetections:
        """The same as one table, which spares the host a wait."""
        spec = self.pyramid
        found, chosen = candidates(
            self.scores(outputs), anchor_counts(outputs), threshold=spec.score_threshold, most=spec.candidates
        )
        anchors, labels = chosen // self.num_classes, chosen % self.num_classes
        deltas = outputs.deltas.take_along_dim(anchors[:, :, None], dim=1)
        boxes = clip_boxes_to_image(self.boxes(deltas, outputs.anchors_xyxy[anchors]), outputs.image_size)
        return best_detections(boxes, found, labels, iou=spec.suppression_iou, most=spec.max_detections)

    def load_published(
        self,
        file: Path | None = None,
        *,
        category_ids: Sequence[int] | None = None,
        category_names: Sequence[str] = (),  # noqa: ARG002  (found by number)
    ) -> None:
        """Load torchvision's, learnt on COCO; the rows of the class layer are chosen by COCO's numbers."""
        state, eps = self.published.state(file), self.published.norm_eps
        load_torchvision_state(self, state, norm_eps=eps, category_ids=category_ids)


def _positions(stride_px: int) -> Grid:
    """Positions lie where torchvision centres their anchors."""
    return Grid(stride_px, first_px=0)


def anchor_counts(outputs: PyramidOutputs) -> list[int]:
    """How many anchors each level has."""
    positions = [height * width for height, width in outputs.grids]
    at_each = len(outputs.anchors_xyxy) // sum(positions)
    return [at_each * count for count in positions]


def candidates(
    scores: Float[Tensor, "b p c"], counts: Sequence[int], *, threshold: float, most: int
) -> tuple[Float[Tensor, "b k"], Int[Tensor, "b k"]]:
    """Find the entries worth suppressing doubles among: the best of each level above a threshold.

    Args:
        scores: Of all anchors, in [0, 1].
        counts: How many of the anchors belong to each level, in order.
        threshold: Scores must be above.
        most: At most so many of a level.

    Returns:
        Scores, -1 where a level has not as many above the threshold, and indices into all P x C of an image; level
        by level, best first within each.

    Example:
        >>> candidates(torch.tensor([[[0.9], [0.1], [0.3], [0.4]]]), [2, 2], threshold=0.2, most=1)
        (tensor([[0.9000, 0.4000]]), tensor([[0, 3]]))
    """
    found, chosen, first = [], [], 0
    for of_level in torch.split(scores, list(counts), dim=1):
        flat = of_level.flatten(1)
        best = flat.topk(min(most, flat.shape[1]), dim=1)
        found.append(torch.where(best.values > threshold, best.values, -1.0))
        chosen.append(best.indices + first)
        first += flat.shape[1]
    return torch.cat(found, dim=1), torch.cat(chosen, dim=1)


def _best_scores(logits: Float[Tensor, "b _ c"], grid: tuple[int, int]) -> Float[Tensor, "b c h w"]:
    """The best anchor's score of each class at each position."""
    best = torch.unflatten(logits, 1, (*grid, -1)).amax(dim=3)
    return best.sigmoid().permute(0, 3, 1, 2).contiguous()
