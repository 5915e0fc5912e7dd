"""What the settings of all methods have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from siod.value import Value

if TYPE_CHECKING:
    from siod.detectors.spec import DetectorSpec


ANNOTATED_ONLY = {"kind": "annotated_only"}


class MethodSpec(Value):
    """The settings of a method; each derives its own, whose ``kind`` is a literal that names it."""

    kind: str

    def refusal(self, detector: DetectorSpec) -> str | None:
        """Say in one sentence why the method cannot work with a detector; None if it can."""
        if detector.dense_outputs:
            return None
        return (
            f"method {self.kind} compares several views, which {detector.family} cannot tell apart in its outputs; "
            "use centernet, fcos or retinanet, or set method to null"
        )

    def needs_teacher(self) -> bool:
        """Whether another detector has to be trained before this run starts."""
        return False

    def teacher_changes(self, *, bare_images: bool) -> dict[str, Any]:
        """What makes the teacher's experiment of a run's, where :meth:`needs_teacher`.

        Args:
            bare_images: Whether the run's set has images that nobody annotated.

        Returns:
            Changes by dotted path: the annotated images alone are learnt from, unless the method says otherwise.
        """
        del bare_images
        return {"method": ANNOTATED_ONLY}
