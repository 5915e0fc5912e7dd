"""The settings of detectors that decode queries, RT-DETR and D-FINE, as the library transformers has them.

``siod.detectors.networks.query`` has the detector.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from siod.detectors.backbones.architectures import Norm
from siod.detectors.backbones.names import BackboneName, stride_px
from siod.detectors.backbones.pixels import UNIT_PIXELS, PixelStatistics
from siod.detectors.fpn import PYRAMID_STAGES
from siod.detectors.spec import DetectorSpec, Pixels

BACKBONE = "backbone_config"
"""The part of a configuration that describes the library's own backbone."""
STRIDES = "feat_strides"
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
_OF_ONE_FILE = {
    "_name_or_path",
    "architectures",
    "dtype",
    "id2label",
    "label2id",
    "torch_dtype",
    "transformers_version",
}
"""What a configuration tells of the weights beside it, not of the detector."""
_OF_OLDER_RELEASES = {"backbone", "backbone_kwargs", "use_pretrained_backbone", "use_timm_backbone"}


def _read_configuration(given: object) -> object:
    """Read a configuration that is named by the folder it lies in, or by a model of the hub."""
    if not isinstance(given, str | Path):
        return given
    path = Path(given) / CONFIG_FILE if Path(given).is_dir() else Path(given)
    if not path.is_file():
        path = hub_file(str(given), CONFIG_FILE)
    try:
        settings = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        message = f"{path} is no configuration of a detector ({error}); name a folder with a config.json"
        raise ValueError(message) from error
    return {name: setting for name, setting in settings.items() if name not in _OF_ONE_FILE | _OF_OLDER_RELEASES}


def hub_file(model: str, name: str) -> Path:
    """Find a file of a model of the hub, downloaded before or now.

    Args:
        model: ``owner/name``.
        name: Of the file.

    Raises:
        ValueError: It cannot be had; says what to name instead.
    """
    instead = f"name a folder that holds {CONFIG_FILE} and {WEIGHTS_FILE}"
    try:
        from huggingface_hub import hf_hub_download  # noqa: PLC0415  (of the extra)
    except ImportError as error:
        message = f"{model} is no folder, and models of the hub need pip install 'siod[transformers]'; {instead}"
        raise ValueError(message) from error
    try:
        return Path(hf_hub_download(model, name))
    except (OSError, ValueError) as error:  # without network, unknown, no name at all: all of these
        reason = str(error).strip().splitlines()[0]
        message = f"{model} is no folder, and {name} of that model cannot be had from the hub ({reason}); {instead}"
        raise ValueError(message) from error


class QuerySpec(DetectorSpec):
    """What the settings of detectors that decode queries have in common.

    ``config`` has settings of the library's configuration by their own names; a folder with a ``config.json``, or the
    name of a model of the hub, is read into it. What is None is as ``config`` says, or else the library's default.
    With a ``backbone_config`` in it the backbone is the library's own and ``backbone`` is not read; otherwise it is
    ours, whose ``frozen_stages`` first parts do not learn. ``norm`` is the backbone's; ``group`` replaces the encoder's
    too.

    ``denoising`` is about how many noisy copies of the annotated boxes an image has in training, half of them to be
    told from objects; 0 is none. ``box_noise`` and ``label_noise`` are those of the copies. ``mined_maps`` first of
    the three maps are what miners look at.
    """

    dense_outputs: ClassVar[bool] = True
    published_by_name: ClassVar[bool] = True

    backbone: BackboneName = "resnet50"
    norm: Norm = "frozen"
    frozen_stages: Annotated[int, Field(ge=0, le=4)] = 1
    pixels: Pixels = "imagenet"
    queries: PositiveInt | None = None
    decoder_layers: PositiveInt | None = None
    denoising: Annotated[int, Field(ge=0)] | None = None
    label_noise: Annotated[float, Field(ge=0, le=1)] | None = None
    box_noise: Annotated[float, Field(ge=0)] | None = None
    focal_alpha: Annotated[float, Field(ge=0)] | None = None
    focal_gamma: Annotated[float, Field(ge=0)] | None = None
    mined_maps: Annotated[int, Field(ge=0, le=PYRAMID_STAGES)] = PYRAMID_STAGES
    config: Annotated[dict[str, Any], BeforeValidator(_read_configuration)] = Field(default={})

    def __hash__(self) -> int:
        """Plans keep experiments in sets; a configuration is a dictionary, which has no hash of its own."""
        return hash(self.model_dump_json())

    @model_validator(mode="after")
    def _configuration_is_of_this_family(self) -> Self:
        told = self.config.get("model_type", self.library_type())
        if told != self.library_type():
            message = f"config is that of a {told}, not of a {self.library_type()}; set family, or version, to it"
            raise ValueError(message)
        levels = self.config.get("num_feature_levels", PYRAMID_STAGES)
        if levels != PYRAMID_STAGES:
            message = f"config.num_feature_levels is {levels}; only detectors on {PYRAMID_STAGES} maps are supported"
            raise ValueError(message)
        if self.config.get("learn_initial_query"):
            message = "config.learn_initial_query is true, and the library cannot run such a detector; leave it out"
            raise ValueError(message)
        return self

    def library_type(self) -> str:
        """The library's name of the architecture."""
        return self.family

    def has_library_backbone(self) -> bool:
        """Whether the backbone is the library's own."""
        return BACKBONE in self.config

    def pixel_statistics(self) -> PixelStatistics:
        """The library's own backbones take pixels from 0 to 1 as they are."""
        return UNIT_PIXELS if self.has_library_backbone() else super().pixel_statistics()

    def backbone_identity(self) -> dict[str, object]:
        """The settings on which weights of the backbone depend."""
        own = {BACKBONE: self.config[BACKBONE]} if self.has_library_backbone() else {}
        return {**super().backbone_identity(), **own}

    def strides_px(self) -> tuple[int, ...]:
        """Pixels between neighbouring positions of the three maps, from the finest."""
        if self.has_library_backbone():
            return tuple(self.config.get(STRIDES, (8, 16, 32)))
        last = stride_px(self.backbone)
        return last // 4, last // 2, last

    def size_divisor(self) -> int:
        """The stride of the coarsest map."""
        return self.strides_px()[-1]

    def mined_levels(self) -> int:
        """The finest ones."""
        return self.mined_maps

    def library_settings(self) -> dict[str, Any]:
        """The library's configuration of these settings, by its own names, without a backbone where that is ours."""
        named = {
            "num_queries": self.queries,
            "decoder_layers": self.decoder_layers,
            "num_denoising": self.denoising,
            "label_noise_ratio": self.label_noise,
            "box_noise_scale": self.box_noise,
            "focal_loss_alpha": self.focal_alpha,
            "focal_loss_gamma": self.focal_gamma,
            STRIDES: list(self.strides_px()),
        }
        own = {name: setting for name, setting in self.config.items() if name != "model_type"}
        return {**own, **{name: setting for name, setting in named.items() if setting is not None}}

    def unrepeatable_on_cuda(self) -> str:
        """Reading maps at places between their positions."""
        return "grid_sampler_2d_backward_cuda"


class RTDETR(QuerySpec):
    """The settings of an RT-DETR, in the library's ``version`` 1 or 2."""

    family: Literal["rt_detr"] = "rt_detr"
    version: Literal[1, 2] = 2

    def library_type(self) -> str:
        """The library has one name for each version."""
        return "rt_detr" if self.version == 1 else "rt_detr_v2"


class DFINE(QuerySpec):
    """The settings of a D-FINE.

    ``losses`` published compares every decoder layer with the targets as the published code does; library is the
    library's pairing of layers, in which the last one has no loss of its distribution of distances. The library builds
    none of one layer.
    """

    family: Literal["d_fine"] = "d_fine"
    decoder_layers: Annotated[int, Field(ge=2)] | None = None
    losses: Literal["published", "library"] = "published"
