"""Published weights of RT-DETR and D-FINE: what transformers saves of a detector, read into ours."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForObjectDetection

from siod.detectors.query import WEIGHTS_FILE
from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from siod.detectors.detector import Detector

log = logging.getLogger("siod")

_BACKBONE = "model.backbone."
_BY_CLASS = re.compile(r"(enc_score_head|class_embed\.\d+|denoising_class_embed)\.(weight|bias)$")


def load_library_weights(detector: Detector, file: Path, category_names: Sequence[str]) -> None:
    """Load a detector that transformers saved, class layers by the names of categories.

    Args:
        detector: Of the same configuration, with the library's own backbone; changed in place.
        file: The ``model.safetensors``; the ``config.json`` beside it names its classes.
        category_names: Of the detector's classes. One that the file does not know, whatever the case of its letters,
            begins with random weights.

    Raises:
        UserError: The folder of the file cannot be read, or the weights do not fit.
    """
    library = _read(file)
    rows = _rows({label: row for row, label in library.config.id2label.items()}, category_names)
    log.info("%d of %d categories are known to %s; the others begin anew", len(rows), len(category_names), file)
    own = detector.state_dict()
    renamed = {_renamed(name): value for name, value in library.state_dict().items()}
    for name, value in renamed.items():
        if _BY_CLASS.search(name) and name in own:
            renamed[name] = _of_classes(own[name], value, rows, len(category_names))
    try:
        detector.load_state_dict(renamed)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        message = f"its weights do not fit this detector ({reason}); set detector.config to the folder they are in"
        raise UserError(f"{file}: {message}") from error


def _read(file: Path) -> Any:
    """The library's detector of a folder; its reader knows the names that older releases gave to layers."""
    if file.name != WEIGHTS_FILE:
        raise UserError(f"{file}: weights of transformers are called {WEIGHTS_FILE}; set weights.file to their folder")
    try:
        library, told = AutoModelForObjectDetection.from_pretrained(
            file.parent, local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{file.parent}: no detector that transformers can load ({reason})") from error
    anew = sorted([*told["missing_keys"], *(name for name, *_ in told["mismatched_keys"])])
    if anew:
        message = f"it has no {anew[0]} of the shape that the config.json beside it says; take both of one detector"
        raise UserError(f"{file}: {message}")
    return library


def _renamed(name: str) -> str:
    return "backbone.encoder." + name.removeprefix(_BACKBONE) if name.startswith(_BACKBONE) else "model." + name


def _rows(theirs: Mapping[str, int], category_names: Sequence[str]) -> dict[int, int]:
    """The row of each of our classes that is known."""
    known = {label.casefold(): row for label, row in theirs.items()}
    return {index: known[name.casefold()] for index, name in enumerate(category_names) if name.casefold() in known}


def _of_classes(own: Tensor, theirs: Tensor, rows: Mapping[int, int], classes: int) -> Tensor:
    """Our layer with the file's rows; the row after the last class, of copies of nothing, is its last one."""
    layer = own.clone()
    if rows:
        to, of = (torch.tensor(list(each)) for each in (rows.keys(), rows.values()))
        layer[to] = theirs[of]
    if len(own) == classes + 1:
        layer[-1] = theirs[-1]
    return layer
