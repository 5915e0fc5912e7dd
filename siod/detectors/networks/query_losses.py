"""The losses of detectors that decode queries: what a layer says of them, compared with the boxes they are to find.

Sums, image by image; the arithmetic is that of the library transformers, whose criteria give the mean of a batch alone.

B images, C classes, Q queries, M slots for the boxes of an image, K queries of the batch that are to be objects,
N logits of distances from one side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor
from torch.nn import functional
from transformers.loss.loss_d_fine import DFineLoss, bbox2distance
from transformers.loss.loss_rt_detr import RTDetrHungarianMatcher

from siod.ops.boxes import from_centres_and_sizes, generalized_iou_loss, paired_overlaps
from siod.ops.focal import varifocal_loss
from siod.ops.padding import send

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from siod.detectors.networks.annotated import AnnotatedBoxes

# D-FINE compares distributions at this temperature.
TEMPERATURE = 5.0
# Overlaps are computed in a frame of so many units a side, where no area is near to rounding errors.
_UNITS = 1000.0


class Stage(NamedTuple):
    """What one layer says of its queries; boxes are centres and sizes in sides of the image.

    D-FINE's layers have the logits of distances from the sides of ``references`` too. ``teacher`` has those of the last
    layer and how sure that is of each query; None in the last layer itself.
    """

    logits: Float[Tensor, "b q c"]
    boxes: Float[Tensor, "b q 4"]
    distances: Float[Tensor, "b q _"] | None = None
    references: Float[Tensor, "b q 4"] | None = None
    teacher: tuple[Float[Tensor, "b q _"], Float[Tensor, "b q"]] | None = None

    def of(self, images: slice) -> Stage:
        """The same of some images."""
        return Stage(
            self.logits[images],
            self.boxes[images],
            None if self.distances is None else self.distances[images],
            None if self.references is None else self.references[images],
            None if self.teacher is None else (self.teacher[0][images], self.teacher[1][images]),
        )


@dataclass(frozen=True)
class Wanted:
    """The boxes to find: with labels, as centres and sizes in sides of the image, and how many each image has."""

    known: AnnotatedBoxes
    boxes: Float[Tensor, "b m 4"]
    lengths: tuple[int, ...]


class Partners(NamedTuple):
    """The slot of the box that each query belongs to, and the factor of each image; some places have no query.

    ``objects`` are the ``positive`` ones, counted through all images.
    """

    slots: Int[Tensor, "b q"]
    objects: Int[Tensor, " k"]
    present: Bool[Tensor, "b q"]
    positive: Bool[Tensor, "b q"]
    share: Float[Tensor, " b"]


class SetCriterion:
    """Matches queries with boxes and compares them.

    Args:
        config: The library's configuration.
        fine: Whether it is D-FINE's, which has two losses more.
    """

    def __init__(self, config: Any, *, fine: bool) -> None:
        self.config, self.matcher = config, RTDetrHungarianMatcher(config)
        self.fine = DFineLoss(config) if fine else None
        self.weights = {
            "class": config.weight_loss_vfl,
            "box": config.weight_loss_bbox,
            "overlap": config.weight_loss_giou,
            **({"distances": config.weight_loss_fgl, "distillation": config.weight_loss_ddf} if fine else {}),
        }

    @torch.no_grad()
    def matched(self, stage: Stage, wanted: Wanted) -> Partners:
        """Match each box with one query; the host waits for the costs and solves it.

        Of a run that diverged the loss is not finite, and training says so in words; the library's matcher would stop
        before, at boxes that are upside down.
        """
        targets = [
            {"class_labels": labels[:length], "boxes": boxes[:length]}
            for labels, boxes, length in zip(wanted.known.slot_labels, wanted.boxes, wanted.lengths, strict=True)
        ]
        on_host = np.full(stage.logits.shape[:2], -1)
        found = self.matcher({"logits": stage.logits.nan_to_num(), "pred_boxes": stage.boxes.nan_to_num()}, targets)
        for row, (queries, matched) in enumerate(found):
            on_host[row, queries.numpy()] = matched.numpy()
        device = stage.logits.device
        slots, objects = send(on_host, device), send(np.flatnonzero(on_host >= 0), device)
        return Partners(slots, objects, slots >= -1, slots >= 0, stage.logits.new_ones(len(slots)))

    def sums(
        self, stage: Stage, partners: Partners, wanted: Wanted, kept: Float[Tensor, "b q c"] | None
    ) -> Mapping[str, Tensor]:
        """Compare the queries of one layer with their boxes.

        Args:
            stage: The layer.
            partners: Which query belongs to which box.
            wanted: The boxes.
            kept: The share of its loss that a query keeps as a negative of each class, in [0, 1]; None for all of it.

        Returns:
            Sums under the names of ``weights``; that of distillation is a sum over images of means.

        Source: RT-DETR, CVPR 2024, section 4.3; D-FINE, ICLR 2025, Eq. 3 to 6.
        """
        objects = partners.objects
        slots = wanted.known.slots_of(partners.slots, objects)
        boxes, share = wanted.boxes.flatten(0, 1)[slots], partners.share[objects // partners.slots.shape[1]]
        found = stage.boxes.flatten(0, 1)[objects]
        corners, wanted_corners = _corners(found), _corners(boxes)
        overlaps = paired_overlaps(corners.detach(), wanted_corners)
        entries = objects * stage.logits.shape[2] + wanted.known.slot_labels.flatten()[slots]
        quality = torch.zeros_like(stage.logits)
        quality.view(-1).index_copy_(0, entries, overlaps.to(quality.dtype))
        positive = torch.zeros_like(quality, dtype=torch.bool)
        positive.view(-1).index_fill_(0, entries, value=True)
        alpha, gamma = self.config.focal_loss_alpha, self.config.focal_loss_gamma
        focal = varifocal_loss(stage.logits, quality, positive, alpha=alpha, gamma=gamma, kept=kept)
        sums = {
            "class": (focal.sum(dim=(1, 2)) * partners.share).sum(),
            "box": ((found - boxes).abs().sum(dim=1) * share).sum(),
            "overlap": (generalized_iou_loss(corners, wanted_corners) * share).sum(),
        }
        if stage.distances is not None:
            sums["distances"] = self._distances(stage, objects, boxes, overlaps * share)
        if stage.teacher is not None:
            sums["distillation"] = _distilled(stage, partners, objects, overlaps)
        return sums

    def _distances(
        self, stage: Stage, objects: Int[Tensor, " k"], boxes: Float[Tensor, "k 4"], weight: Float[Tensor, " k"]
    ) -> Tensor:
        """How far the distributions of the distances of objects are from the two values around the true one."""
        assert stage.distances is not None  # noqa: S101  (asked before)
        assert stage.references is not None  # noqa: S101  (there with the distances)
        assert self.fine is not None  # noqa: S101  (no other detector has them)
        bins, fine = self.config.max_num_bins, self.fine
        said = stage.distances.flatten(0, 1)[objects].reshape(-1, bins + 1)
        references = stage.references.flatten(0, 1)[objects].detach()
        low_high = from_centres_and_sizes(boxes[:, :2], boxes[:, 2:])
        up = said.new_full((1,), self.config.up)
        label, right, left = bbox2distance(references, low_high, bins, fine.reg_scale, up)
        far: Tensor = fine.unimodal_distribution_focal_loss(said, label, right, left, weight.repeat_interleave(4))
        return far


def _corners(boxes: Float[Tensor, "k 4"]) -> Float[Tensor, "k 4"]:
    return from_centres_and_sizes(boxes[:, :2] * _UNITS, boxes[:, 2:] * _UNITS)


def _distilled(
    stage: Stage, partners: Partners, objects: Int[Tensor, " k"], overlaps: Float[Tensor, " k"]
) -> Float[Tensor, ""]:
    """How far distributions are from the last layer's; objects and others count by the roots of their numbers.

    The published code takes means and numbers of a whole batch, which are those of its images where all have as many
    boxes.
    """
    assert stage.distances is not None  # noqa: S101  (there with a teacher)
    assert stage.teacher is not None  # noqa: S101  (asked before)
    distances, sure = stage.teacher
    sure = sure.flatten().index_copy(0, objects, overlaps.to(sure.dtype)).view_as(sure)
    said, taught = (torch.unflatten(each / TEMPERATURE, 2, (4, -1)) for each in (stage.distances, distances))
    apart = functional.kl_div(said.log_softmax(3), taught.softmax(3), reduction="none").sum(dim=(2, 3))
    apart = apart * sure * TEMPERATURE**2 / 4
    others = partners.present & ~partners.positive
    numbers = torch.stack([partners.positive.sum(dim=1), others.sum(dim=1)])
    means = torch.stack([(apart * which).sum(dim=1) for which in (partners.positive, others)]) / numbers.clamp(min=1)
    roots = numbers.sqrt()
    return ((means * roots).sum(dim=0) / roots.sum(dim=0).clamp(min=1)).sum()


def kept_by_centre(boxes: Float[Tensor, "b q 4"], maps: Sequence[Float[Tensor, "b c h w"]]) -> Float[Tensor, "b q c"]:
    """Read the least value of some maps at the positions where boxes are centred.

    Args:
        boxes: Centres and sizes in sides of the image.
        maps: At least one, each covering the image.

    Returns:
        The least over the maps.
    """
    found = []
    for of_positions in maps:
        height, width = of_positions.shape[-2:]
        columns, rows = (
            (boxes[..., axis] * side).long().clamp(0, side - 1) for axis, side in ((0, width), (1, height))
        )
        places = (rows * width + columns)[:, None].expand(-1, of_positions.shape[1], -1)
        found.append(of_positions.flatten(2).gather(2, places).transpose(1, 2))
    return torch.stack(found).amin(dim=0)
