"""The region proposal network of a two-stage detector, on one feature level.

Built on torchvision's; here are its settings, its losses as sums with counts, and sampling that depends on
the image and the step alone. B images, A anchors at a position, P anchors of an image (positions times A,
anchors of one position together), S sampled anchors of the batch, N of them objects.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self

import torch
from jaxtyping import Float, Int, UInt8  # noqa: TC002  (beartype resolves the annotations at run time)
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead, concat_box_prediction_layers

from siod.detectors.float32 import in_float32
from siod.types import LossTerm
from siod.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from siod.types import Target

Overlap = Annotated[float, Field(ge=0, le=1)]

POSITIVE_SHARE = 0.5
SUPPRESSION_IOU = 0.7


class ProposalNetwork(Value):
    """Anchors, what they are compared with, and how many proposals come of them.

    An anchor is an object from ``object_iou`` with an annotated box, or when no other overlaps that box more;
    it is background below ``background_iou``. ``sampled`` anchors an image enter the loss, at most half of
    them objects. The best ``candidates`` go through suppression and the best ``kept`` of the rest are the
    proposals, each given for training and for inference.
    """

    anchor_sizes_px: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (32, 64, 128, 256, 512)
    anchor_ratios: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (0.5, 1.0, 2.0)
    object_iou: Overlap = 0.7
    background_iou: Overlap = 0.3
    sampled: PositiveInt = 256
    candidates: tuple[PositiveInt, PositiveInt] = (12000, 6000)
    kept: tuple[PositiveInt, PositiveInt] = (2000, 1000)

    @model_validator(mode="after")
    def _thresholds_are_in_order(self) -> Self:
        if self.background_iou > self.object_iou:
            message = f"background_iou {self.background_iou} must not be above object_iou {self.object_iou}"
            raise ValueError(message)
        return self


class Proposed(NamedTuple):
    """What the network says of each anchor, and the proposals of each image.

    ``objectness`` is before the sigmoid. ``boxes_xyxy`` are in pixels of the input, best first, and pass no
    gradient.
    """

    objectness: Float[Tensor, "b p"]
    deltas: Float[Tensor, "b p 4"]
    anchors_xyxy: Float[Tensor, "p 4"]
    boxes_xyxy: tuple[Float[Tensor, "_ 4"], ...]


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
    batch, sizes = len(images), [(images.shape[-2], images.shape[-1])] * len(images)
    logits, raw_deltas = network.head([features])
    objectness, deltas = (maps.float() for maps in concat_box_prediction_layers(logits, raw_deltas))
    # The generator reads sizes and dtype of the maps: float32, or else large anchors lose their last pixels.
    anchors = network.anchor_generator(ImageList(images, sizes), [logits[0].float()])
    decoded = network.box_coder.decode(deltas.detach(), anchors).view(batch, -1, 4)
    boxes, _ = network.filter_proposals(decoded, objectness, sizes, [len(anchors[0])])
    return Proposed(objectness.view(batch, -1), deltas.view(batch, -1, 4), anchors[0], tuple(boxes))


def sample_anchors(
    network: Any, anchors_xyxy: Float[Tensor, "p 4"], targets: Sequence[Target], seeds: Sequence[int]
) -> AnchorSample:
    """Choose the anchors that enter the loss.

    Args:
        network: Knows the thresholds and the numbers.
        anchors_xyxy: Of every image.
        targets: One per image; hidden instances are not read.
        seeds: One per image, of :func:`image_seeds`.

    Returns:
        The sample; the same for the same seeds.
    """
    device = anchors_xyxy.device
    labels, matched = network.assign_targets_to_anchors(
        [anchors_xyxy] * len(targets), [{"boxes": target.boxes_xyxy} for target in targets]
    )
    masks = []
    for seed, of_image in zip(seeds, labels, strict=True):
        with seeded(seed, device):
            (objects,), (background,) = network.fg_bg_sampler([of_image])
        masks.append(torch.stack([objects, background]))
    objects, background = (mask.flatten().nonzero().squeeze(1) for mask in torch.stack(masks, dim=1))
    boxes = torch.cat(matched)[objects]
    deltas = network.box_coder.encode_single(boxes, anchors_xyxy[objects % len(anchors_xyxy)])
    return AnchorSample(objects, background, deltas)


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
    count = scored.new_tensor(len(sample.objects) + len(sample.background))
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


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Let torch's global random numbers follow from a seed; afterwards they go on as if nothing had been drawn."""
    is_cpu = device.type == "cpu"
    with torch.random.fork_rng([] if is_cpu else [device], device_type="cuda" if is_cpu else device.type):
        torch.manual_seed(seed)
        yield
