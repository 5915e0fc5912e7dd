"""What a detector costs the host of a GPU: it waits for the device as often for many images as for two.

Counted on the CPU. Between two batches of one family only the number of images differs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from host_cost import HostCost
from torch import Tensor, nn

from siod.detectors.detector import Detector
from siod.detectors.networks.annotated import annotated_boxes
from siod.detectors.spec import DetectorSpec
from siod.detectors.zoo import (
    CENTERNET_TINY,
    FASTER_RCNN_TINY,
    FASTER_RCNN_TINY_MINING,
    FCOS_TINY,
    RETINANET_TINY,
    build,
)
from siod.dminer.mining.levels import mine
from siod.dminer.pgcl import PGCL
from siod.dminer.splg import SPLG
from siod.types import Target

SIDE_PX, CLASSES = 64, 3
MINERS = {"splg": SPLG(), "pgcl": PGCL(top_m=4)}


class Cost(NamedTuple):
    """A family, what it is with DMiner, and what it may cost without the miners.

    ``waits`` of a training step, ``launches`` more for each further image; of Faster R-CNN's, the host's own shuffles.
    """

    plain: DetectorSpec
    mining: DetectorSpec
    waits: int
    launches: int


# CenterNet's loss, FCOS's and RetinaNet's targets ask once. Faster R-CNN asks for seeds (twice), proposals, and for how
# many regions and how many anchors there are to draw from; with its branch once more.
FAMILIES = [
    Cost(CENTERNET_TINY, CENTERNET_TINY, 1, 0),
    Cost(FCOS_TINY, FCOS_TINY, 1, 0),
    Cost(RETINANET_TINY, RETINANET_TINY, 1, 0),
    Cost(
        FCOS_TINY.with_changes({"mining.references": "own_level"}),
        FCOS_TINY.with_changes({"mining.references": "own_level"}),
        1,
        0,
    ),
    Cost(
        RETINANET_TINY.with_changes({"mining.references": "own_level"}),
        RETINANET_TINY.with_changes({"mining.references": "own_level"}),
        1,
        0,
    ),
    Cost(FASTER_RCNN_TINY, FASTER_RCNN_TINY_MINING, 6, 5),
]
every_family = pytest.mark.parametrize(
    "family", FAMILIES, ids=["centernet", "fcos", "retinanet", "fcos-own", "retinanet-own", "faster_rcnn_c4"]
)


def detector_of(spec: DetectorSpec) -> Detector:
    """Random weights with which it finds something."""
    torch.manual_seed(0)
    detector = build(spec, num_classes=CLASSES)
    with torch.no_grad():
        for name, layer in detector.named_modules():
            if isinstance(layer, nn.Conv2d | nn.Linear) and name.endswith(("cls_logits", "cls_score", "bbox_pred")):
                layer.weight.normal_(std=0.1)
    return detector


def a_batch(images: int) -> tuple[Tensor, list[Target]]:
    """Images with none to three boxes; a detector that is asked for less in an image without boxes is no cheaper."""
    torch.manual_seed(1)
    pixels = torch.randint(0, 256, (images, 3, SIDE_PX, SIDE_PX), dtype=torch.uint8)
    targets = []
    for index in range(images):
        low = torch.rand((index + 1) % 4, 2) * SIDE_PX / 2
        boxes = torch.cat([low, low + 8 + torch.rand(len(low), 2) * SIDE_PX / 3], dim=1)
        labels = torch.randint(CLASSES, (len(low),))
        targets.append(Target(boxes, labels, boxes[:0], labels[:0]))
    return pixels, targets


def step_cost(spec: DetectorSpec, images: int, *, miners: dict[str, Any]) -> tuple[int, int]:
    """Waits and launches of a training step, those of the miners left out."""
    detector, (pixels, targets) = detector_of(spec), a_batch(images)
    detector(pixels, targets)  # what is kept for all steps
    with HostCost() as before:
        outputs = detector(pixels, targets)
        encoded = detector.encode(targets, outputs)
        levels = detector.levels(outputs, encoded)
    mining = mine(levels, **miners)
    with HostCost() as after:
        terms = detector.losses(outputs, encoded, mining.mined)
        torch.stack([term.total for term in terms.values()]).sum().backward()
    assert all(torch.isfinite(term.total) for term in terms.values())
    return before.synchronisations + after.synchronisations, before.operations + after.operations


@every_family
@pytest.mark.parametrize("dminer", [False, True])
def test_a_training_step_waits_as_often_for_eight_images_as_for_two(family: Cost, *, dminer: bool) -> None:
    spec, miners = (family.mining, MINERS) if dminer else (family.plain, {})
    (few, launches), (many, more) = (step_cost(spec, images, miners=miners) for images in (2, 8))
    assert few == many <= family.waits
    assert more - launches <= family.launches * 6


@every_family
def test_detections_are_waited_for_as_often_for_eight_images_as_for_two(family: Cost) -> None:
    """In Faster R-CNN also for the proposals, and for how many there are."""
    detector = detector_of(family.plain).eval()
    found = []
    for images in (2, 8):
        pixels, _ = a_batch(images)
        with torch.inference_mode():
            detector.decode(detector(pixels))
            with HostCost() as cost:
                detections = detector.decode(detector(pixels))
        assert sum(len(each.labels) for each in detections) > images
        found.append((cost.synchronisations, cost.operations))
    assert found[0] == found[1]
    assert found[0][0] <= (5 if family.plain.family == "faster_rcnn_c4" else 3)


def test_packing_the_annotated_boxes_waits_for_nothing() -> None:
    _, targets = a_batch(5)
    with HostCost() as cost:
        known = annotated_boxes(targets)
    assert cost.synchronisations == 0
    assert known.present.sum(dim=1).tolist() == [1, 2, 3, 0, 1]
    assert known.image_index.tolist() == [0, 1, 1, 2, 2, 2, 4]
    for index, target in enumerate(targets):
        assert torch.equal(known.slots_xyxy[index][known.present[index]], target.boxes_xyxy)
        assert torch.equal(known.slot_labels[index][known.present[index]], target.labels)


def test_waits_are_counted_also_where_gradients_are_never_wanted() -> None:
    """There operations reach the counter whole."""
    with torch.inference_mode(), HostCost() as cost:
        int(torch.ones(3).sum())
        torch.where(torch.ones(3) > 0)
        torch.where(torch.ones(3) > 0, 1.0, 0.0)
    assert cost.synchronisations == 2
