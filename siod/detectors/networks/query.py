"""RT-DETR and D-FINE: queries start at the best positions of three maps and are decoded to objects, one query each.

The networks, their configuration and the matching of queries with boxes are those of the library transformers. Ours are
the backbone (unless the configuration has one), the noisy copies of boxes, and the sums of the losses, which have to be
known image by image for several workers, methods with several views and miners.

Where the paper is silent on DMiner, this is decided:

- Miners look at the encoder's memory at its three strides and at the class scores there, from which queries start: they
  are dense and trained, which the scores of queries are not.
- A query has no level. An annotated instance is therefore drawn on every mined map, and what was mined on any of them
  excuses a query whose box is centred there: its loss as a negative of class c is multiplied by (1 - p)^4 of the best
  label p of c there (Eq. 5), or by 0 where c was left out. The centre is where the query says that something is; the
  rest of its box may cover half of the image.
- Queries that are matched with a box learn as ever, and labels change the loss of classes alone.
- A noisy copy that is to be told from objects is excused like any query, and for every class if its centre is within a
  pseudo box: a teacher has seen something there, whatever it is.
- Sums are divided by the number of annotated boxes. Pseudo boxes are further targets, but were they counted, negatives
  would weigh the less, the more a teacher finds. An image without annotated boxes counts its pseudo boxes.

Where nobody looked for a class in an image, no query learns that it is not that class.

B images, C classes, D channels, Q queries, P positions of all maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor, nn

from siod.detectors.backbones.building import build_backbone, freeze_stages
from siod.detectors.backbones.norms import with_norm
from siod.detectors.detector import Detector, normalise
from siod.detectors.networks.annotated import annotated_boxes
from siod.detectors.networks.denoising import Noise, NoisyQueries, noisy_queries
from siod.detectors.networks.region_proposals import image_seeds
from siod.detectors.query import DFINE
from siod.errors import UserError
from siod.ops.boxes import centres_and_sizes, from_centres_and_sizes
from siod.ops.heatmap import draw_heatmap
from siod.ops.padding import listed, send
from siod.types import DenseLevel, Grid, LossTerm, PaddedDetections, unlabelled_classes

try:
    from transformers.modeling_outputs import BaseModelOutput
except ImportError as _missing:
    raise UserError("detectors rt_detr and d_fine need transformers; pip install 'siod[transformers]'") from _missing

from siod.detectors.networks.query_losses import Partners, SetCriterion, Stage, Wanted, kept_by_centre
from siod.detectors.networks.query_model import LibraryBackbone, library_model
from siod.detectors.networks.query_weights import load_library_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from siod.detectors.query import QuerySpec
    from siod.types import Detections, Mined, Target

DENOISING = "denoising_"


class QueryOutputs(NamedTuple):
    """Outputs of one batch. ``memory`` and ``position_logits`` are those of all positions, map after map.

    ``last`` is the layer detections are read from. ``stages`` are all that are compared with boxes in training, the
    positions at which queries start among them; ``copies`` are the layers for ``noisy`` copies of boxes.
    """

    image_size: tuple[int, int]
    grids: tuple[tuple[int, int], ...]
    memory: Float[Tensor, "b p d"]
    position_logits: Float[Tensor, "b p c"]
    last: Stage
    stages: tuple[Stage, ...]
    noisy: NoisyQueries | None
    copies: tuple[Stage, ...]


@dataclass(frozen=True)
class QueryTargets:
    """What the outputs are compared with; ``heatmaps`` has one map for each mined one."""

    wanted: Wanted
    heatmaps: tuple[Float[Tensor, "b c _ _"], ...]
    unlabelled: Bool[Tensor, "b c"] | None


class QueryDetector(Detector):
    """An RT-DETR or a D-FINE.

    Args:
        spec: Architecture and losses.
        num_classes: Without background.

    Source: Zhao et al., RT-DETR, CVPR 2024; Peng et al., D-FINE, ICLR 2025; Li et al., SIOD, CVPR 2022, section 3.4.
    """

    def __init__(self, spec: QuerySpec, num_classes: int) -> None:
        super().__init__()
        self.spec, self.num_classes = spec, num_classes
        self.size_divisor, self.pixels = spec.size_divisor(), spec.pixel_statistics()
        own = None if spec.has_library_backbone() else build_backbone(spec)
        self.model = library_model(spec, num_classes, own)
        self.config = self.model.config
        self.queries = self.config.num_queries
        self.backbone = LibraryBackbone(self.model.model.backbone) if own is None else own
        self.model.model.backbone = nn.Identity()
        if own is not None:
            freeze_stages(own, spec.frozen_stages)
        if spec.norm == "group":
            with_norm(self.model, spec.norm)
        self.criterion = SetCriterion(self.config, fine=isinstance(spec, DFINE))
        weights = self.criterion.weights
        self.loss_weights = {**weights, **{DENOISING + name: weight for name, weight in weights.items()}}
        self.to(memory_format=torch.channels_last)

    def forward(
        self, images: UInt8[Tensor, "b 3 height width"], targets: Sequence[Target] | None = None
    ) -> QueryOutputs:
        """Compute the outputs of all layers; backbone and encoder under autocast, the decoder in float32.

        Args:
            images: RGB; height and width are multiples of ``size_divisor``.
            targets: In training their boxes are copied with noise.

        Raises:
            ValueError: Height or width is no multiple of ``size_divisor``.
        """
        size, inner = self.size_of(images), self.model.model
        stages = self.backbone.stages(normalise(images, self.pixels))
        projected = [layer(stage) for layer, stage in zip(inner.encoder_input_proj, stages, strict=True)]
        maps = inner.encoder(projected).last_hidden_state
        with torch.autocast(images.device.type, enabled=False):
            noisy = self._noisy(images, targets) if self.training and targets is not None else None
            return self._decoded(size, [each.float() for each in maps], noisy)

    def _noisy(self, images: Tensor, targets: Sequence[Target]) -> NoisyQueries | None:
        noise = Noise(self.config.num_denoising, self.config.box_noise_scale, self.config.label_noise_ratio)
        known, lengths = annotated_boxes(targets), [len(each.labels) for each in targets]
        side = _sides(self.size_of(images), images.device)
        return noisy_queries(known, lengths, image_seeds(images), noise, num_classes=self.num_classes, side=side)

    def _decoded(self, size: tuple[int, int], maps: list[Tensor], noisy: NoisyQueries | None) -> QueryOutputs:
        """Let the library decode maps, with the copies before its own queries."""
        inner, seen = self.model.model, dict[str, Tensor]()
        # A small input has fewer positions than there are queries; then each of them is one.
        inner.config.num_queries = min(self.queries, sum(each.shape[2] * each.shape[3] for each in maps))

        def join(_: nn.Module, args: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            return args, named if noisy is None else named | noisy.before(named, inner.denoising_class_embed)

        hooks = (
            inner.enc_output.register_forward_hook(lambda _, __, memory: seen.update(memory=memory)),
            inner.decoder.register_forward_pre_hook(join, with_kwargs=True),
        )
        try:
            found = inner(None, inputs_embeds=maps[0], encoder_outputs=BaseModelOutput(last_hidden_state=maps))
        finally:
            for hook in hooks:
                hook.remove()
        layers = [found.intermediate_logits, found.intermediate_reference_points]
        if self.criterion.fine is not None:
            layers += [found.intermediate_predicted_corners, found.initial_reference_points]
        copies = 0 if noisy is None else noisy.labels.shape[1]
        own, of_copies = ([each[:, :, which] for each in layers] for which in (slice(copies, None), slice(copies)))
        start = Stage(found.enc_topk_logits, found.enc_topk_bboxes.clamp(0, 1))
        return QueryOutputs(
            image_size=size,
            grids=tuple((each.shape[-2], each.shape[-1]) for each in maps),
            memory=seen["memory"],
            position_logits=found.enc_outputs_class,
            last=Stage(own[0][:, -1], own[1][:, -1]),
            stages=(*self._stages(*own), start) if self.training else (),
            noisy=noisy,
            copies=() if noisy is None else tuple(self._stages(*of_copies, copies=True)),
        )

    def _stages(self, logits: Tensor, boxes: Tensor, *fine: Tensor, copies: bool = False) -> Iterator[Stage]:
        """Pair what layers say. D-FINE has a guess before its first layer, which has no distances."""
        if not fine:
            yield from (Stage(*each) for each in zip(logits.unbind(1), boxes.unbind(1), strict=True))
            return
        boxes, number = boxes.clamp(0, 1), fine[0].shape[1]
        teacher = fine[0][:, -1].detach(), logits[:, -1].detach().sigmoid().amax(dim=2)
        if isinstance(self.spec, DFINE) and self.spec.losses == "published":
            yield Stage(logits[:, 0], boxes[:, 0])
            logits, boxes = logits[:, 1:], boxes[:, 1:]
        elif not copies:
            yield Stage(logits[:, -1], boxes[:, -1])
            number -= 1
        layers = zip(*(each.unbind(1)[:number] for each in (logits, boxes, *fine)), strict=True)
        for layer, parts in enumerate(layers, 1):
            yield Stage(*parts)._replace(teacher=None if layer == fine[0].shape[1] else teacher)

    def encode(self, targets: Sequence[Target], outputs: QueryOutputs) -> QueryTargets:
        """Scale the boxes to sides of the image, and draw them on the mined maps."""
        known = annotated_boxes(targets)
        boxes = torch.cat(
            centres_and_sizes(known.slots_xyxy / _sides(outputs.image_size, outputs.memory.device)), dim=2
        )
        shape = len(outputs.memory), self.num_classes
        heatmaps = tuple(
            draw_heatmap(grid.place(known.boxes_xyxy), known.labels, known.image_index, shape=(*shape, *size))
            for grid, size in self._mined(outputs)
        )
        wanted = Wanted(known, boxes, tuple(len(target.labels) for target in targets))
        return QueryTargets(wanted, heatmaps, unlabelled_classes(targets))

    def _mined(self, outputs: QueryOutputs) -> list[tuple[Grid, tuple[int, int]]]:
        """Where the positions of the mined maps look, with heights and widths."""
        grids = (Grid(stride, first_px=stride / 2) for stride in self.spec.strides_px())
        return list(zip(grids, outputs.grids, strict=True))[: self.spec.mined_maps]

    def levels(self, outputs: QueryOutputs, encoded: QueryTargets) -> tuple[DenseLevel, ...]:
        """The encoder's memory and the class scores of positions; no gradient passes into the scores."""
        counts = [height * width for height, width in outputs.grids]
        features = torch.split(outputs.memory, counts, dim=1)
        scores = torch.split(outputs.position_logits.detach().sigmoid(), counts, dim=1)
        maps = zip(self._mined(outputs), features, scores, encoded.heatmaps, strict=False)
        return tuple(
            DenseLevel(_as_map(feature, size), _as_map(score, size), heatmap, grid)
            for (grid, size), feature, score, heatmap in maps
        )

    def losses(self, outputs: QueryOutputs, encoded: QueryTargets, mined: Sequence[Mined]) -> dict[str, LossTerm]:
        """Compare all layers with the boxes they are matched with, and the copies with what they are copies of."""
        zero, wanted = outputs.memory.new_zeros(()), encoded.wanted
        if outputs.noisy is None and self.config.num_denoising:
            zero = zero + self.model.model.denoising_class_embed.weight.sum() * 0
        sums = dict.fromkeys(self.loss_weights, zero)
        maps = [kept for kept in map(_kept, mined) if kept is not None]
        compared = [(stage, self.criterion.matched(stage, wanted), "") for stage in outputs.stages]
        if outputs.noisy is not None:
            copies = outputs.noisy
            partners = Partners(copies.partner, copies.objects(), copies.present, copies.positive, copies.share)
            compared += [(stage, partners, DENOISING) for stage in outputs.copies]
        for stage, partners, prefix in compared:
            kept = self._kept_negatives(stage, partners, encoded, maps, are_copies=bool(prefix))
            for name, total in self.criterion.sums(stage, partners, wanted, kept).items():
                sums[prefix + name] = sums[prefix + name] + total
        boxes, images = wanted.known.number_to_count(), zero.new_full((), len(outputs.memory))
        return {
            name: LossTerm(total, images if name.endswith("distillation") else boxes) for name, total in sums.items()
        }

    def _kept_negatives(
        self, stage: Stage, partners: Partners, encoded: QueryTargets, maps: Sequence[Tensor], *, are_copies: bool
    ) -> Float[Tensor, "b q c"] | None:
        """The share of its loss that each query keeps as a negative of each class; None if all keep all."""
        boxes, kept = stage.boxes.detach(), torch.ones_like(stage.logits)
        pseudo = encoded.wanted.known.pseudo
        if not maps and not are_copies and encoded.unlabelled is None:
            return None
        if maps:
            kept = kept_by_centre(boxes, maps)
        if are_copies and pseudo is not None:
            kept = kept * (~_centred_within(boxes, encoded.wanted.boxes, pseudo))[:, :, None]
        kept = torch.where(partners.positive[:, :, None], 1.0, kept) * partners.present[:, :, None]
        return kept if encoded.unlabelled is None else kept * ~encoded.unlabelled[:, None]

    def select(self, outputs: QueryOutputs, images: slice) -> QueryOutputs:
        """What belongs to these images; sizes are those of all."""
        noisy = outputs.noisy
        return outputs._replace(
            memory=outputs.memory[images],
            position_logits=outputs.position_logits[images],
            last=outputs.last.of(images),
            stages=tuple(stage.of(images) for stage in outputs.stages),
            noisy=None if noisy is None else noisy.of(images),
            copies=tuple(stage.of(images) for stage in outputs.copies),
        )

    def decode(self, outputs: QueryOutputs) -> list[Detections]:
        """The best pairs of query and class, as many as there are queries; no doubles are suppressed."""
        return listed(self.decode_padded(outputs))

    def decode_padded(self, outputs: QueryOutputs) -> PaddedDetections:
        """The same as one table, which spares the host a wait; a detector that diverged finds nothing."""
        logits, boxes = outputs.last.logits, outputs.last.boxes
        scores, chosen = logits.sigmoid().flatten(1).topk(logits.shape[1], dim=1)
        corners = from_centres_and_sizes(boxes[..., :2], boxes[..., 2:]) * _sides(outputs.image_size, boxes.device)
        found = corners.take_along_dim((chosen // self.num_classes)[..., None], dim=1)
        return PaddedDetections(found, scores, chosen % self.num_classes, scores.isfinite())

    def load_published(
        self,
        file: Path | None = None,
        *,
        category_ids: Sequence[int] | None = None,  # noqa: ARG002  (found by name)
        category_names: Sequence[str] = (),
    ) -> None:
        """Load a detector that transformers saved, class layers by the names of categories."""
        if file is None:
            raise UserError(
                "set weights.file to the folder of a model.safetensors, or weights.model to a model of the hub"
            )
        load_library_weights(self, file, category_names)


def _kept(mined: Mined) -> Float[Tensor, "b c h w"] | None:
    """The share of its loss that a negative keeps at each position of a map (Eq. 5); None where nothing was mined."""
    if mined.pseudo is None and mined.ignored is None:
        return None
    kept = 1.0 if mined.pseudo is None else (1 - mined.pseudo.detach().clamp(max=1)).square().square()
    ignored = mined.ignored
    return kept if ignored is None else kept * ~ignored  # type: ignore[return-value]  # one of both is a tensor


def _centred_within(
    boxes: Float[Tensor, "b q 4"], others: Float[Tensor, "b m 4"], which: Bool[Tensor, "b m"]
) -> Bool[Tensor, "b q"]:
    """Whether the centre of a box is within one of some others; all as centres and sizes."""
    apart = (boxes[:, :, None, :2] - others[:, None, :, :2]).abs()
    return ((apart < others[:, None, :, 2:] / 2).all(dim=3) & which[:, None]).any(dim=2)


def _as_map(values: Float[Tensor, "b _ d"], size: tuple[int, int]) -> Float[Tensor, "b d h w"]:
    return torch.unflatten(values, 1, size).permute(0, 3, 1, 2).contiguous()


def _sides(size: tuple[int, int], device: torch.device) -> Float[Tensor, " 4"]:
    """Width and height, twice, without a wait for the device."""
    height, width = size
    return send(np.array([width, height, width, height], dtype=np.float32), device)
