"""Initial weights: none, ImageNet's, a checkpoint, or a classifier of digit crops trained once and cached."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from filelock import FileLock
from torch import nn

from siod.data.digits import Digits, digit_crops
from siod.detectors.backbones.building import build_backbone
from siod.detectors.backbones.packaged import packaged_file
from siod.detectors.backbones.pixels import COCO_PIXELS
from siod.detectors.backbones.weights import load_backbone_weights, load_packaged_weights
from siod.detectors.detector import normalise
from siod.detectors.query import CONFIG_FILE, WEIGHTS_FILE, hub_file
from siod.errors import UserError
from siod.training import checkpoint
from siod.value import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from siod.detectors.backbones.backbone import Backbone
    from siod.detectors.detector import Detector
    from siod.detectors.spec import DetectorSpec
    from siod.training.experiment import DigitClassifier, Experiment, Weights

log = logging.getLogger("siod")


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
        return file.resolve()
    return None


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
        file: What :func:`ensure` returned.
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
            with _one_thread():
                state, accuracy = train_digit_classifier(weights, digits, detector, progress=progress)
            checkpoint.save(path, {"model": state, "accuracy": accuracy})
    return path


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums are added up in an order that depends on the number of threads; one identity must mean one file."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train_digit_classifier(
    weights: DigitClassifier,
    digits: Digits,
    detector: DetectorSpec,
    *,
    progress: Callable[[int, int, float], None] | None = None,
) -> tuple[dict[str, torch.Tensor], float]:
    """Train the detector's backbone to tell crops of the training digits apart.

    Args:
        weights: Number and size of the crops, epochs, learning rate, seed.
        digits: Whose training digits to use; no validation digit is seen.
        detector: Declares the backbone.
        progress: Called after each epoch with epoch, epochs and training accuracy.

    Returns:
        The backbone's state and its accuracy over the last epoch, in [0, 1].
    """
    torch.manual_seed(weights.seed)
    images, labels = digit_crops(digits, weights.crops, weights.crop_size_px, weights.seed)
    crops, classes = torch.from_numpy(images), torch.from_numpy(labels).long()
    backbone = build_backbone(detector)
    model = _Classifier(backbone, digits.num_classes).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(model.parameters(), lr=weights.learning_rate)
    steps = len(crops) // weights.batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, weights.learning_rate, total_steps=steps * weights.epochs, cycle_momentum=False
    )
    shuffle = torch.Generator().manual_seed(weights.seed)
    accuracy = 0.0
    for epoch in range(1, weights.epochs + 1):
        correct = 0
        order = torch.randperm(len(crops), generator=shuffle)[: steps * weights.batch_size]
        for rows in order.view(steps, weights.batch_size):
            logits = model(crops[rows])
            optimiser.zero_grad(set_to_none=True)
            loss = nn.functional.cross_entropy(logits, classes[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            correct += int((logits.argmax(1) == classes[rows]).sum())
        accuracy = correct / (steps * weights.batch_size)
        log.info("digit classifier: epoch %d of %d, training accuracy %.3f", epoch, weights.epochs, accuracy)
        if progress is not None:
            progress(epoch, weights.epochs, accuracy)
    return {name: value.contiguous() for name, value in backbone.state_dict().items()}, accuracy


class _Classifier(nn.Module):
    """Normalise, extract, take the greatest over positions (a digit fills few of them), classify."""

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.pixels = backbone.pixels or COCO_PIXELS
        self.linear = nn.Linear(backbone.out_channels, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.backbone(normalise(images, self.pixels).contiguous(memory_format=torch.channels_last))
        logits: torch.Tensor = self.linear(features.amax(dim=(2, 3)))
        return logits
