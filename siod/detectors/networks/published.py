"""torchvision's published detectors as initial weights of ours.

FCOS and RetinaNet with ResNet-50 and a feature pyramid have torchvision's architecture and names, but for two
prefixes: ``backbone.body`` is ``backbone`` here and ``backbone.fpn`` is ``fpn``. There is no published detector on
C4 features. Published class layers tell 91 numbers of categories apart, eleven of which no category has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from siod.detectors.backbones.weights import read_weights
from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torchvision.models.detection import FCOS_ResNet50_FPN_Weights, RetinaNet_ResNet50_FPN_Weights

    from siod.detectors.detector import Detector

PREFIXES = {"backbone.body.": "backbone.", "backbone.fpn.": "fpn.", "head.": "head."}
CLASS_LAYER = "head.classification_head.cls_logits."


class Published(NamedTuple):
    """Published weights, and the term their normalisation adds to a variance."""

    weights: FCOS_ResNet50_FPN_Weights | RetinaNet_ResNet50_FPN_Weights
    norm_eps: float

    def state(self, file: Path | None) -> Mapping[str, Tensor]:
        """Read the weights.

        Args:
            file: A downloaded copy; None lets torchvision download its own, once.

        Raises:
            UserError: They cannot be had.
        """
        if file is not None:
            return read_weights(file)
        try:
            downloaded: Mapping[str, Tensor] = self.weights.get_state_dict(
                progress=False, check_hash=True, map_location="cpu"
            )
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"{self.weights.url}: download failed ({error}); set weights.file to a downloaded copy"
            ) from error
        return downloaded


def load_torchvision_state(
    detector: Detector,
    state: Mapping[str, Tensor],
    *,
    norm_eps: float = 1e-5,
    category_ids: Sequence[int] | None = None,
) -> None:
    """Load the state of torchvision's FCOS or RetinaNet into ours.

    Args:
        detector: Of the same architecture, changed in place.
        state: As torchvision names it.
        norm_eps: What the backbone's normalisation there adds to a variance; where it is another number here, the
            factors are changed to the same effect.
        category_ids: The rows of the class layer to take, one for each class; None takes them all.

    Raises:
        UserError: Names or shapes do not fit.
    """
    renamed = {_renamed(name): value for name, value in state.items()}
    if category_ids is not None:
        rows = torch.tensor(list(category_ids))
        for name in (CLASS_LAYER + "weight", CLASS_LAYER + "bias"):
            if name in renamed:
                renamed[name] = _rows(renamed[name], rows, anchors=_anchors(detector))
    _fold_eps(detector.backbone, renamed, norm_eps)
    own = detector.state_dict()
    counters = {name for name in renamed.keys() ^ own.keys() if name.endswith("num_batches_tracked")}
    kept = {name: value for name, value in renamed.items() if name not in counters}
    try:
        missing, unknown = detector.load_state_dict(kept, strict=False)
    except RuntimeError as error:
        raise UserError(f"published weights do not fit this detector: {str(error).splitlines()[-1].strip()}") from error
    problems = sorted({*missing, *unknown} - counters)
    if problems:
        raise UserError(f"published weights do not fit this detector: {problems[0]} is on one side only")


def _renamed(name: str) -> str:
    for theirs, ours in PREFIXES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def _anchors(detector: Detector) -> int:
    """Anchors at a position."""
    layer: Tensor = detector.state_dict()[CLASS_LAYER + "bias"]
    return len(layer) // detector.num_classes


def _rows(layer: Tensor, rows: Tensor, *, anchors: int) -> Tensor:
    """The same rows of every anchor."""
    of_anchors = torch.unflatten(layer, 0, (anchors, -1))
    if int(rows.max()) >= of_anchors.shape[1]:
        raise UserError(
            f"published weights do not fit this detector: category id {int(rows.max())} is none of their "
            f"{of_anchors.shape[1]}; name them for data with COCO's categories only"
        )
    return of_anchors[:, rows].flatten(0, 1)


def _fold_eps(backbone: nn.Module, state: dict[str, Tensor], norm_eps: float) -> None:
    """Make ``weight / sqrt(variance + eps)`` with the backbone's eps what it was with the other."""
    for name, module in backbone.named_modules():
        own_eps = getattr(module, "eps", None)
        prefix = f"backbone.{name}."
        if own_eps is None or own_eps == norm_eps or prefix + "running_var" not in state:
            continue
        variance = state[prefix + "running_var"].double()
        factor = ((variance + own_eps) / (variance + norm_eps)).sqrt()
        weight = state[prefix + "weight"]
        state[prefix + "weight"] = (weight.double() * factor).to(weight.dtype)
