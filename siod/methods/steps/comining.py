"""Co-mining: two views of an image find labels for each other.

The batch's images and their recoloured copies pass through one detector; what it is sure of in one view, and is not
annotated, joins the targets of the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from siod.methods.method import Method, Objective, View, Views
from siod.methods.steps.annotated import annotated_view, open_rows
from siod.methods.steps.labelling import Labeller
from siod.methods.steps.pseudo import merge_boxes, quality
from siod.methods.steps.strong import strong_view
from siod.ops.padding import images_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from siod.detectors.detector import Detector
    from siod.methods.comining import CoMining
    from siod.methods.method import Criterion, Moment
    from siod.types import Batch, LossTerm, Target


class CoMiningMethod(Method):
    """The sum of both views' losses, each against the annotated boxes and what the other view is sure of.

    Args:
        spec: Threshold and colours.
        detector: With dense outputs.

    Source: Wang et al., Co-mining: Self-Supervised Learning for Sparsely Annotated Object Detection, AAAI 2021.
    """

    def __init__(self, spec: CoMining, detector: Detector) -> None:
        super().__init__(detector)
        self.spec = spec
        self.labeller = Labeller(spec.pseudo, detector)

    def views(self, batch: Batch, moment: Moment) -> Views:
        """The batch, and its recoloured copy; while nothing is exchanged, the annotated images alone."""
        if self.spec.weight == 0 or moment.epoch <= self.spec.start_epoch:
            return Views((annotated_view(batch),), batch, moment)
        view = View(batch.images, batch.targets)
        return Views((view, strong_view(view, batch.image_ids, self.spec.recoloured, moment)), batch, moment)

    def objective(self, views: Views, outputs: Any, criterion: Criterion) -> Objective:
        """Find labels in each view for the other, then compare both."""
        if len(views.views) == 1:
            return super().objective(views, outputs, criterion)
        (first, _), (second, estimated) = (self._found(views, index, outputs) for index in range(2))
        parts = {
            **self.judge(views, 0, outputs, criterion, targets=second),
            **self.judge(views, 1, outputs, criterion, targets=first, prefix="other_", weight=self.spec.weight),
        }
        rows = open_rows(views.batch)
        before = [views.batch.targets[row] for row in rows]
        found = quality(before, [second[row] for row in rows], device=views.batch.images.device)
        return Objective(parts, {**found, **estimated})

    @torch.no_grad()
    def _found(self, views: Views, index: int, outputs: Any) -> tuple[tuple[Target, ...], Mapping[str, LossTerm]]:
        """The batch's targets with what one view's detections add to them; wholly annotated images lack nothing."""
        targets, rows = list(views.batch.targets), open_rows(views.batch)
        if self.spec.pseudo.max_fdr is not None:
            # What is found in annotated images tells how much of the rest is false.
            rows = list(range(len(targets)))
        if not rows:
            return tuple(targets), {}
        height, width = views.batch.images.shape[2:]
        found = images_of(self.detector.decode_padded(self.detector.select(outputs, views.rows(index))), rows)
        before = [targets[row] for row in rows]
        chosen = self.labeller.choose(found, before, (height, width), views.moment)
        for row, target in zip(rows, merge_boxes(self.spec.pseudo, before, chosen.boxes), strict=True):
            targets[row] = target
        return tuple(targets), chosen.figures

    def state_dict(self) -> dict[str, Any]:
        """What thresholds are estimated of."""
        return self.labeller.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self.labeller.load_state_dict(state)
