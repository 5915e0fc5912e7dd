"""Backbones by name: what settings ask of one before it is built.

Our own are told by their tables. Only the name of somebody else's, torchvision's or timm's, loads torch: its strides
are read off the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple, Protocol, get_args

from pydantic import AfterValidator

from siod.detectors.backbones.architectures import DEFAULT_WIDTH, LAYOUTS, LITE_STRIDES_PX, SCALES, Norm
from siod.detectors.backbones.pixels import LITE_PIXELS

if TYPE_CHECKING:
    from siod.detectors.backbones.pixels import PixelStatistics


class Known(NamedTuple):
    """What is known of a backbone before it is built.

    ``strides_px`` has one entry for each stage, from the finest to the last. ``pixels`` normalised the images its
    published weights were learnt from; None leaves it to the detector. ``norms`` are the normalisations it can have.
    """

    strides_px: tuple[int, ...]
    pixels: PixelStatistics | None
    norms: tuple[Norm, ...]


def known(name: str) -> Known:
    """Look a backbone up.

    Args:
        name: Of the architecture.

    Returns:
        Of our own backbones what their tables say, of others what is read off their model.

    Raises:
        ValueError: No backbone has this name, it needs a package that is absent, or its model gives no maps.
    """
    if name in LAYOUTS:
        return Known(LAYOUTS[name].strides_px(), None, get_args(Norm))
    if name in SCALES:
        return Known(LITE_STRIDES_PX, LITE_PIXELS, get_args(Norm))
    from siod.detectors.backbones.reading import read_model  # noqa: PLC0415  (loads torch)

    model = read_model(name)
    return Known(tuple(stage.stride_px for stage in model.stages), model.pixels, model.norms)


def _refuse_unknown(name: str) -> str:
    known(name)
    return name


BackboneName = Annotated[str, AfterValidator(_refuse_unknown)]
"""A name that a backbone has; others are refused with the closest one."""


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


def stride_px(name: str) -> int:
    """Pixels between neighbouring positions of the last stage."""
    return known(name).strides_px[-1]


def stages_of(name: str) -> int:
    """How many stages a backbone has, each of twice the stride of the one before."""
    return len(known(name).strides_px)


def own_pixels(name: str) -> PixelStatistics | None:
    """What normalised the images of a backbone's published weights; None where the detector may choose."""
    return known(name).pixels


def refusal(spec: BackboneSpec, *, frozen_stages: int = 0) -> str | None:
    """Say in a sentence why a backbone cannot be as its settings want it, or None.

    Args:
        spec: Whose backbone is known.
        frozen_stages: How many of its parts are not to learn.
    """
    if spec.backbone in LAYOUTS:
        return None
    norms, stages = known(spec.backbone).norms, stages_of(spec.backbone)
    if spec.base_width != DEFAULT_WIDTH:
        return f"base_width {spec.base_width} is a ResNet's; leave it out for backbone {spec.backbone}"
    if spec.norm not in norms:
        return (
            f"norm {spec.norm} cannot replace the normalisation of backbone {spec.backbone}; "
            f"set norm to {' or '.join(norms)}, where batch leaves it as it is"
        )
    if frozen_stages >= stages:
        return (
            f"frozen_stages {frozen_stages} leaves nothing of backbone {spec.backbone} to learn, "
            f"which has {stages} stages; set it to {stages - 1} or less"
        )
    return None
