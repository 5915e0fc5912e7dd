"""The library's model of our settings: its configuration, the weights it begins with, and its own backbones.

B images of H x W pixels, D channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from huggingface_hub.errors import StrictDataclassError
from jaxtyping import Float  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor, nn  # noqa: TC002
from transformers import AutoConfig, AutoModelForObjectDetection

from siod.detectors.backbones.backbone import Backbone
from siod.detectors.fpn import PYRAMID_STAGES
from siod.detectors.query import BACKBONE
from siod.errors import UserError, closest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.detectors.query import QuerySpec

HIDDEN = "encoder_hidden_dim"
"""The channels that the encoder gives to the decoder."""


def library_model(spec: QuerySpec, num_classes: int, own: Backbone | None) -> Any:
    """Build the library's model with random weights.

    Args:
        spec: The settings.
        num_classes: Without background.
        own: Our backbone, in whose place the model has a tiny one of the same channels, to be replaced; None where the
            settings have one of the library's.

    Raises:
        UserError: The library's configuration has no such setting, or not such a value of it.
    """
    settings = _settings(spec, own)
    try:
        config = AutoConfig.for_model(spec.library_type(), num_labels=num_classes, **settings)
        model = AutoModelForObjectDetection.from_config(config)
    except (LookupError, StrictDataclassError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"detector.config: the library builds no {spec.library_type()} of it ({reason})") from error
    _initialise(model)
    return model


class LibraryBackbone(Backbone):
    """The backbone of the library's configuration, seen as ours are.

    Args:
        encoder: The library's module around it.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__(type(encoder.model).__name__)
        self.encoder = encoder
        self.stage_channels = tuple(encoder.intermediate_channel_sizes)

    def stages(self, images: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, Tensor, Tensor]:
        """Extract the features of the last three stages."""
        c3, c4, c5 = self.encoder.model(images).feature_maps
        return c3, c4, c5

    def early_stages(self, images: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, ...]:
        """Extract the features of C3 and C4."""
        return self.stages(images)[:-1]

    def last_stage(self, features: Float[Tensor, "b d _ _"]) -> Float[Tensor, "b _ _ _"]:
        """Refuse: this backbone is not taken apart."""
        raise NotImplementedError(f"{self.name} gives all its maps at once")

    def freezable(self) -> Sequence[nn.Module]:
        """None of its parts; the library freezes what its configuration says."""
        return ()


def _settings(spec: QuerySpec, own: Backbone | None) -> dict[str, Any]:
    """The library's configuration of the settings, by its own names."""
    # What the library computes ahead is for inputs of one size.
    settings = {**spec.library_settings(), "anchor_image_size": None, "eval_size": None}
    if HIDDEN in settings:
        settings.setdefault("decoder_in_channels", [settings[HIDDEN]] * PYRAMID_STAGES)
    known = AutoConfig.for_model(spec.library_type()).to_dict()
    for name in settings:
        if name not in known:
            raise UserError(f"unknown setting 'detector.config.{name}'{closest(name, known)}")
    if own is not None:
        channels = list(own.stage_channels[-3:])
        settings["encoder_in_channels"] = channels
        settings[BACKBONE] = {
            "model_type": "rt_detr_resnet",
            "embedding_size": 8,
            "hidden_sizes": [8, *channels],
            "depths": [1, 1, 1, 1],
            "layer_type": "basic",
            "out_indices": [2, 3, 4],
        }
    return settings


def _initialise(model: Any) -> None:
    """Begin with the weights of the published code: torch's, and the library's own for layers with a rule of theirs.

    The library would draw all weights from a normal distribution of deviation 0.01, and RT-DETR's factors of batch
    normalisation too.
    """
    special = []
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
        else:
            special.append(module)
    for module in special:
        model._init_weights(module)  # noqa: SLF001  (the library's rules have no other name)
