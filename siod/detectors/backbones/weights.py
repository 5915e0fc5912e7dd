"""Weights for backbones: torchvision's own, files in an architecture's format, files of packages."""

from __future__ import annotations

from collections import OrderedDict
from pickle import UnpicklingError
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torchvision import models

from siod.detectors.backbones.architectures import LAYOUTS
from siod.detectors.backbones.packaged import PACKAGED, packaged_file
from siod.detectors.backbones.reading import read_model
from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from siod.detectors.backbones.backbone import Backbone


def load_backbone_weights(backbone: Backbone, file: Path | None = None) -> None:
    """Load ImageNet weights into a backbone; what belongs to layers after its last stage is left out.

    Args:
        backbone: Changed in place.
        file: A state dict of the whole model or of the backbone, as torchvision, timm or the package of the
            architecture names its entries; None takes torchvision's own, downloaded once.

    Raises:
        UserError: The file cannot be read, the download fails, or names or shapes do not fit. Nothing is
            loaded in part.
    """
    state = _published_weights(backbone.name) if file is None else read_weights(file)
    source = "the published ImageNet weights" if file is None else str(file)
    layers = backbone.architecture
    if backbone.name in PACKAGED and not _entries(layers) <= state.keys():
        state = in_order(layers, state, source)
    head = _head(backbone.name)
    state = {entry: value for entry, value in state.items() if entry not in head}
    _refuse_misfits(layers, state, source)
    # Counters of batches are absent from files older than they are, and from frozen normalisation.
    layers.load_state_dict(OrderedDict(state), strict=False)


def load_packaged_weights(backbone: Backbone) -> None:
    """Load the ImageNet weights that an installed package ships.

    Raises:
        UserError: No package has them, it is not installed, or the backbone's normalisation is another.
    """
    load_backbone_weights(backbone, packaged_file(backbone.name))


def in_order(layers: nn.Module, state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Give entries the backbone's names, by their order.

    Args:
        layers: Declared in the order in which they are run.
        state: The same layers' entries in that order; further ones, of a classifier, are left out.
        source: What to call it in an error.

    Raises:
        UserError: An entry has another shape than the layer in its place.
    """
    own = {entry: value for entry, value in layers.state_dict().items() if not _is_counter(entry)}
    given = [(entry, value) for entry, value in state.items() if not _is_counter(entry)]
    if len(given) < len(own):
        raise UserError(f"{source}: has {len(given)} entries where this backbone has {len(own)}; name its own weights")
    for (entry, value), (theirs, weight) in zip(own.items(), given, strict=False):
        if value.shape != weight.shape:
            raise UserError(
                f"{source}: {theirs} has shape {tuple(weight.shape)} where this backbone's {entry} has "
                f"{tuple(value.shape)}; name weights of the same backbone, and set norm to batch or frozen"
            )
    return {entry: weight for entry, (_, weight) in zip(own, given, strict=False)}


def _entries(layers: nn.Module) -> set[str]:
    return {entry for entry in layers.state_dict() if not _is_counter(entry)}


def _head(name: str) -> frozenset[str]:
    return frozenset({"fc.weight", "fc.bias"}) if name in LAYOUTS else read_model(name).head


def _published_weights(name: str) -> Mapping[str, Tensor]:
    if name not in models.list_models(module=models) or not len(models.get_model_weights(name)):
        others = "packaged, none" if name in PACKAGED else "none, digits"
        raise UserError(
            f"torchvision publishes no ImageNet weights of backbone {name}; set weights.kind to {others} or "
            "checkpoint, or weights.file to a file"
        )
    # ResNets began with the first ones.
    published = models.get_model_weights(name)
    weights = published.IMAGENET1K_V1 if name in LAYOUTS else published.DEFAULT
    try:
        state: Mapping[str, Tensor] = weights.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise UserError(f"{weights.url}: download failed ({error}); set weights.file to a downloaded copy") from error
    return state


def read_weights(file: Path) -> Mapping[str, Tensor]:
    """Read a state dict from a file that ``torch.save`` wrote.

    Raises:
        UserError: It cannot be read or holds something else.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}; set weights.file to a readable file of weights") from error
    except (EOFError, RuntimeError, UnpicklingError, ValueError) as error:
        raise UserError(f"{file}: not a file of weights; save a state dict with torch.save") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{file}: does not hold a state dict (names and tensors); save the model's state_dict() alone")
    return state


def _refuse_misfits(backbone: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    wanted = {name: tuple(value.shape) for name, value in backbone.state_dict().items() if not _is_counter(name)}
    given = {name: tuple(value.shape) for name, value in state.items() if not _is_counter(name)}
    problems = {
        "missing": sorted(wanted.keys() - given.keys()),
        "unknown": sorted(given.keys() - wanted.keys()),
        "of another shape": sorted(name for name in wanted.keys() & given.keys() if wanted[name] != given[name]),
    }
    found = [f"{kind}: {_shorten(names)}" for kind, names in problems.items() if names]
    if found:
        raise UserError(
            f"{source}: do not fit this backbone ({'; '.join(found)}); name weights of the same backbone and width"
        )


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _shorten(names: Sequence[str], shown: int = 3) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
