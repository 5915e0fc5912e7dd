"""CSD: an image and its mirror image must be detected alike, annotated or not.

B images, C classes, h x w positions, K of them foreground.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from siod.detectors.networks.centernet import CenterNetOutputs
from siod.methods.method import Method, Objective, View, Views, Weighted
from siod.methods.steps.annotated import annotated_view, open_rows, pick
from siod.ops.focal import SCORE_MARGIN
from siod.types import LossTerm

if TYPE_CHECKING:
    from torch import Tensor

    from siod.detectors.detector import Detector
    from siod.methods.csd import CSD
    from siod.methods.method import Criterion, Moment
    from siod.types import Batch

# Sizes are compared by their logarithms, as an anchor's deltas are; below one position there is nothing to compare.
SMALLEST_SIZE = 1.0


class CSDMethod(Method):
    """The annotated images' loss, and the consistency of all images with their mirror images.

    Args:
        spec: Weight and foreground.
        detector: A CenterNet.

    Source: Jeong et al., Consistency-based Semi-supervised Learning for Object Detection, NeurIPS 2019.
    """

    def __init__(self, spec: CSD, detector: Detector) -> None:
        super().__init__(detector)
        self.spec = spec

    def views(self, batch: Batch, moment: Moment) -> Views:
        """The annotated images, the bare ones if there are any, and the mirror images of both."""
        shown = [annotated_view(batch)]
        if self.spec.weight == 0:
            return Views(tuple(shown), batch, moment)
        bare = open_rows(batch) if batch.annotated is not None else []
        if bare:
            shown.append(pick(batch, bare))
        mirrored_views = [View(view.images.flip(3), view.targets, view.without_loss) for view in shown]
        return Views((*shown, *mirrored_views), batch, moment)

    def objective(self, views: Views, outputs: CenterNetOutputs, criterion: Criterion) -> Objective:
        """Add the two consistency terms; the mirror images themselves are compared with no target."""
        parts = self.judge(views, 0, outputs, criterion)
        if len(views.views) > 1:
            images = len(views.targets) // 2
            weight = self.spec.weight_at(views.moment)
            terms = consistency(
                self.detector.select(outputs, slice(0, images)),
                mirrored(self.detector.select(outputs, slice(images, 2 * images))),
                foreground_score=self.spec.foreground_score,
            )
            parts |= {name: Weighted(weight, term) for name, term in terms.items()}
        return Objective(parts)


def mirrored(outputs: CenterNetOutputs) -> CenterNetOutputs:
    """What outputs for a mirror image say of the image itself.

    A centre at x of a map w wide lies at w - x in the mirror image, so that an offset o becomes 1 - o.

    Args:
        outputs: For the mirror image.

    Returns:
        In the frame of the image.
    """
    offset = outputs.offset.flip(3)
    offset = torch.cat([1 - offset[:, :1], offset[:, 1:]], dim=1)
    return CenterNetOutputs(outputs.features.flip(3), outputs.scores.flip(3), outputs.size.flip(3), offset)


def consistency(one: CenterNetOutputs, other: CenterNetOutputs, *, foreground_score: float) -> dict[str, LossTerm]:
    """Compare two sets of maps where the first one sees an object.

    Args:
        one: For the images; it also tells the foreground, without a gradient.
        other: For the mirror images, in the frame of ``one``.
        foreground_score: Positions count whose best score is above.

    Returns:
        ``consistency_class``, half the symmetric divergence of the scores, each class for itself, summed over
        classes; ``consistency_box``, the mean squared difference of offset and logarithm of size. Both are counted
        by positions.

    Source: Jeong et al., CSD, NeurIPS 2019, Eq. 3 to 7 and section 3.4.
    """
    foreground = (one.scores.detach().amax(dim=1) > foreground_score).nonzero(as_tuple=True)
    p, q = (_at(maps.scores, foreground).clamp(SCORE_MARGIN, 1 - SCORE_MARGIN) for maps in (one, other))
    # (KL(p, q) + KL(q, p)) / 2 of a yes or no: (p - q) (logit p - logit q) / 2
    divergence = ((p - q) * (p.logit() - q.logit())).sum() / 2
    boxes, other_boxes = (
        torch.cat([_at(maps.size, foreground).clamp(min=SMALLEST_SIZE).log(), _at(maps.offset, foreground)], dim=1)
        for maps in (one, other)
    )
    count = torch.full((), float(len(p)), device=divergence.device)
    return {
        "consistency_class": LossTerm(divergence, count),
        "consistency_box": LossTerm((boxes - other_boxes).square().mean(dim=1).sum(), count),
    }


def _at(maps: Tensor, places: tuple[Any, ...]) -> Tensor:
    images, y, x = places
    return maps[images, :, y, x].float()
