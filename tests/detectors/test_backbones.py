"""Backbones, and what happens to weights that do not fit them."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest
import torch
from torchvision.models import resnet18, resnet101
from torchvision.ops import FrozenBatchNorm2d

from siod.detectors.backbones.building import build_backbone
from siod.detectors.backbones.names import stride_px
from siod.detectors.backbones.norms import FrozenNorm
from siod.detectors.backbones.resnet import NarrowShortcut
from siod.detectors.backbones.weights import load_backbone_weights
from siod.detectors.centernet import CenterNet
from siod.detectors.zoo import CENTERNET_R18, CENTERNET_R101, CENTERNET_TINY
from siod.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from siod.detectors.backbones.architectures import Norm

NARROW = CenterNet(backbone="resnet18", base_width=8)


@pytest.mark.parametrize(("spec", "published"), [(CENTERNET_R18, resnet18), (CENTERNET_R101, resnet101)])
def test_parameters_are_named_and_shaped_as_torchvision_names_them(spec: CenterNet, published: type) -> None:
    with torch.device("meta"):
        ours, theirs = build_backbone(spec).state_dict(), published().state_dict()
    theirs = {name: value for name, value in theirs.items() if not name.startswith("fc.")}
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in theirs.items()}


def test_torchvisions_weights_give_torchvisions_features(tmp_path: Path) -> None:
    torch.manual_seed(0)
    published = resnet18().eval()
    torch.save(published.state_dict(), tmp_path / "resnet18.pth")
    backbone = build_backbone(CENTERNET_R18).eval()
    load_backbone_weights(backbone, tmp_path / "resnet18.pth")
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        stem = published.maxpool(published.relu(published.bn1(published.conv1(images))))
        expected = published.layer4(published.layer3(published.layer2(published.layer1(stem))))
        torch.testing.assert_close(backbone(images), expected)


@pytest.mark.parametrize(("spec", "channels"), [(NARROW, 64), (CENTERNET_TINY, 128)])
def test_the_last_stage_has_the_stated_stride_and_channels(spec: CenterNet, channels: int) -> None:
    backbone = build_backbone(spec)
    features = backbone(torch.zeros(1, 3, 64, 96))
    stride = stride_px(spec.backbone)
    assert features.shape == (1, channels, 64 // stride, 96 // stride)
    assert backbone.out_channels == channels


@pytest.mark.parametrize("norm", ["frozen", "group"])
def test_without_batch_statistics_an_image_does_not_depend_on_the_others(norm: Norm) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(CENTERNET_TINY.model_copy(update={"norm": norm})).train()
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(backbone(images)[:1], backbone(images[:1]), rtol=1e-4, atol=1e-5)


def test_frozen_normalisation_takes_weights_learnt_with_batch_normalisation(tmp_path: Path) -> None:
    torch.manual_seed(0)
    learnt = build_backbone(NARROW)
    learnt(torch.randn(4, 3, 64, 64))  # moves the running statistics
    torch.save(learnt.state_dict(), tmp_path / "weights.pth")
    frozen = build_backbone(NARROW.model_copy(update={"norm": "frozen"}))
    load_backbone_weights(frozen, tmp_path / "weights.pth")
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(frozen(images), learnt.eval()(images), rtol=1e-4, atol=1e-5)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.pth: No such file or directory; set weights\.file"):
        load_backbone_weights(build_backbone(NARROW), tmp_path / "absent.pth")


@pytest.mark.parametrize("content", [b"", b"not weights", pickle.dumps({"a": print}, protocol=2)])
def test_a_file_that_is_not_weights_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"weights\.pth: not a file of weights; save a state dict with torch\.save"):
        load_backbone_weights(build_backbone(NARROW), file)


class Touch:
    """Makes a file when it is unpickled by a loader that runs what a file asks for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_code_in_a_file_of_weights_is_not_run(tmp_path: Path) -> None:
    torch.save({"conv1.weight": Touch(tmp_path / "ran")}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="not a file of weights"):
        load_backbone_weights(build_backbone(NARROW), tmp_path / "weights.pth")
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_with_more_than_weights_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "model": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="does not hold a state dict"):
        load_backbone_weights(build_backbone(NARROW), tmp_path / "checkpoint.pt")


def test_weights_of_another_architecture_are_named_and_nothing_is_loaded(tmp_path: Path) -> None:
    state = build_backbone(NARROW).state_dict()
    state["conv1.weight"] = torch.zeros(16, 3, 7, 7)
    state["extra.weight"] = state.pop("bn1.weight")
    torch.save(state, tmp_path / "other.pth")
    backbone = build_backbone(NARROW)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(UserError) as error:
        load_backbone_weights(backbone, tmp_path / "other.pth")
    assert "missing: bn1.weight; unknown: extra.weight; of another shape: conv1.weight" in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_weights_that_do_not_fit_anywhere_are_named_in_short(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "empty.pth")
    with pytest.raises(UserError, match=r"missing: bn1\.bias, bn1\.running_mean, bn1\.running_var and \d+ more"):
        load_backbone_weights(build_backbone(NARROW), tmp_path / "empty.pth")


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens on the discard port
    with pytest.raises(UserError, match=r"resnet18-f37072fd\.pth: download failed .*; set weights\.file"):
        load_backbone_weights(build_backbone(NARROW))


def test_a_backbone_without_published_weights_says_so() -> None:
    with pytest.raises(UserError, match="torchvision publishes no ImageNet weights of backbone tiny_resnet18; set"):
        load_backbone_weights(build_backbone(CENTERNET_TINY))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_frozen_normalisation_is_torchvision_s_rounded_once_and_as_wide_as_its_input(dtype: torch.dtype) -> None:
    """torchvision's makes float32 of half precision, which a backbone then keeps for the backward pass."""
    torch.manual_seed(0)
    ours, published = FrozenNorm(8), FrozenBatchNorm2d(8)
    for statistic in (ours.weight, ours.bias, ours.running_mean):
        statistic.normal_()
    ours.running_var.uniform_(0.5, 2)
    published.load_state_dict(ours.state_dict())
    if dtype == torch.float64:
        ours, published = ours.double(), published.double()
    features = torch.randn(2, 8, 6, 5).to(dtype).to(memory_format=torch.channels_last).requires_grad_()
    found, wanted = ours(features), published(features.to(ours.weight.dtype))
    assert torch.equal(found, wanted.to(dtype))
    assert found.is_contiguous(memory_format=torch.channels_last)
    upstream = torch.randn_like(found)
    (slope,) = torch.autograd.grad(found, features, upstream)
    (expected,) = torch.autograd.grad(wanted, features, upstream.to(wanted.dtype))
    torch.testing.assert_close(slope, expected, rtol=0.01, atol=1e-4)


def test_a_narrow_shortcut_is_a_strided_convolution_with_its_gradients() -> None:
    """Worked out position by position: output (i, j) is the weight times input (2 i, 2 j)."""
    torch.manual_seed(0)
    shortcut = NarrowShortcut(8, 16, kernel_size=1, stride=2, bias=False).to(memory_format=torch.channels_last)
    features = torch.rand(4, 8, 47, 48).to(memory_format=torch.channels_last).requires_grad_()
    found = shortcut(features)
    taken = features.detach()[:, :, 0::2, 0::2]
    expected = torch.einsum("dc,bchw->bdhw", shortcut.weight.detach()[:, :, 0, 0], taken)
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert features.grad is not None
    assert features.grad[:, :, 1::2].abs().max() == 0
    torch.testing.assert_close(features.grad[0, :, 0, 0], shortcut.weight.detach().sum(dim=0)[:, 0, 0])
    torch.testing.assert_close(shortcut.weight.grad[0, :, 0, 0], taken.sum(dim=(0, 2, 3)))


def test_backbones_of_presets_have_no_narrow_shortcut() -> None:
    assert not any(isinstance(module, NarrowShortcut) for module in build_backbone(CENTERNET_TINY).modules())
    narrow = build_backbone(CENTERNET_TINY.with_changes({"base_width": 8}))
    assert [module.in_channels for module in narrow.modules() if isinstance(module, NarrowShortcut)] == [8]
