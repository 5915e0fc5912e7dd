"""Noisy copies of annotated boxes as further queries in training, and which of them are to become objects again.

An image's copies depend on nothing but its own boxes and its seed: the published code makes as many groups as the
fullest image of a batch leaves room for, and fills up the others with copies of nothing that are learnt as background;
a loss would then depend on who shares a batch, and two workers would learn otherwise than one.

B images, N boxes of an image, Q places for copies: as many as the fullest image needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor, nn

from siod.ops.boxes import centres_and_sizes
from siod.ops.padding import send

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from siod.detectors.networks.annotated import AnnotatedBoxes

NO_GROUP = -1
# Keeps logits of places at the edge finite; the library's.
_MARGIN = 1e-5


class NoisyQueries(NamedTuple):
    """Copies of the boxes of a batch; ``boxes`` are centres and sizes in sides of the image, before the sigmoid.

    ``partner`` is the slot of the copied box, ``group`` the one whose members see each other, NO_GROUP of places that
    no copy takes; the others are ``present``. ``positive`` ones are to become objects, which the host knows too;
    ``share`` is one by the image's number of groups.
    """

    labels: Int[Tensor, "b q"]
    boxes: Float[Tensor, "b q 4"]
    partner: Int[Tensor, "b q"]
    group: Int[Tensor, "b q"]
    positive: Bool[Tensor, "b q"]
    known_positive: Bool[np.ndarray, "b q"]
    share: Float[Tensor, " b"]

    def of(self, images: slice) -> NoisyQueries:
        """The same of some images."""
        return NoisyQueries._make(each[images] for each in self)

    def objects(self) -> Int[Tensor, " k"]:
        """The places of positive copies, counted through all images, without a wait."""
        return send(np.flatnonzero(self.known_positive), self.positive.device)

    @property
    def present(self) -> Bool[Tensor, "b q"]:
        """The places that a copy takes."""
        return self.group != NO_GROUP

    def before(self, named: Mapping[str, Any], embed: nn.Module) -> dict[str, Tensor]:
        """What the library's decoder is called with when the copies stand before its own queries.

        Args:
            named: What it is called with without them.
            embed: Makes a query of a label.
        """
        queries = named["inputs_embeds"]
        return {
            "inputs_embeds": torch.cat([embed(self.labels), queries], dim=1),
            "reference_points": torch.cat([self.boxes, named["reference_points"]], dim=1),
            "encoder_attention_mask": self.may_see(queries.shape[1]),
        }

    def may_see(self, queries: int) -> Bool[Tensor, "b 1 k k"]:
        """Which queries attend to which: copies to their group and to the detector's own queries, these to each other.

        Args:
            queries: How many the detector has of its own; they follow the copies.
        """
        same = self.group[:, :, None] == self.group[:, None]
        images, copies, _ = same.shape
        seen = torch.ones(images, copies + queries, copies + queries, dtype=torch.bool, device=same.device)
        seen[:, :copies, :copies] = same
        seen[:, copies:, :copies].fill_(value=False)
        return seen[:, None]


class Noise(NamedTuple):
    """How many copies an image has, about, and how far they are from what they copy, as settings have it."""

    copies: int
    boxes: float
    labels: float


def noisy_queries(
    known: AnnotatedBoxes, lengths: Sequence[int], seeds: Sequence[int], noise: Noise, *, num_classes: int, side: Tensor
) -> NoisyQueries | None:
    """Copy boxes with noise; a group has each box of its image twice, near and less near.

    Args:
        known: The boxes.
        lengths: How many each image has.
        seeds: One per image; the host draws by them.
        noise: How many copies, and the noise.
        num_classes: Labels of changed copies are drawn from so many; the places without a copy have one more.
        side: Width, height, width, height of the images, in pixels.

    Returns:
        The copies; None without boxes or without copies.

    Source: Zhang et al., DINO, ICLR 2023, section 3.3, with the noise of RT-DETR's code.
    """
    if not noise.copies or not any(lengths):
        return None
    groups = [max(noise.copies // length, 1) if length else 0 for length in lengths]
    places = max(2 * length * count for length, count in zip(lengths, groups, strict=True))
    partner, group = (np.full((len(lengths), places), NO_GROUP) for _ in range(2))
    for row, (length, count) in enumerate(zip(lengths, groups, strict=True)):
        every = np.arange(2 * length * count)
        partner[row, : len(every)], group[row, : len(every)] = every % max(length, 1), every // max(2 * length, 1)
    in_group = np.arange(places) - group * 2 * np.array(lengths)[:, None]
    positive = (group != NO_GROUP) & (in_group < np.array(lengths)[:, None])
    drawn = torch.stack([torch.rand(places, 10, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    device = known.labels.device
    far, taken = send(~positive, device)[..., None], send(group != NO_GROUP, device)
    copied = send(partner.clip(min=0), device)
    shift, sign, other, label = torch.split(send(drawn.numpy(), device), [4, 4, 1, 1], dim=2)
    labels = known.slot_labels.gather(1, copied)
    labels = torch.where(other[..., 0] < noise.labels / 2, (label[..., 0] * num_classes).long(), labels)
    boxes = (known.slots_xyxy / side).take_along_dim(copied[..., None], dim=1)
    _, sides = centres_and_sizes(boxes)
    moved = boxes + (shift + far) * torch.where(sign < 0.5, -1.0, 1.0) * sides.repeat(1, 1, 2) / 2 * noise.boxes  # noqa: PLR2004  (half of them)
    return NoisyQueries(
        labels=labels.masked_fill(~taken, num_classes),
        boxes=torch.cat(centres_and_sizes(moved.clamp(0, 1)), dim=2).logit(_MARGIN),
        partner=send(partner, device),
        group=send(group, device),
        positive=send(positive, device),
        known_positive=positive,
        share=send(np.array([1 / max(count, 1) for count in groups], dtype=np.float32), device),
    )
