"""How many pseudo boxes are false, estimated without hidden labels: from what is found of categories that are absent.

What a detector finds of a category in images that surely lack it is false, a *decoy*. Images that may have instances
without a box hold as many false finds, image for image; what is found there beyond these is true. The estimate errs
high where an absent category leaves more free room in an image. It sees neither doubles nor parts of an object, which
lie where the category is present; of these a detector that miners trained finds more. docs/methods.md has how far the
estimate errs.

B images, K boxes of an image, C categories, S bins of the score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Int8  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor, distributed

from siod.methods.pseudo import LEAST_IMAGES
from siod.state import State

if TYPE_CHECKING:
    from siod.types import PaddedDetections

BINS = 100
"""A bin is a hundredth of the range of scores."""
LEAST_BOXES = 30
"""Of fewer boxes no rate is estimated: by chance some would lie where they may be true, and no decoy above them."""
DECOYS, OPEN = 0, 1


class Finds(NamedTuple):
    """What was found in some images; decoys at index 0, at index 1 what may be true.

    Attributes:
        boxes: How many boxes have a score in a bin or above it.
        images: In how many images the category is absent, and may have instances without a box.
        seen: How many images were looked at.
    """

    boxes: Float[Tensor, "2 C S"]
    images: Float[Tensor, "2 C"]
    seen: Float[Tensor, ""]


def open_categories(states: Int8[Tensor, "*n C"]) -> Bool[Tensor, "*n C"]:
    """Which categories may have instances without a box, whether or not somebody looked for them.

    Example:
        >>> open_categories(torch.tensor([State.ABSENT, State.COMPLETE, State.SOME, State.UNKNOWN, State.UNLABELLED]))
        tensor([False, False,  True,  True,  True])
    """
    return (states != State.ABSENT) & (states != State.COMPLETE)


def bins_of(scores: Float[Tensor, "*n"]) -> Int[Tensor, "*n"]:
    """The bins of scores in [0, 1], counted from 0.

    Example:
        >>> bins_of(torch.tensor([0.0, 0.305, 1.0]))
        tensor([ 0, 30, 99])
    """
    return (scores * BINS).long().clamp(max=BINS - 1)


def count_finds(found: PaddedDetections, annotated: Bool[Tensor, "b k"], states: Int8[Tensor, "b C"]) -> Finds:
    """Count boxes by category and score.

    Args:
        found: After suppression.
        annotated: Which of them lie on an annotated box of their category; they are not counted.
        states: Of the images.

    Returns:
        Whole numbers.
    """
    absent, open_ = states == State.ABSENT, open_categories(states)
    sides = torch.stack([absent, open_], dim=-1)
    # [b k 2]: whether a box is a decoy, and whether it may be true
    counted = sides.take_along_dim(found.labels[..., None], dim=1) & (found.valid & ~annotated)[..., None]
    reached = torch.arange(BINS, device=states.device) <= bins_of(found.scores.float())[..., None]
    boxes = torch.zeros(2, states.shape[1], BINS, device=states.device)
    for side in (DECOYS, OPEN):
        rows = (reached & counted[..., side, None]).flatten(0, 1).float()
        boxes[side].index_add_(0, found.labels.flatten(), rows)
    images = sides.sum(dim=0).T.float()
    return Finds(boxes, images, torch.full((), float(len(states)), device=states.device))


def false_discovery_rates(finds: Finds) -> Float[Tensor, "C S"]:
    """Estimate which share of the boxes of a category with scores in a bin or above it is false.

    Args:
        finds: Perhaps forgotten in part, so that the numbers are not whole.

    Returns:
        In [0, 1], never larger for a higher score. Categories of which fewer than ``LEAST_BOXES`` were found, or that
        no image surely lacks, have the rates of all categories together. A rate is made of at least ``LEAST_BOXES``
        boxes; above the scores of these it is that of lower ones. 1 where they are too few, until ``LEAST_IMAGES``
        images have been looked at, and where no image surely lacks any category.

    Source: Elias and Gygi, Target-decoy search strategy, Nature Methods 2007, with one added to the decoys.

    Example:
        >>> boxes = torch.zeros(2, 1, BINS)
        >>> boxes[DECOYS, :, :50], boxes[OPEN, :, :50], boxes[OPEN, :, 50:80] = 9, 100, 40
        >>> rates = false_discovery_rates(Finds(boxes, torch.tensor([[200.0], [100.0]]), torch.tensor(300.0)))
        >>> rates[0, [0, 60, 90]]  # (9 + 1) / 200 * 100 / 100, then (0 + 1) / 200 * 100 / 40, then nothing was found
        tensor([0.0500, 0.0125, 0.0125])
    """
    (decoys, found), (lacking, open_) = finds.boxes, finds.images
    known = lacking > 0
    # FDR_c(s) = (decoys of c above s + 1) / |A_c| * |P_c| / boxes of c above s in P_c
    images_per_decoy = torch.where(known, open_ / lacking, 0)
    own = (decoys + 1) * images_per_decoy[:, None] / found
    one_more = (open_ * known).sum() / lacking.sum()
    in_all = (found * known[:, None]).sum(dim=0)
    together = ((decoys * images_per_decoy[:, None]).sum(dim=0) + one_more) / in_all
    alone = (known & (found[:, 0] >= LEAST_BOXES))[:, None]
    rates, boxes = torch.where(alone, own, together), torch.where(alone, found, in_all)
    # Of nothing rates are NaN or infinite.
    estimated = (boxes >= LEAST_BOXES) & (finds.seen >= LEAST_IMAGES) & (rates <= 1)
    rates = torch.where(estimated, rates, 1.0)
    return rates.cummin(dim=1).values


class Decoys:
    """A running count of finds, by which false discoveries are estimated.

    Args:
        num_classes: Of the detector.
        half_life_images: After so many images a find counts half, so that the count follows a detector that changes.
        device: Of the detector.
    """

    def __init__(self, num_classes: int, half_life_images: int, device: torch.device) -> None:
        self.half_life_images = half_life_images
        self.finds = Finds(
            torch.zeros(2, num_classes, BINS, device=device),
            torch.zeros(2, num_classes, device=device),
            torch.zeros((), device=device),
        )

    def add(self, fresh: Finds, workers: int) -> None:
        """Count what was found in a step, and forget a little of what was found before.

        Args:
            fresh: Of this worker's images; all workers call this, and have the same count afterwards.
            workers: How many there are.
        """
        if workers > 1:
            fresh = _summed(fresh)
        left = 0.5 ** (fresh.seen / self.half_life_images)
        self.finds = Finds(*(before * left + more for before, more in zip(self.finds, fresh, strict=True)))

    def state_dict(self) -> dict[str, Tensor]:
        """The count."""
        return self.finds._asdict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a count."""
        device = self.finds.seen.device
        self.finds = Finds(**{name: count.to(device) for name, count in state.items()})


def _summed(fresh: Finds) -> Finds:
    """The sum over all workers, in one message."""
    message = torch.cat([count.flatten() for count in fresh])
    distributed.all_reduce(message)
    parts = torch.split(message, [count.numel() for count in fresh])
    return Finds(*(part.view_as(count) for part, count in zip(parts, fresh, strict=True)))
