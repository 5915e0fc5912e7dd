"""A detector from outside the package: one file, and it trains, mines, resumes and is judged as any other.

What stands here above the tests is the whole of what a new family needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from siod.data.digits import Digits
from siod.data.source import PreparedData, prepare
from siod.detectors.backbones import build_backbone, stride_px
from siod.detectors.centernet import CenterNet
from siod.detectors.detector import Detector, DetectorSpec, normalise
from siod.detectors.zoo import FAMILIES, add_family, build
from siod.dminer.dminer import DMiner
from siod.dminer.pgcl import PGCL
from siod.dminer.splg import SPLG
from siod.ops.boxes import centres_and_sizes, from_centres_and_sizes
from siod.ops.focal import penalty_reduced_focal_terms
from siod.ops.heatmap import draw_heatmap, grid_positions, peaks, top_positions
from siod.training import loop
from siod.training.checkpoint import CheckpointFolder
from siod.training.context import InProcess
from siod.training.experiment import Experiment, Scratch
from siod.training.presets import digits_centernet
from siod.types import DenseLevel, Detections, LossTerm, Mined, Target


class Toy(DetectorSpec):
    """Peaks of a heatmap on the backbone's last stage, each with a square box of a learnt side."""

    family: Literal["toy"] = "toy"
    side_weight: float = 0.1


class ToyOutputs(NamedTuple):
    features: Tensor
    scores: Tensor
    sides: Tensor


class ToyTargets(NamedTuple):
    heatmap: Tensor
    places: tuple[Tensor, Tensor, Tensor]
    sides: Tensor


class ToyDetector(Detector):
    def __init__(self, spec: Toy, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.loss_weights = {"heatmap": 1.0, "side": spec.side_weight}
        self.size_divisor = stride_px(spec.backbone)
        self.backbone = build_backbone(spec)
        self.heads = nn.Conv2d(self.backbone.out_channels, num_classes + 1, kernel_size=1)

    def forward(self, images: Tensor, targets: Sequence[Target] | None = None) -> ToyOutputs:  # noqa: ARG002  (of the interface)
        features = self.backbone(normalise(images))
        logits, sides = self.heads(features).split([self.num_classes, 1], dim=1)
        return ToyOutputs(features, logits.float().sigmoid(), functional.softplus(sides.float()) * self.size_divisor)

    def encode(self, targets: Sequence[Target], outputs: ToyOutputs) -> ToyTargets:
        boxes = torch.cat([target.boxes_xyxy for target in targets])
        labels = torch.cat([target.labels for target in targets])
        images = torch.cat([torch.full_like(target.labels, index) for index, target in enumerate(targets)])
        height, width = outputs.scores.shape[-2:]
        shape = (len(targets), self.num_classes, height, width)
        heatmap = draw_heatmap(boxes / self.size_divisor, labels, images, shape=shape)
        centres, sizes = centres_and_sizes(boxes)
        x, y = grid_positions(centres / self.size_divisor, height, width).unbind(1)
        return ToyTargets(heatmap, (images, y, x), sizes.amax(dim=1))

    def levels(self, outputs: ToyOutputs, encoded: ToyTargets) -> tuple[DenseLevel, ...]:
        return (DenseLevel(outputs.features, outputs.scores, encoded.heatmap, self.size_divisor),)

    def losses(self, outputs: ToyOutputs, encoded: ToyTargets, mined: Sequence[Mined]) -> dict[str, LossTerm]:
        images, y, x = encoded.places
        side = (outputs.sides[images, 0, y, x] - encoded.sides).abs().sum()
        (level,) = mined
        return {
            "heatmap": penalty_reduced_focal_terms(
                outputs.scores, encoded.heatmap, pseudo=level.pseudo, ignored=level.ignored
            ),
            "side": LossTerm(side, side.new_tensor(len(images))),
        }

    def decode(self, outputs: ToyOutputs) -> list[Detections]:
        top = top_positions(peaks(outputs.scores), 20)
        width = outputs.scores.shape[-1]
        cells = torch.stack([top.positions % width, top.positions // width], dim=-1)
        sides = outputs.sides.flatten(1).gather(1, top.positions)[:, :, None].expand(-1, -1, 2)
        boxes = from_centres_and_sizes((cells + 0.5) * self.size_divisor, sides)
        return [Detections(*found) for found in zip(boxes, top.scores, top.labels, strict=True)]


add_family(Toy, ToyDetector)


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return digits_centernet().with_changes(
        {
            "data": Digits(train_images=16, val_images=4),
            "weights": Scratch(),
            "detector": Toy(backbone="tiny_resnet18", base_width=8),
            "dminer": DMiner(splg=SPLG(), pgcl=PGCL(top_m=4)),
            "recipe.epochs": 2,
        }
    )


@pytest.fixture(scope="module")
def data(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return prepare(experiment.data, experiment.annotations, tmp_path_factory.mktemp("cache"))


def test_an_experiment_names_it_like_any_other(experiment: Experiment) -> None:
    assert isinstance(experiment.detector, Toy)
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment
    changed = experiment.with_changes({"detector.side_weight": 0.5})
    assert changed.identity("data") != experiment.identity("data")
    assert isinstance(build(changed.detector, num_classes=4), ToyDetector)


def test_it_trains_with_dminer_and_is_judged(experiment: Experiment, data: PreparedData, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    told: list[int] = []
    context = InProcess(tmp_path, lambda epoch, metrics: told.append(epoch), device=torch.device("cpu"))
    trained = loop.run(experiment, data, context)
    expected = {"train/heatmap", "train/side", "train/pgcl", "mining/splg_recall", "ap_s", "ap50_s0"}
    assert all(expected <= metrics.keys() for metrics in trained.history)
    assert trained.history[1]["train/loss"] < trained.history[0]["train/loss"]
    assert len(trained.detections.scores) > 0
    assert CheckpointFolder(tmp_path / "checkpoints").latest() is not None
    assert told == [1, 2]


def test_a_name_that_is_taken_is_refused() -> None:
    class Other(CenterNet):
        """Called as CenterNet is."""

    def detector(spec: Any, num_classes: int) -> Detector:
        return ToyDetector(spec, num_classes)

    with pytest.raises(ValueError, match="family 'centernet' is taken by CenterNet"):
        add_family(Other, detector)
    assert FAMILIES["centernet"].spec is CenterNet
