"""CenterNet: objects as the peaks of class heatmaps.

B images of H x W pixels, C classes, D feature channels, h x w positions at output stride 4, N annotated
boxes of the whole batch. The grid's unit is one position.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor, nn

from siod.detectors.backbones.building import build_backbone, freeze_stages
from siod.detectors.backbones.norms import norm_layer
from siod.detectors.centernet import OUTPUT_STRIDE_PX
from siod.detectors.detector import Detector, normalise
from siod.detectors.networks.float32 import in_float32
from siod.detectors.networks.upsampling import LateralUpsampling, ModulatedDeformConv, plain_convolution, upsample
from siod.ops.boxes import centres_and_sizes, from_centres_and_sizes
from siod.ops.focal import SCORE_MARGIN, penalty_reduced_focal_terms
from siod.ops.heatmap import draw_heatmap, grid_positions, peaks, top_positions
from siod.ops.padding import listed
from siod.ops.ragged import index_of
from siod.types import DenseLevel, Grid, LossTerm, PaddedDetections, unlabelled_classes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.detectors.centernet import CenterNet
    from siod.types import Detections, Mined, Target

# sigmoid(-2.19) is about 0.1: a fresh head calls a tenth of all positions an object, not half of them.
HEATMAP_BIAS = -2.19
CELLS = Grid(stride_px=OUTPUT_STRIDE_PX, first_px=OUTPUT_STRIDE_PX / 2)


class CenterNetOutputs(NamedTuple):
    """Dense outputs of one batch; sizes (width, height) and offsets (x, y) in grid units, scores in [0, 1]."""

    features: Float[Tensor, "b d h w"]
    scores: Float[Tensor, "b c h w"]
    size: Float[Tensor, "b 2 h w"]
    offset: Float[Tensor, "b 2 h w"]


@dataclass(frozen=True)
class CenterNetTargets:
    """What the outputs are compared with: a heatmap, and size and offset at the centre of each box.

    ``unlabelled`` are the classes of each image that nobody looked for, if there are any.
    """

    heatmap: Float[Tensor, "b c h w"]
    image_index: Int[Tensor, " n"]
    positions: Int[Tensor, " n"]
    sizes: Float[Tensor, "n 2"]
    offsets: Float[Tensor, "n 2"]
    unlabelled: Bool[Tensor, "b c"] | None


class CenterNetDetector(Detector):
    """CenterNet with transposed convolutions on the backbone's last stage.

    Args:
        spec: Architecture and loss weights.
        num_classes: Channels of the heatmap.

    Source: Zhou et al., Objects as Points, 2019, section 5 (ResNet); Li et al., SIOD, CVPR 2022, section 4.1.
    """

    def __init__(self, spec: CenterNet, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.loss_weights = {"heatmap": 1.0, "size": spec.size_weight, "offset": spec.offset_weight}
        self.size_divisor = spec.size_divisor()
        self.max_detections = spec.max_detections
        self.backbone = build_backbone(spec)
        channels = (self.backbone.out_channels, *spec.upsampling_channels)
        norm = norm_layer(spec.upsampling_norm or spec.norm)
        self.upsampling: nn.Module
        if spec.upsampling == "lateral":
            self.upsampling = LateralUpsampling(self.backbone.stage_channels, spec.upsampling_channels, norm)
        else:
            convolution = ModulatedDeformConv if spec.upsampling == "deformable" else plain_convolution
            self.upsampling = nn.Sequential(*(upsample(*pair, convolution, norm) for pair in pairwise(channels)))
        self.heatmap_head = _head(channels[-1], spec.head_channels, num_classes)
        self.size_head = _head(channels[-1], spec.head_channels, 2)
        self.offset_head = _head(channels[-1], spec.head_channels, 2)
        self._initialise_heads()
        self.pixels = spec.pixel_statistics()
        freeze_stages(self.backbone, spec.frozen_stages)
        self.to(memory_format=torch.channels_last)

    def _initialise_heads(self) -> None:
        nn.init.constant_(self.heatmap_head[-1].bias, HEATMAP_BIAS)
        for head in (self.size_head, self.offset_head):
            for layer in head:
                if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                    nn.init.normal_(layer.weight, std=0.001)
                    nn.init.zeros_(layer.bias)

    def forward(
        self,
        images: UInt8[Tensor, "b 3 height width"],
        targets: Sequence[Target] | None = None,  # noqa: ARG002  (nothing is sampled)
    ) -> CenterNetOutputs:
        """Compute features, scores, sizes and offsets at stride 4.

        Args:
            images: RGB; height and width are multiples of ``size_divisor``.
            targets: Not read.

        Returns:
            The dense outputs; all but the features in float32 whatever the precision of the rest.

        Raises:
            ValueError: Height or width is no multiple of ``size_divisor``.
        """
        self.size_of(images)
        normalised = normalise(images, self.pixels)
        if isinstance(self.upsampling, LateralUpsampling):
            stages = self.backbone.early_stages(normalised)
            features = self.upsampling((*stages, self.backbone.last_stage(stages[-1])))
        else:
            features = self.upsampling(self.backbone(normalised))
        # Laid out as the heatmap it is compared with.
        logits = self.heatmap_head(features).to(torch.float32, memory_format=torch.contiguous_format)
        scores = logits.sigmoid()
        return CenterNetOutputs(features, scores, self.size_head(features), self.offset_head(features))

    def encode(self, targets: Sequence[Target], outputs: CenterNetOutputs) -> CenterNetTargets:
        """Draw the heatmap and note size and offset at each centre.

        Boxes whose centres fall on one position each keep their own entry, so that the position learns the
        median of their sizes and offsets; those of one class share one peak.
        """
        boxes = torch.cat([target.boxes_xyxy for target in targets]) / OUTPUT_STRIDE_PX
        labels = torch.cat([target.labels for target in targets])
        images = index_of([len(target.labels) for target in targets], labels.device)
        height, width = outputs.scores.shape[-2:]
        centres, sizes = centres_and_sizes(boxes)
        cells = grid_positions(centres, height, width)
        return CenterNetTargets(
            heatmap=draw_heatmap(boxes, labels, images, shape=(len(targets), self.num_classes, height, width)),
            image_index=images,
            positions=cells[:, 1] * width + cells[:, 0],
            sizes=sizes,
            offsets=centres - cells,
            unlabelled=unlabelled_classes(targets),
        )

    def levels(self, outputs: CenterNetOutputs, encoded: CenterNetTargets) -> tuple[DenseLevel, ...]:
        """The one level: the features fed to the heads, at stride 4."""
        return (DenseLevel(outputs.features, outputs.scores, encoded.heatmap, CELLS),)

    def losses(
        self, outputs: CenterNetOutputs, encoded: CenterNetTargets, mined: Sequence[Mined]
    ) -> dict[str, LossTerm]:
        """Focal loss of the heatmap and L1 losses of size and offset, in grid units.

        The L1 losses are sums over boxes and both coordinates, counted by coordinate, so that their mean is
        half the sum per box; the weight of the size loss is meant for that.

        Source: Zhou et al., Objects as Points, 2019, Eq. 1 to 3; Li et al., SIOD, CVPR 2022, Eq. 2 and 5.
        """
        (level,) = mined
        return {
            "heatmap": penalty_reduced_focal_terms(
                outputs.scores,
                encoded.heatmap,
                pseudo=level.pseudo,
                ignored=level.ignored,
                unlabelled=encoded.unlabelled,
            ),
            "size": _l1(outputs.size, encoded, encoded.sizes),
            "offset": _l1(outputs.offset, encoded, encoded.offsets),
        }

    def select(self, outputs: CenterNetOutputs, images: slice) -> CenterNetOutputs:
        """The maps of these images."""
        return CenterNetOutputs(*(maps[images] for maps in outputs))

    def decode(self, outputs: CenterNetOutputs) -> list[Detections]:
        """Read the best peaks, at most ``max_detections`` an image; boxes may reach beyond the image."""
        return listed(self.decode_padded(outputs))

    def decode_padded(self, outputs: CenterNetOutputs) -> PaddedDetections:
        """The same, with a place for each of ``max_detections``; nothing waits."""
        scores = peaks(outputs.scores.clamp(SCORE_MARGIN, 1 - SCORE_MARGIN))
        top = top_positions(scores, self.max_detections)
        width = scores.shape[-1]
        cells = torch.stack([top.positions % width, top.positions // width], dim=-1)
        centres = cells + _at(outputs.offset, top.positions)
        sizes = _at(outputs.size, top.positions).clamp(min=0)
        boxes = from_centres_and_sizes(centres, sizes) * OUTPUT_STRIDE_PX
        return PaddedDetections(boxes, top.scores, top.labels, top.scores > 0)


def _at(maps: Float[Tensor, "b c h w"], positions: Int[Tensor, "b k"]) -> Float[Tensor, "b k c"]:
    index = positions[:, None, :].expand(-1, maps.shape[1], -1)
    return maps.flatten(2).gather(2, index).transpose(1, 2).float()


def _l1(maps: Float[Tensor, "b 2 h w"], encoded: CenterNetTargets, wanted: Float[Tensor, "n 2"]) -> LossTerm:
    found = maps.flatten(2)[encoded.image_index, :, encoded.positions].float()
    total = (found - wanted).abs().sum()
    return LossTerm(total, total.new_full((), wanted.numel()))


def _head(channels: int, hidden: int, outputs: int) -> Any:
    head = nn.Sequential(
        nn.Conv2d(channels, hidden, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, outputs, kernel_size=1),
    )
    # In half precision sizes are off by a pixel, 0.9999 rounds to 1, and neighbours of a peak are as high as it.
    in_float32(head[-1])
    return head
