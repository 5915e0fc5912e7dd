"""Put initial weights into a detector."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siod.detectors.backbones.weights import load_backbone_weights, load_packaged_weights
from siod.errors import UserError
from siod.training import checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch
    from torch import nn

    from siod.detectors.detector import Detector
    from siod.training.experiment import Weights


def load_initial_weights(
    detector: Detector,
    weights: Weights,
    file: Path | None,
    *,
    category_ids: Sequence[int] | None = None,
    category_names: Sequence[str] = (),
) -> None:
    """Put initial weights into a detector.

    Args:
        detector: Freshly built; changed in place.
        weights: Which kind.
        file: What :func:`siod.training.weights.ensure` returned.
        category_ids: The data set's number of each class; torchvision's published detectors find by them which rows
            of their class layer to give.
        category_names: The data set's name of each class; the other published detectors find them by these.

    Raises:
        UserError: The file does not fit the architecture, or cannot be had.
    """
    if weights.kind == "imagenet":
        load_backbone_weights(detector.backbone, file)
    elif weights.kind == "packaged":
        load_packaged_weights(detector.backbone)
    elif weights.kind == "published":
        detector.load_published(file, category_ids=category_ids, category_names=category_names)
    elif weights.kind == "digits" and file is not None:
        _load_exactly(detector.backbone, checkpoint.load(file)["model"], file)
    elif weights.kind == "checkpoint" and file is not None:
        _load_exactly(detector, checkpoint.load(file)["model"], file)


def _load_exactly(module: nn.Module, state: dict[str, torch.Tensor], file: Path) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise UserError(
            f"{file}: its weights do not fit this detector ({first}); name a file of the same architecture"
        ) from error
