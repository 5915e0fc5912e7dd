"""Which images of a batch a method may learn annotations from, and which ones it has to find labels for.

In a set of wholly annotated and bare images (semi-supervised) these are different images; in a set where any image
may lack instances (sparse and single-instance annotation) they are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from siod.methods.method import Method, View, Views
from siod.ops.padding import take

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.detectors.detector import Detector
    from siod.methods.annotated import AnnotatedOnly
    from siod.methods.method import Moment
    from siod.types import Batch


class AnnotatedOnlyMethod(Method):
    """The loss of the batch's annotated images; of nothing, if none of a worker's share is.

    Args:
        spec: Has no settings.
        detector: What learns.
    """

    def __init__(self, spec: AnnotatedOnly, detector: Detector) -> None:
        super().__init__(detector)
        self.spec = spec

    def views(self, batch: Batch, moment: Moment) -> Views:
        """The annotated images."""
        return Views((annotated_view(batch),), batch, moment)


def annotated_view(batch: Batch) -> View:
    """The images to learn annotations from, as they are.

    Args:
        batch: If it does not tell annotated from bare images, all are taken.

    Returns:
        A view of at least one image: if none is annotated the first one without loss, so that every worker has
        something to pass through its detector.
    """
    if batch.annotated is None or all(batch.annotated):
        return View(batch.images, batch.targets)
    return pick(batch, [index for index, annotated in enumerate(batch.annotated) if annotated])


def open_rows(batch: Batch) -> list[int]:
    """The images that labels are to be found for: the bare ones, or all if any may lack instances."""
    if batch.annotated is None:
        return list(range(len(batch.targets)))
    return [index for index, annotated in enumerate(batch.annotated) if not annotated]


def pick(batch: Batch, rows: Sequence[int]) -> View:
    """Some images of a batch; the first one, without loss, if none is named."""
    chosen = list(rows) or [0]
    return View(take(batch.images, chosen), tuple(batch.targets[row] for row in chosen), without_loss=not rows)
