"""A method from outside the package: this file is the whole of what a new method needs."""

from __future__ import annotations

from typing import Any, Literal

from siod.data.transforms import Geometry
from siod.detectors.detector import Detector
from siod.methods.method import Criterion, Method, MethodSpec, Moment, Objective, View, Views
from siod.methods.steps.annotated import annotated_view
from siod.methods.steps.strong import moved
from siod.methods.zoo import add_method
from siod.types import Batch


class MirrorToo(MethodSpec):
    """Learn the mirror image of every image as well."""

    kind: Literal["mirror_too"] = "mirror_too"
    weight: float = 1.0


class MirrorTooMethod(Method):
    def __init__(self, spec: MirrorToo, detector: Detector) -> None:
        super().__init__(detector)
        self.spec = spec
        self.updates = 0

    def views(self, batch: Batch, moment: Moment) -> Views:
        learnt = annotated_view(batch)
        if not self.spec.weight:
            return Views((learnt,), batch, moment)
        size = (batch.images.shape[2], batch.images.shape[3])
        geometry = Geometry(size, size, (0, 0), flip=True, input_size=size)
        targets = moved(learnt.targets, [geometry] * len(learnt.targets))
        return Views((learnt, View(learnt.images.flip(3), targets, learnt.without_loss)), batch, moment)

    def objective(self, views: Views, outputs: Any, criterion: Criterion) -> Objective:
        if not self.spec.weight:
            return super().objective(views, outputs, criterion)
        mirrored = self.judge(views, 1, outputs, criterion, prefix="mirrored_", weight=self.spec.weight)
        return Objective({**self.judge(views, 0, outputs, criterion), **mirrored})

    def after_update(self, moment: Moment) -> None:
        del moment
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]


add_method(MirrorToo, MirrorTooMethod)
