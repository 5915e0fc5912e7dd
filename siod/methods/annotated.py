"""The settings of the base of semi-supervised methods; ``siod.methods.steps.annotated`` has the method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from siod.methods.spec import MethodSpec

if TYPE_CHECKING:
    from siod.detectors.spec import DetectorSpec


class AnnotatedOnly(MethodSpec):
    """Learn from annotated images alone: the base of semi-supervised methods.

    Without it, an image whose annotations were taken away teaches that all it shows is background.
    """

    kind: Literal["annotated_only"] = "annotated_only"

    def refusal(self, detector: DetectorSpec) -> None:
        """It looks at one view, as every detector can."""
        del detector
