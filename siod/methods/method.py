"""What the training loop asks of a method; the class itself answers as a run without one.

A method from outside finds all it derives from here.

A method changes four things about a step and nothing else: what the detector looks at (*views* of the batch), the
loss terms made of it (*objective*), what happens after the update (the average of the weights, say), and which
detector is judged after the epoch. What it carries goes into the checkpoint.

B images of a batch, V images of all views, H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch

from siod.methods.spec import MethodSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import UInt8
    from torch import Tensor

    from siod.detectors.detector import Detector
    from siod.types import Batch, LossTerm, Target

__all__ = [
    "Criterion",
    "Method",
    "MethodSpec",
    "Moment",
    "Objective",
    "View",
    "Views",
    "Weighted",
    "without_loss",
]


@dataclass(frozen=True)
class Moment:
    """Where a run is: what weights ramp by, and what randomness is drawn from.

    Attributes:
        seed: Of the run.
        epoch: From 1, over all phases.
        step: Within the epoch, from 0.
        steps: In an epoch.
        epochs: Of the whole run.
        workers: That share the batch of each step.
    """

    seed: int
    epoch: int
    step: int
    steps: int
    epochs: int
    workers: int = 1

    def share_done(self) -> float:
        """How much of the run lies behind, in [0, 1).

        Example:
            >>> Moment(seed=0, epoch=3, step=5, steps=10, epochs=10).share_done()
            0.25
        """
        return (self.epoch - 1 + self.step / self.steps) / self.epochs


class View(NamedTuple):
    """Some images with the targets they are compared with; ``without_loss`` if they stand for none and do not count."""

    images: UInt8[Tensor, "b 3 h w"]
    targets: tuple[Target, ...]
    without_loss: bool = False


class Weighted(NamedTuple):
    """A loss term and its factor in the sum."""

    weight: float
    term: LossTerm


@dataclass(frozen=True)
class Views:
    """All views of a batch in one step; the detector looks at them in one pass.

    ``figures`` are shares to report, summed and counted over batches and workers (``mining/<name>``).
    """

    views: tuple[View, ...]
    batch: Batch
    moment: Moment
    figures: Mapping[str, LossTerm] = field(default_factory=dict)

    @property
    def images(self) -> UInt8[Tensor, "v 3 h w"]:
        """The images of all views; those of the only one are not copied."""
        return self.views[0].images if len(self.views) == 1 else torch.cat([view.images for view in self.views])

    @property
    def targets(self) -> tuple[Target, ...]:
        """One for each of ``images``."""
        return tuple(target for view in self.views for target in view.targets)

    def rows(self, index: int) -> slice:
        """Where the images of one view are among all."""
        first = sum(len(view.targets) for view in self.views[:index])
        return slice(first, first + len(self.views[index].targets))


@dataclass(frozen=True)
class Objective:
    """What a step is to minimise, and what it has to report beside."""

    parts: Mapping[str, Weighted]
    figures: Mapping[str, LossTerm] = field(default_factory=dict)


class Criterion(Protocol):
    """The loss of images with targets, as detector and miners have it."""

    def __call__(self, outputs: Any, targets: Sequence[Target]) -> dict[str, Weighted]:
        """Compare outputs with targets.

        Args:
            outputs: Of the detector, for these images.
            targets: One for each of them.

        Returns:
            The terms by name.
        """


class Method:
    """Training as it is without a method: one view, the batch itself.

    Args:
        detector: What learns; not wrapped for several workers.
    """

    def __init__(self, detector: Detector) -> None:
        self.detector = detector

    def views(self, batch: Batch, moment: Moment) -> Views:
        """Choose what the detector looks at.

        Args:
            batch: On the device; it is not changed.
            moment: Where the run is.

        Returns:
            The views. All images have the size of the batch's.
        """
        return Views((View(batch.images, batch.targets),), batch, moment)

    def objective(self, views: Views, outputs: Any, criterion: Criterion) -> Objective:
        """Make loss terms of the outputs.

        Args:
            views: What was looked at.
            outputs: Of the detector, for the images of all views.
            criterion: The loss by detector and miners; it may be called for each view.

        Returns:
            The parts; their names and order do not depend on the data.
        """
        return Objective(self.judge(views, 0, outputs, criterion), views.figures)

    def after_update(self, moment: Moment) -> None:
        """Follow the optimiser's step."""

    def judged(self) -> Detector:
        """The detector whose detections count."""
        return self.detector

    def receive_teacher(self, weights: dict[str, Tensor]) -> None:
        """Take the weights of the detector that ``MethodSpec.needs_teacher`` asked for."""
        raise ValueError(f"{type(self).__name__} needs no teacher, got one of {len(weights)} tensors")

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs: tensors, numbers, and dictionaries of them."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state`` was taken."""
        if state:
            raise ValueError(f"state must be empty for a run without a method, got {sorted(state)}")

    def judge(
        self,
        views: Views,
        index: int,
        outputs: Any,
        criterion: Criterion,
        *,
        targets: Sequence[Target] | None = None,
        prefix: str = "",
        weight: float = 1.0,
    ) -> dict[str, Weighted]:
        """The loss of one view.

        Args:
            views: What was looked at.
            index: Of the view.
            outputs: For the images of all views.
            criterion: The loss.
            targets: In place of the view's own.
            prefix: Put before the names of the terms.
            weight: Multiplies the terms' own.

        Returns:
            The terms; those of a view without loss count nothing.
        """
        view = views.views[index]
        # A sole view needs no selection, so that without a method any detector will do.
        own = outputs if len(views.views) == 1 else self.detector.select(outputs, views.rows(index))
        found = criterion(own, view.targets if targets is None else targets)
        return {
            prefix + name: Weighted(factor * weight, without_loss(term) if view.without_loss else term)
            for name, (factor, term) in found.items()
        }


def without_loss(term: LossTerm) -> LossTerm:
    """The same term worth nothing, which still reaches every parameter that it reached."""
    return replace(term, total=term.total * 0, count=term.count * 0)
