"""A detector from outside the package: this file is the whole of what a new family needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from siod.detectors.backbones import build_backbone, stride_px
from siod.detectors.detector import Detector, DetectorSpec, normalise
from siod.detectors.zoo import add_family
from siod.ops.boxes import centres_and_sizes, from_centres_and_sizes
from siod.ops.focal import penalty_reduced_focal_terms
from siod.ops.heatmap import draw_heatmap, grid_positions, peaks, top_positions
from siod.types import DenseLevel, Detections, Grid, LossTerm, Mined, Target, unlabelled_classes


class Toy(DetectorSpec):
    """Peaks of a heatmap on the backbone's last stage, each with a centre beside its middle and a size."""

    family: Literal["toy"] = "toy"
    box_weight: float = 0.1


class ToyOutputs(NamedTuple):
    features: Tensor
    scores: Tensor
    boxes: Tensor


class ToyTargets(NamedTuple):
    heatmap: Tensor
    places: tuple[Tensor, Tensor, Tensor]
    boxes: Tensor
    unlabelled: Tensor | None


class ToyDetector(Detector):
    def __init__(self, spec: Toy, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.loss_weights = {"heatmap": 1.0, "box": spec.box_weight}
        self.size_divisor = stride_px(spec.backbone)
        self.backbone = build_backbone(spec)
        self.heads = nn.Conv2d(self.backbone.out_channels, num_classes + 4, kernel_size=1)

    def forward(self, images: Tensor, targets: Sequence[Target] | None = None) -> ToyOutputs:  # noqa: ARG002  (of the interface)
        self.size_of(images)  # refuses what is no multiple of size_divisor
        features = self.backbone(normalise(images))
        logits, shifts, sizes = self.heads(features).float().split([self.num_classes, 2, 2], dim=1)
        boxes = torch.cat([shifts, functional.softplus(sizes)], dim=1) * self.size_divisor
        return ToyOutputs(features, logits.sigmoid(), boxes)

    def encode(self, targets: Sequence[Target], outputs: ToyOutputs) -> ToyTargets:
        boxes = torch.cat([target.boxes_xyxy for target in targets])
        labels = torch.cat([target.labels for target in targets])
        images = torch.cat([torch.full_like(target.labels, index) for index, target in enumerate(targets)])
        height, width = outputs.scores.shape[-2:]
        shape = (len(targets), self.num_classes, height, width)
        heatmap = draw_heatmap(boxes / self.size_divisor, labels, images, shape=shape)
        centres, sizes = centres_and_sizes(boxes)
        cells = grid_positions(centres / self.size_divisor, height, width)
        x, y = cells.unbind(1)
        places = torch.cat([centres - self.middles(cells), sizes], dim=1)
        return ToyTargets(heatmap, (images, y, x), places, unlabelled_classes(targets))

    def middles(self, cells: Tensor) -> Tensor:
        """The middle of each cell as x, y in pixels of the input."""
        return (cells + 0.5) * self.size_divisor

    def levels(self, outputs: ToyOutputs, encoded: ToyTargets) -> tuple[DenseLevel, ...]:
        cells = Grid(self.size_divisor, first_px=self.size_divisor / 2)
        return (DenseLevel(outputs.features, outputs.scores, encoded.heatmap, cells),)

    def losses(self, outputs: ToyOutputs, encoded: ToyTargets, mined: Sequence[Mined]) -> dict[str, LossTerm]:
        images, y, x = encoded.places
        distance = (outputs.boxes[images, :, y, x] - encoded.boxes).abs().sum()
        (level,) = mined
        return {
            "heatmap": penalty_reduced_focal_terms(
                outputs.scores,
                encoded.heatmap,
                pseudo=level.pseudo,
                ignored=level.ignored,
                unlabelled=encoded.unlabelled,
            ),
            "box": LossTerm(distance, distance.new_tensor(len(images))),
        }

    def decode(self, outputs: ToyOutputs) -> list[Detections]:
        top = top_positions(peaks(outputs.scores), 20)
        width = outputs.scores.shape[-1]
        cells = torch.stack([top.positions % width, top.positions // width], dim=-1)
        found = outputs.boxes.flatten(2).gather(2, top.positions[:, None].expand(-1, 4, -1))
        shifts, sizes = found.transpose(1, 2).split(2, dim=2)
        boxes = from_centres_and_sizes(self.middles(cells) + shifts, sizes)
        return [Detections(*each) for each in zip(boxes, top.scores, top.labels, strict=True)]


add_family(Toy, ToyDetector)
