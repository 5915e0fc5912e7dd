"""The file of initial weights: none, ImageNet's, a checkpoint, or a classifier of digit crops trained once and cached.

Whoever only makes sure that a file is there need not load torch; ``siod.training.weight_loading`` reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from filelock import FileLock

from siod.data.digits import Digits
from siod.detectors.backbones.packaged import packaged_file
from siod.detectors.query import CONFIG_FILE, WEIGHTS_FILE, hub_file
from siod.errors import UserError
from siod.value import digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from siod.detectors.spec import DetectorSpec
    from siod.training.experiment import DigitClassifier, Experiment


def ensure(
    experiment: Experiment, cache_dir: Path, *, progress: Callable[[int, int, float], None] | None = None
) -> Path | None:
    """Have the file of initial weights ready before training starts.

    Args:
        experiment: Its ``weights`` say which.
        cache_dir: Where trained classifiers are kept, by identity; safe when several runs ask at once.
        progress: Called after each epoch of the classifier with epoch, epochs and training accuracy.

    Returns:
        The file to start from, or None when there is none (random weights, torchvision's own cache, a package).

    Raises:
        UserError: A named file does not exist, or the package of packaged weights is not installed.
    """
    weights = experiment.weights
    if weights.kind == "digits":
        digits = experiment.data if isinstance(experiment.data, Digits) else weights.digits
        if digits is not None:  # the experiment has made sure that one of them is there
            return _ensure_digit_classifier(weights, digits, experiment.detector, cache_dir, progress)
    if weights.kind == "packaged":
        packaged_file(experiment.detector.backbone)
    if weights.kind == "published" and weights.model is not None:
        try:
            hub_file(weights.model, CONFIG_FILE)
            return hub_file(weights.model, WEIGHTS_FILE)
        except ValueError as error:
            raise UserError(f"weights.model: {error}") from error
    if weights.kind in ("imagenet", "checkpoint", "published") and weights.file is not None:
        file = weights.file / WEIGHTS_FILE if weights.kind == "published" and weights.file.is_dir() else weights.file
        if not file.is_file():
            raise UserError(f"{file}: no such file; set weights.file to an existing file of weights")
        return file.absolute()  # not what a link leads to: what lies beside the file belongs to it
    return None


def _ensure_digit_classifier(
    weights: DigitClassifier,
    digits: Digits,
    detector: DetectorSpec,
    cache_dir: Path,
    progress: Callable[[int, int, float], None] | None,
) -> Path:
    identity = digest(
        {
            "weights": weights.model_dump(mode="json", exclude={"digits"}),
            # Crops do not depend on how many scenes there are.
            "digits": digits.model_dump(mode="json", exclude={"train_images", "val_images"}),
            "backbone": detector.backbone_identity(),
        }
    )
    path = cache_dir / "weights" / f"digits-{identity}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            from siod.training.digit_classifier import save_digit_classifier  # noqa: PLC0415  (torch takes seconds)

            save_digit_classifier(path, weights, digits, detector, progress=progress)
    return path
