"""Backbones out of models that somebody else wrote: stages, features, settings."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from siod.detectors.backbones.architectures import SCALES
from siod.detectors.backbones.building import build_backbone, freeze_stages
from siod.detectors.backbones.names import Known, known
from siod.detectors.backbones.norms import FrozenNorm
from siod.detectors.backbones.pixels import IMAGENET_PIXELS
from siod.detectors.backbones.reading import read_model
from siod.detectors.backbones.staged import read_stages
from siod.detectors.backbones.weights import load_backbone_weights
from siod.detectors.centernet import CenterNet
from siod.detectors.faster_rcnn_c4 import FasterRCNNC4
from siod.detectors.fcos import FCOS
from siod.detectors.retinanet import RetinaNet
from siod.detectors.spec import DetectorSpec
from siod.detectors.zoo import CENTERNET_LITE0, FCOS_LITE0, RETINANET_LITE0, build
from siod.errors import UserError

SIX_STRIDES = ("vgg11", [(1, 64), (2, 128), (4, 256), (8, 512), (16, 512), (32, 512)])
OTHERS = [
    ("mobilenet_v2", [(2, 16), (4, 24), (8, 32), (16, 96), (32, 320)]),
    ("mobilenet_v3_large", [(2, 16), (4, 24), (8, 40), (16, 112), (32, 160)]),
    ("efficientnet_b0", [(2, 16), (4, 24), (8, 40), (16, 112), (32, 320)]),
    ("efficientnet_lite2", [(2, 16), (4, 24), (8, 48), (16, 120), (32, 352)]),
    ("convnext_tiny", [(4, 96), (8, 192), (16, 384), (32, 768)]),
    ("regnet_y_400mf", [(2, 32), (4, 48), (8, 104), (16, 208), (32, 440)]),  # it works out its widths with tensors
    ("shufflenet_v2_x1_0", [(2, 24), (4, 24), (8, 116), (16, 232), (32, 464)]),
    SIX_STRIDES,
]


@pytest.mark.parametrize(("name", "expected"), OTHERS, ids=lambda value: value if isinstance(value, str) else "")
def test_strides_and_channels_are_read_off_the_model(name: str, expected: list[tuple[int, int]]) -> None:
    assert [(stage.stride_px, stage.channels) for stage in read_model(name).stages] == expected


@pytest.mark.parametrize("name", SCALES)
def test_what_settings_know_of_a_backbone_of_ours_is_what_its_model_gives(name: str) -> None:
    model = read_model(name)
    assert known(name) == Known(tuple(stage.stride_px for stage in model.stages), model.pixels, model.norms)


def spec_of(name: str, **changes: Any) -> CenterNet:
    return CenterNet(backbone=name, upsampling="plain", upsampling_channels=(16, 16, 8), **changes)


def torchvision_s_features(name: str, model: Any, images: Tensor) -> tuple[Tensor, ...]:
    """C3, C4 and C5 as torchvision's own modules make them, after the indices of its layers."""
    if name == "regnet_y_400mf":
        blocks = model.trunk_output
        c3 = blocks.block2(blocks.block1(model.stem(images)))
        return c3, blocks.block3(c3), blocks.block4(blocks.block3(c3))
    ends = {"mobilenet_v2": (7, 14, 18), "efficientnet_b0": (4, 6, 8)}[name]
    return tuple(model.features[:end](images) for end in ends)


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0", "regnet_y_400mf"])
@torch.no_grad()
def test_a_whole_model_s_weights_give_torchvision_s_own_features(name: str, tmp_path: Any) -> None:
    torch.manual_seed(0)
    published = models.get_model(name, weights=None).eval()
    torch.save(published.state_dict(), tmp_path / "weights.pth")
    backbone = build_backbone(spec_of(name)).eval()
    load_backbone_weights(backbone, tmp_path / "weights.pth")
    images = torch.randn(1, 3, 64, 96)
    for found, wanted in zip(backbone.stages(images), torchvision_s_features(name, published, images), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert torch.equal(backbone(images), backbone.last_stage(backbone.trunk(images)))


class InPlace(nn.Module):
    """Rectifies in place between two layers, which the layers alone do not tell."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third, self.fourth = (
            nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in pairwise((3, 4, 4, 4, 4))
        )

    def forward(self, images: Tensor) -> Tensor:
        features = self.second(self.first(images)).relu_()
        made: Tensor = self.fourth(self.third(features))
        return made


def test_a_model_that_does_more_than_its_layers_is_refused() -> None:
    with torch.device("meta"):
        model = InPlace()
    with pytest.raises(ValueError, match="do not make maps of three strides or more"):
        read_stages(model)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mobilnet_v2", "unknown backbone 'mobilnet_v2'; did you mean 'mobilenet_v2'"),
        ("swin_t", "backbone swin_t cannot be a detector's: its layers do not make maps of three strides"),
        ("vit_b_16", "backbone vit_b_16 cannot be a detector's: it does not take images of any size"),
        ("alexnet", "backbone alexnet cannot be a detector's"),
    ],
)
def test_what_cannot_be_a_backbone_is_refused_when_it_is_named(name: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        CenterNet.parse({"backbone": name}, source="settings")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"backbone": "mobilenet_v2", "base_width": 16}, "base_width 16 is a ResNet's; leave it out for backbone"),
        ({"backbone": "convnext_tiny", "norm": "frozen"}, "norm frozen cannot replace .* set norm to batch, where"),
        ({"backbone": "convnext_tiny", "frozen_stages": 4}, "has 4 stages; set it to 3 or less"),
    ],
)
def test_settings_that_a_backbone_cannot_have_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        CenterNet.parse(settings, source="settings")


def test_images_are_normalised_as_the_backbone_was_trained() -> None:
    lite = CenterNet(backbone="efficientnet_lite0").pixel_statistics()
    assert [255 * lite.mean[0], 255 * lite.deviation[2]] == pytest.approx([127, 128])
    assert FCOS(backbone="mobilenet_v2", norm="batch").pixel_statistics() == IMAGENET_PIXELS
    assert FCOS(backbone="efficientnet_lite0", pixels="backbone").pixel_statistics() == lite
    with pytest.raises(UserError, match="trained on images of other statistics; set pixels to backbone"):
        FCOS.parse({"backbone": "efficientnet_lite0"}, source="settings")


def test_frozen_stages_learn_nothing_and_the_others_do() -> None:
    backbone = build_backbone(spec_of("mobilenet_v2"))
    freeze_stages(backbone, 3)
    frozen = {name for name, value in backbone.named_parameters() if not value.requires_grad}
    assert frozen == {name for name, _ in backbone.named_parameters() if int(name.split(".")[2]) <= 6}


def test_frozen_normalisation_keeps_what_was_learnt() -> None:
    torch.manual_seed(0)
    learnt = build_backbone(spec_of("mobilenet_v2"))
    learnt(torch.randn(4, 3, 64, 64))  # moves the running statistics
    frozen = build_backbone(spec_of("mobilenet_v2", norm="frozen")).train()
    frozen.load_state_dict(learnt.state_dict(), strict=False)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in frozen.modules())
    assert sum(isinstance(module, FrozenNorm) for module in frozen.modules()) == 51
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(frozen(images), learnt.eval()(images), rtol=1e-4, atol=1e-5)


def test_group_normalisation_replaces_a_batch_s() -> None:
    backbone = build_backbone(spec_of("mobilenet_v2", norm="group")).train()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(backbone(images)[:1], backbone(images[:1]), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_timm_s_models_give_timm_s_features_and_keep_their_rectifiers_when_frozen(tmp_path: Any) -> None:
    """timm's normalisation of RegNets rectifies too."""
    timm = pytest.importorskip("timm", reason="the extra timm is not installed")
    torch.manual_seed(0)
    theirs = timm.create_model("regnety_002", pretrained=False).eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    images = torch.randn(1, 3, 64, 96)
    wanted = theirs.forward_intermediates(images, indices=3, intermediates_only=True)
    for norm in ("batch", "frozen"):
        backbone = build_backbone(spec_of("timm/regnety_002", norm=norm)).eval()
        load_backbone_weights(backbone, tmp_path / "weights.pth")
        for found, expected in zip(backbone.stages(images), wanted, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())
    with pytest.raises(UserError, match=r"norm group cannot replace .* set norm to batch or frozen"):
        CenterNet.parse({"backbone": "timm/regnety_002", "norm": "group"}, source="settings")
    with pytest.raises(UserError, match="unknown backbone 'timm/regnety_02'; did you mean 'timm/regnety_0"):
        CenterNet.parse({"backbone": "timm/regnety_02"}, source="settings")


def test_a_model_of_timm_without_timm_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(UserError, match=r"backbone timm/resnet18 needs the package timm; pip install 'siod\[timm\]'"):
        CenterNet.parse({"backbone": "timm/resnet18"}, source="settings")


FAMILIES = [
    CENTERNET_LITE0,
    FCOS_LITE0,
    RETINANET_LITE0,
    spec_of("mobilenet_v2", frozen_stages=1),
    FCOS(backbone="mobilenet_v2", pyramid_channels=32, extra_levels=0, tower_convolutions=1, tower_groups=8),
    RetinaNet(backbone="regnet_y_400mf", pyramid_channels=32, extra_levels=0, tower_convolutions=1),
    FasterRCNNC4(backbone="mobilenet_v2"),
]


@pytest.mark.parametrize("spec", FAMILIES, ids=lambda spec: f"{spec.family}-{spec.backbone}")
@torch.no_grad()
def test_every_family_detects_with_a_backbone_of_somebody_else_s(spec: DetectorSpec) -> None:
    torch.manual_seed(0)
    detector = build(spec, num_classes=2).eval()
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    (found,) = detector.decode(detector(images))
    assert found.boxes_xyxy.isfinite().all()
    assert isinstance(spec.model_copy(), type(spec))
    assert type(spec).model_validate(spec.model_dump(mode="json")) == spec
