"""A teacher: a copy of the detector that looks without learning, fixed or following the student."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from siod.detectors.detector import Detector
    from siod.types import PaddedDetections


class Teacher:
    """A detector in evaluation mode.

    Args:
        student: Copied as it is now.
    """

    def __init__(self, student: Detector) -> None:
        self.detector = deepcopy(student).eval().requires_grad_(requires_grad=False)

    @torch.no_grad()
    def look(self, images: Tensor) -> PaddedDetections:
        """Detect in the input's frame.

        Args:
            images: uint8 ``[B, 3, H, W]``.

        Returns:
            Those of all images, best first.
        """
        return self.detector.decode_padded(self.detector(images))

    @torch.no_grad()
    def follow(self, student: Detector, decay: float) -> None:
        """Move all weights and running statistics towards the student's; whole numbers are copied.

        Args:
            student: Of the same architecture.
            decay: What stays of the teacher's own, in [0, 1]; 0 copies.

        Source: Tarvainen and Valpola, Mean teachers are better role models, NIPS 2017, Eq. 2.
        """
        theirs = student.state_dict()
        pairs = [(own, theirs[name]) for name, own in self.detector.state_dict().items()]
        averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        copied = [pair for pair in pairs if not pair[0].is_floating_point()]
        # Eq. 2: theta' <- decay theta' + (1 - decay) theta, for all tensors in one operation
        torch._foreach_lerp_(*_columns(averaged), 1 - decay)
        if copied:
            torch._foreach_copy_(*_columns(copied))


def _columns(pairs: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [own for own, _ in pairs], [other for _, other in pairs]
