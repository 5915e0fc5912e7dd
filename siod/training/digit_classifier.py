"""A classifier of digit crops, whose backbone detectors of digits start from."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from siod.data.digits import Digits, digit_crops
from siod.detectors.backbones.building import build_backbone
from siod.detectors.backbones.pixels import COCO_PIXELS
from siod.detectors.detector import normalise
from siod.training import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from siod.detectors.backbones.backbone import Backbone
    from siod.detectors.spec import DetectorSpec
    from siod.training.experiment import DigitClassifier

log = logging.getLogger("siod")


def save_digit_classifier(
    path: Path,
    weights: DigitClassifier,
    digits: Digits,
    detector: DetectorSpec,
    *,
    progress: Callable[[int, int, float], None] | None = None,
) -> None:
    """Train a classifier of digit crops, and write its backbone's weights to a file.

    Args:
        path: Of the file.
        weights: As in :func:`train_digit_classifier`.
        digits: As there.
        detector: As there.
        progress: As there.
    """
    with _one_thread():
        state, accuracy = train_digit_classifier(weights, digits, detector, progress=progress)
    checkpoint.save(path, {"model": state, "accuracy": accuracy})


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
