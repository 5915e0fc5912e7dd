"""torchvision's FCOS and RetinaNet, weights loaded into ours, find the same boxes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import fcos_resnet50_fpn, retinanet_resnet50_fpn
from torchvision.ops import FrozenBatchNorm2d

from siod.detectors.networks.fcos import FCOSDetector
from siod.detectors.networks.published import load_torchvision_state
from siod.detectors.networks.retinanet import RetinaNetDetector
from siod.detectors.spec import DetectorSpec
from siod.detectors.zoo import CENTERNET_TINY, FCOS_R50_FPN, FCOS_TINY, RETINANET_R50_FPN, build
from siod.errors import UserError
from siod.training.experiment import PublishedDetector
from siod.training.weight_loading import load_initial_weights

HEIGHT, WIDTH = 160, 224
FAMILIES = [(FCOS_R50_FPN, fcos_resnet50_fpn), (RETINANET_R50_FPN, retinanet_resnet50_fpn)]
Theirs = Callable[..., nn.Module]


def theirs_of(theirs: Theirs, classes: int) -> Any:
    """torchvision's detector with random weights that score some anchors high; it takes images as they are."""
    torch.manual_seed(0)
    # At 160 x 224 px the resize to a short edge of 160 leaves every pixel where it is.
    model: Any = theirs(weights=None, weights_backbone=None, num_classes=classes, min_size=HEIGHT).eval()
    with torch.no_grad():
        for name, buffer in model.backbone.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
            if name.endswith("running_mean"):
                buffer.normal_(std=0.1)
        for last in (model.head.classification_head.cls_logits, model.head.regression_head.bbox_reg):
            last.weight.normal_(std=0.05)
            last.bias.normal_(std=0.5)
    return model


def images() -> Tensor:
    coarse = torch.randint(0, 256, (2, 3, 20, 28), generator=torch.Generator().manual_seed(0)).float()
    return torch.nn.functional.interpolate(coarse, size=(HEIGHT, WIDTH), mode="bilinear").round().byte()


@torch.no_grad()
def compare(ours: Any, theirs: Any, *, fewest: int = 20) -> None:
    """Compare detections, computed in double precision.

    In single precision the order of sums alone moves boxes by up to 1e-3 px through seventy layers, those of
    torchvision's own model in two memory layouts as well.
    """
    pixels = images()
    ours.double().backbone.conv1.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
    found = ours.decode(ours(pixels))
    for mine, expected in zip(found, theirs.double()(list(pixels.double() / 255)), strict=True):
        assert len(expected["labels"]) > fewest
        assert torch.equal(mine.labels, expected["labels"])
        torch.testing.assert_close(mine.boxes_xyxy.double(), expected["boxes"], rtol=0, atol=1e-4)
        torch.testing.assert_close(mine.scores.double(), expected["scores"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("spec", "theirs"), FAMILIES, ids=["fcos", "retinanet"])
def test_our_detector_finds_the_boxes_of_torchvision_s_to_1e_4(spec: DetectorSpec, theirs: Theirs) -> None:
    model = theirs_of(theirs, 91)
    ours = build(spec, num_classes=91).eval()
    load_torchvision_state(ours, model.state_dict())
    compare(ours, model)


def test_normalisation_without_a_term_beside_the_variance_is_carried_over() -> None:
    """As in the published RetinaNet; with variances this small the term would make a difference."""
    model = theirs_of(retinanet_resnet50_fpn, 5)
    ours = build(RETINANET_R50_FPN, num_classes=5).eval()
    with torch.no_grad():
        for module in model.backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_var.mul_(1e-4)
                module.weight.mul_(1e-2)
    load_torchvision_state(ours, model.state_dict(), norm_eps=0.0)
    for module in model.backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.0
    compare(ours, model)


def test_the_rows_of_a_data_set_s_categories_are_taken(tmp_path: Path) -> None:
    model = theirs_of(fcos_resnet50_fpn, 91)
    torch.save(model.state_dict(), tmp_path / "fcos.pth")
    category_ids = (1, 90, 17)
    ours = build(FCOS_R50_FPN, num_classes=3).eval()
    ours.load_published(tmp_path / "fcos.pth", category_ids=category_ids)
    layer = model.head.classification_head.cls_logits
    assert torch.equal(ours.get_submodule("head.classification_head.cls_logits").bias, layer.bias[list(category_ids)])
    whole = build(FCOS_R50_FPN, num_classes=91).eval()
    whole.load_published(tmp_path / "fcos.pth")
    with torch.no_grad():
        few, all_of_them = ours(images()), whole(images())
    torch.testing.assert_close(few.class_logits, all_of_them.class_logits[:, :, list(category_ids)])


def test_rows_of_a_detector_with_nine_anchors_are_taken_for_each() -> None:
    model = theirs_of(retinanet_resnet50_fpn, 7)
    ours = build(RETINANET_R50_FPN, num_classes=2)
    load_torchvision_state(ours, model.state_dict(), category_ids=(5, 2))
    expected = model.head.classification_head.cls_logits.bias.view(9, 7)[:, [5, 2]].flatten()
    assert torch.equal(ours.get_submodule("head.classification_head.cls_logits").bias, expected)


def test_an_experiment_begins_with_them(tmp_path: Path) -> None:
    model = theirs_of(fcos_resnet50_fpn, 91)
    torch.save(model.state_dict(), tmp_path / "fcos.pth")
    detector = build(FCOS_R50_FPN, num_classes=2)
    weights = PublishedDetector(file=tmp_path / "fcos.pth")
    load_initial_weights(detector, weights, tmp_path / "fcos.pth", category_ids=(3, 8))
    stem, last = model.backbone.body.conv1, model.head.classification_head.cls_logits
    assert torch.equal(detector.backbone.conv1.weight, stem.weight)
    assert torch.equal(detector.get_submodule("head.classification_head.cls_logits").bias, last.bias[[3, 8]])
    with pytest.raises(UserError, match="category id 200 is none of their 91"):
        load_initial_weights(detector, weights, tmp_path / "fcos.pth", category_ids=(3, 200))


def test_every_published_detector_is_named_with_its_normalisation() -> None:
    published = [FCOSDetector.published, RetinaNetDetector.published]
    assert [str(found.weights) for found in published] == [
        "FCOS_ResNet50_FPN_Weights.COCO_V1",
        "RetinaNet_ResNet50_FPN_Weights.COCO_V1",
    ]
    assert [found.norm_eps for found in published] == [1e-5, 0.0]
    assert FrozenBatchNorm2d(1).eps == 1e-5


def test_weights_of_another_architecture_are_refused() -> None:
    state = theirs_of(fcos_resnet50_fpn, 3).state_dict()
    with pytest.raises(UserError, match="publishes no detector of this family"):
        build(CENTERNET_TINY, num_classes=3).load_published()
    with pytest.raises(UserError, match="published weights do not fit this detector"):
        load_torchvision_state(build(FCOS_TINY, num_classes=3), state)
    with pytest.raises(UserError, match="is on one side only"):
        load_torchvision_state(build(RETINANET_R50_FPN, num_classes=3), {})
