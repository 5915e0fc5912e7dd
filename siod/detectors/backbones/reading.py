"""Models by name, with strides, channels and normalisation read off them: torchvision's classifiers, timm's, Lite."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torchvision import models

from siod.detectors.backbones.architectures import LAYOUTS, SCALES
from siod.detectors.backbones.efficientnet_lite import EfficientNetLite
from siod.detectors.backbones.norms import possible_norms
from siod.detectors.backbones.pixels import IMAGENET_PIXELS, LITE_PIXELS, PixelStatistics
from siod.detectors.backbones.staged import Stage, read_stages
from siod.errors import closest

if TYPE_CHECKING:
    from siod.detectors.backbones.architectures import Norm

TIMM_PREFIX = "timm/"


class ReadModel(NamedTuple):
    """What a model of somebody else's offers as a backbone.

    ``pixels`` normalised the images its published weights were learnt from. ``head`` names the entries of the whole
    model's state that belong to layers after the last stage. ``norms`` are the normalisations it can have.
    """

    stages: tuple[Stage, ...]
    pixels: PixelStatistics
    head: frozenset[str]
    norms: tuple[Norm, ...]


@cache
def read_model(name: str) -> ReadModel:
    """Read strides, channels and normalisation off the model of a name that is no ResNet of ours.

    Args:
        name: Of the architecture.

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
    return ReadModel(stages, _pixels(name, model), head, possible_norms(model))


def _model_without_numbers(name: str) -> Any:
    """The model of a name on the meta device."""
    try:
        with torch.device("meta"):
            return whole_model(name)
    except NotImplementedError:  # some models work out their widths with tensors
        return whole_model(name).to("meta")


def whole_model(name: str) -> Any:
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
