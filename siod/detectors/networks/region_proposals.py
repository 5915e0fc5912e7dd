"""The region proposal network of a two-stage detector, on one feature level.

Built on torchvision's; here are its losses as sums with counts, and sampling that depends on the image and the step
alone. All images of a batch go through each step at once, and the host waits for the device as often for one as for
many. B images, A anchors at a position, P anchors of an image (positions times A, anchors of one position together),
T places for proposals of an image, S sampled anchors of the batch, N of them objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead, concat_box_prediction_layers
from torchvision.ops import clip_boxes_to_image

from siod.detectors.networks.float32 import in_float32
from siod.ops.boxes import decode_deltas, encode_deltas
from siod.ops.matching import BACKGROUND, match_by_overlap
from siod.ops.padding import send, unpad
from siod.ops.ragged import first_places_of, places_of
from siod.ops.suppression import surviving
from siod.types import LossTerm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.detectors.networks.annotated import AnnotatedBoxes
    from siod.detectors.region_proposals import ProposalNetwork


POSITIVE_SHARE = 0.5
SUPPRESSION_IOU = 0.7
LEAST_SIDE_PX = 1e-3


class Proposed(NamedTuple):
    """What the network says of each anchor, and the proposals of each image.

    ``objectness`` is before the sigmoid. ``boxes_xyxy`` are in pixels of the input, best first, and pass no
    gradient; those that are not ``present`` come last.
    """

    objectness: Float[Tensor, "b p"]
    deltas: Float[Tensor, "b p 4"]
    anchors_xyxy: Float[Tensor, "p 4"]
    boxes_xyxy: Float[Tensor, "b t 4"]
    present: Bool[Tensor, "b t"]

    def regions(self) -> tuple[Float[Tensor, "_ 4"], ...]:
        """The proposals of each image; the host waits for how many there are."""
        return tuple(boxes for (boxes,) in unpad(self.present, self.boxes_xyxy))


class AnchorSample(NamedTuple):
    """The sampled anchors of a batch as indices into all B x P, and what those that are objects should say."""

    objects: Int[Tensor, " n"]
    background: Int[Tensor, " m"]
    deltas: Float[Tensor, "n 4"]


def build_proposal_network(spec: ProposalNetwork, channels: int) -> Any:
    """Build torchvision's network on features of some channels.

    Args:
        spec: Its settings.
        channels: Of the features.

    Returns:
        The module; its parameters are named as in torchvision's Faster R-CNN.

    Source: Ren et al., Faster R-CNN, NeurIPS 2015, section 3.1.
    """
    anchors = AnchorGenerator((spec.anchor_sizes_px,), (spec.anchor_ratios,))
    head = RPNHead(channels, len(spec.anchor_sizes_px) * len(spec.anchor_ratios))
    in_float32(head.cls_logits, head.bbox_pred)
    return RegionProposalNetwork(
        anchors,
        head,
        fg_iou_thresh=spec.object_iou,
        bg_iou_thresh=spec.background_iou,
        batch_size_per_image=spec.sampled,
        positive_fraction=POSITIVE_SHARE,
        pre_nms_top_n=dict(zip(("training", "testing"), spec.candidates, strict=True)),
        post_nms_top_n=dict(zip(("training", "testing"), spec.kept, strict=True)),
        nms_thresh=SUPPRESSION_IOU,
    )


def propose(network: Any, features: Float[Tensor, "b d h w"], images: UInt8[Tensor, "b 3 height width"]) -> Proposed:
    """Let the network propose regions.

    Args:
        network: Of :func:`build_proposal_network`.
        features: Of the images; their strides divide height and width.
        images: Only their size is read.

    Returns:
        Objectness and deltas in float32 whatever the precision of the features.
    """
    batch, size = len(images), (images.shape[-2], images.shape[-1])
    logits, raw_deltas = network.head([features])
    objectness, deltas = (maps.float() for maps in concat_box_prediction_layers(logits, raw_deltas))
    # The generator reads sizes and dtype of the maps: float32, or else large anchors lose their last pixels.
    anchors = network.anchor_generator(ImageList(images, [size]), [logits[0].float()])[0]
    objectness, deltas = objectness.view(batch, -1), deltas.view(batch, -1, 4)
    with torch.no_grad():
        boxes, present = _best_boxes(network, objectness, deltas, anchors, size)
    return Proposed(objectness, deltas, anchors, boxes, present)


def _best_boxes(
    network: Any,
    objectness: Float[Tensor, "b p"],
    deltas: Float[Tensor, "b p 4"],
    anchors_xyxy: Float[Tensor, "p 4"],
    image_size: tuple[int, int],
) -> tuple[Float[Tensor, "b t 4"], Bool[Tensor, "b t"]]:
    """Suppress doubles among the best candidates of each image; the best of the rest are its proposals."""
    best = objectness.topk(min(network.pre_nms_top_n(), objectness.shape[1]), dim=1)
    chosen = deltas.take_along_dim(best.indices[:, :, None], dim=1)
    boxes = clip_boxes_to_image(decode_deltas(chosen, anchors_xyxy[best.indices]), image_size)
    large = (boxes[..., 2:] - boxes[..., :2]).amin(dim=2) >= LEAST_SIDE_PX
    boxes = boxes.masked_fill(~large[:, :, None], 0)
    left = surviving(boxes, best.values.sigmoid(), iou=network.nms_thresh) & large
    places, present = first_places_of(left, network.post_nms_top_n())
    return boxes.take_along_dim(places[:, :, None], dim=1).masked_fill(~present[:, :, None], 0), present


class Drawn(NamedTuple):
    """What was drawn of the candidates of a batch, as ascending indices into all of them, image after image.

    ``counts`` has how many were drawn of each image, objects and background together.
    """

    objects: Int[Tensor, " n"]
    background: Int[Tensor, " m"]
    counts: tuple[int, ...]


def draw(
    is_object: Bool[Tensor, "b k"],
    is_background: Bool[Tensor, "b k"],
    seeds: Sequence[int],
    *,
    number: int,
    share: float,
) -> Drawn:
    """Draw a number of candidates of each image by its seed, at most a share of them objects.

    Args:
        is_object: Candidates that are objects.
        is_background: Candidates that are background.
        seeds: One per image, of :func:`image_seeds`.
        number: So many of an image, or all there are.
        share: Of the number, in [0, 1].

    Returns:
        The sample. The host draws it, so it is the same on every device; it waits once, for how many there are.

    Source: Ren et al., Faster R-CNN, NeurIPS 2015, section 3.1.3; the choice is that of torchvision's
        ``BalancedPositiveNegativeSampler`` when the CPU's generator begins with the image's seed.
    """
    # object or background, image
    present = torch.stack([is_object.sum(dim=1), is_background.sum(dim=1)]).tolist()
    ranks: list[list[Any]] = [[], []]
    for seed, *of_image in zip(seeds, *present, strict=True):
        generator = torch.Generator().manual_seed(seed)
        most = min(of_image[0], int(number * share))
        for drawn, count, wanted in zip(ranks, of_image, (most, number - most), strict=True):
            drawn.append(np.sort(torch.randperm(count, generator=generator).numpy()[:wanted]))
    counts = [[len(chosen) for chosen in drawn] for drawn in ranks]
    # Ranks within the batch: those of an image begin where the last one's end.
    begin = [np.repeat(np.cumsum([0, *all_there[:-1]]), some) for all_there, some in zip(present, counts, strict=True)]
    of_batch = np.concatenate([*ranks[0], *ranks[1]]) + np.concatenate(begin)
    objects, background = torch.split(send(of_batch, is_object.device), [sum(some) for some in counts])
    return Drawn(
        places_of(is_object.flatten(), objects),
        places_of(is_background.flatten(), background),
        tuple(map(sum, zip(*counts, strict=True))),
    )


def sample_anchors(
    network: Any, anchors_xyxy: Float[Tensor, "p 4"], known: AnnotatedBoxes, seeds: Sequence[int]
) -> AnchorSample:
    """Choose the anchors that enter the loss.

    Args:
        network: Knows the thresholds and the numbers.
        anchors_xyxy: Of every image.
        known: The annotated boxes.
        seeds: One per image, of :func:`image_seeds`.

    Returns:
        The sample; the same for the same seeds.
    """
    matcher, sampler = network.proposal_matcher, network.fg_bg_sampler
    match = match_by_overlap(
        known.slots_xyxy,
        known.present,
        anchors_xyxy[None],
        object_iou=matcher.high_threshold,
        background_iou=matcher.low_threshold,
        best_of_each=True,
    )
    drawn = draw(
        match >= 0, match == BACKGROUND, seeds, number=sampler.batch_size_per_image, share=sampler.positive_fraction
    )
    boxes = known.slots_xyxy.flatten(0, 1)[known.slots_of(match, drawn.objects)]
    deltas = encode_deltas(boxes, anchors_xyxy[drawn.objects % len(anchors_xyxy)])
    return AnchorSample(drawn.objects, drawn.background, deltas)


def proposal_terms(
    proposed: Proposed,
    sample: AnchorSample,
    *,
    box_beta: float = 0.0,
    background_weight: Float[Tensor, "b p"] | None = None,
) -> dict[str, LossTerm]:
    """Sum the losses of the sampled anchors; both are counted by the number of sampled anchors.

    Args:
        proposed: Of :func:`propose`.
        sample: Of :func:`sample_anchors`.
        box_beta: Below this difference the box loss is quadratic; 0 is the L1 loss.
        background_weight: Weighs the objectness loss of background anchors, in [0, 1].

    Returns:
        ``rpn_objectness`` (cross entropy) and ``rpn_box`` (smooth L1 of the objects' deltas).

    Source: Ren et al., Faster R-CNN, NeurIPS 2015, Eq. 1; normalised as detectron2 and torchvision do.
    """
    objectness, deltas = proposed.objectness.flatten(), proposed.deltas.flatten(0, 1)
    # -log p = softplus(-logit) for an object, -log(1 - p) = softplus(logit) for background
    background = functional.softplus(objectness[sample.background])
    if background_weight is not None:
        background = background * background_weight.flatten()[sample.background]
    scored = functional.softplus(-objectness[sample.objects]).sum() + background.sum()
    placed = functional.smooth_l1_loss(deltas[sample.objects], sample.deltas, beta=box_beta, reduction="sum")
    count = scored.new_full((), len(sample.objects) + len(sample.background))
    return {"rpn_objectness": LossTerm(scored, count), "rpn_box": LossTerm(placed, count)}


def image_seeds(images: UInt8[Tensor, "b 3 height width"]) -> tuple[int, ...]:
    """Draw seeds for what is sampled in each image.

    One number is drawn from torch's global generator whatever the number of images, and each image's pixel sum is
    added: a seed does not depend on the other images of the batch, so workers whose generators are in one state
    sample what a single worker would, and an image that comes again is sampled anew.

    Args:
        images: RGB.

    Returns:
        Whole numbers below 2^31, one per image.
    """
    draw = int(torch.randint(2**31, ()))
    sums: list[int] = images.sum(dim=(1, 2, 3)).tolist()
    return tuple((draw + total) % 2**31 for total in sums)
