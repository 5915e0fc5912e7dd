"""Backbones by name: ResNets and EfficientNet-Lite of our own, torchvision's classifiers, and timm's."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol

import torch
from pydantic import AfterValidator
from torchvision import models

from siod.detectors.backbone import IMAGENET_PIXELS, Backbone, PixelStatistics
from siod.detectors.efficientnet_lite import LITE_PIXELS, SCALES, EfficientNetLite
from siod.detectors.norms import possible_norms, with_norm
from siod.detectors.resnet import LAYOUTS, ResNet
from siod.detectors.staged import Stage, StagedBackbone, read_stages
from siod.errors import closest

if TYPE_CHECKING:
    from siod.detectors.norms import Norm

TIMM_PREFIX = "timm/"
DEFAULT_WIDTH = 64


class Description(NamedTuple):
    """What is known of a backbone before it is built.

    ``pixels`` normalised the images its published weights were learnt from. ``head`` names the entries of the whole
    model's state that belong to layers after the last stage. ``norms`` are the normalisations it can have.
    """

    stages: tuple[Stage, ...]
    pixels: PixelStatistics
    head: frozenset[str]
    norms: tuple[Norm, ...]


def _known(name: str) -> str:
    """Refuse a name that no backbone has, or whose model gives no maps."""
    if name not in LAYOUTS:
        describe(name)
    return name


BackboneName = Annotated[str, AfterValidator(_known)]


class BackboneSpec(Protocol):
    """The settings of a detector that decide its backbone."""

    @property
    def backbone(self) -> str:
        """Which architecture."""

    @property
    def base_width(self) -> int:
        """Channels of a ResNet's first stage."""

    @property
    def norm(self) -> Norm:
        """Which normalisation."""


@cache
def describe(name: str) -> Description:
    """Read strides, channels and normalisation off the model of a name that is no ResNet of ours.

    Raises:
        ValueError: No backbone has this name, it needs a package that is absent, or its model gives no such maps.
    """
    model = _model_without_numbers(name)
    try:
        stages = read_stages(model)
    except ValueError as error:
        raise ValueError(
            f"backbone {name} cannot be a detector's: {error}; take a convolutional one such as mobilenet_v2"
        ) from error
    layers = tuple(f"{path}." for stage in stages for path in stage.layers)
    head = frozenset(entry for entry in model.state_dict() if not entry.startswith(layers))
    return Description(stages, _pixels(name, model), head, possible_norms(model))


def _model_without_numbers(name: str) -> Any:
    """The model of a name on the meta device."""
    try:
        with torch.device("meta"):
            return _whole_model(name)
    except NotImplementedError:  # some models work out their widths with tensors
        return _whole_model(name).to("meta")


def _whole_model(name: str) -> Any:
    """The model of a name with random weights, classifier included where it has one."""
    if name in SCALES:
        return EfficientNetLite(SCALES[name])
    if name.startswith(TIMM_PREFIX):
        return _timm_model(name.removeprefix(TIMM_PREFIX))
    published = models.list_models(module=models)
    if name not in published:
        raise ValueError(f"unknown backbone {name!r}{closest(name, {*LAYOUTS, *SCALES, *published})}")
    return models.get_model(name, weights=None)


def _timm_model(name: str) -> Any:
    if find_spec("timm") is None:
        raise ValueError(f"backbone timm/{name} needs the package timm; pip install 'siod[timm]'")
    import timm  # noqa: PLC0415  (an optional extra)

    if not timm.is_model(name):
        known = (TIMM_PREFIX + model for model in timm.list_models())
        raise ValueError(f"unknown backbone 'timm/{name}'{closest(TIMM_PREFIX + name, known)}")
    return timm.create_model(name, pretrained=False)


def _pixels(name: str, model: Any) -> PixelStatistics:
    """What normalised the images that the published weights were learnt from."""
    if name in SCALES:
        return LITE_PIXELS
    if name.startswith(TIMM_PREFIX):
        return PixelStatistics(tuple(model.pretrained_cfg["mean"]), tuple(model.pretrained_cfg["std"]))
    published = models.get_model_weights(name)
    if not len(published):
        return IMAGENET_PIXELS
    transforms = published.DEFAULT.transforms()
    return PixelStatistics(tuple(transforms.mean), tuple(transforms.std))


def stride_px(name: str) -> int:
    """Pixels between neighbouring positions of the last stage."""
    if name in LAYOUTS:
        return 32 if LAYOUTS[name].max_pool else 16
    return describe(name).stages[-1].stride_px


def stages_of(name: str) -> int:
    """How many stages a backbone has, each of twice the stride of the one before."""
    return len(LAYOUTS[name].depths) if name in LAYOUTS else len(describe(name).stages)


def own_pixels(name: str) -> PixelStatistics | None:
    """What normalised the images of a backbone's published weights; None where the detector may choose."""
    return None if name in LAYOUTS else describe(name).pixels


def refusal(spec: BackboneSpec, *, frozen_stages: int = 0) -> str | None:
    """Say in a sentence why a backbone cannot be as its settings want it, or None.

    Args:
        spec: Whose backbone is known.
        frozen_stages: How many of its parts are not to learn.
    """
    if spec.backbone in LAYOUTS:
        return None
    known = describe(spec.backbone)
    if spec.base_width != DEFAULT_WIDTH:
        return f"base_width {spec.base_width} is a ResNet's; leave it out for backbone {spec.backbone}"
    if spec.norm not in known.norms:
        return (
            f"norm {spec.norm} cannot replace the normalisation of backbone {spec.backbone}; "
            f"set norm to {' or '.join(known.norms)}, where batch leaves it as it is"
        )
    if frozen_stages >= len(known.stages):
        return (
            f"frozen_stages {frozen_stages} leaves nothing of backbone {spec.backbone} to learn, "
            f"which has {len(known.stages)} stages; set it to {len(known.stages) - 1} or less"
        )
    return None


def build_backbone(spec: BackboneSpec) -> Backbone:
    """Build the backbone a detector asks for, with random weights.

    Args:
        spec: Names the architecture, its width and its normalisation.
    """
    if spec.backbone in LAYOUTS:
        return ResNet(spec.backbone, base_width=spec.base_width, norm=spec.norm)
    known = describe(spec.backbone)
    model = with_norm(_whole_model(spec.backbone), spec.norm)
    return StagedBackbone(spec.backbone, model, known.stages, pixels=known.pixels)


def freeze_stages(backbone: Backbone, stages: int) -> None:
    """Let the first parts of a backbone learn nothing.

    Args:
        backbone: Changed in place.
        stages: How many parts, 0 to 4, the stem counting as one.
    """
    for part in backbone.freezable()[:stages]:
        part.requires_grad_(False)
