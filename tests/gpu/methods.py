"""What each method costs a step of CenterNet-R18, and how long the device waits for the host in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_trace import idle_share
from scenes import FULL, TINY, eager, fresh, scene_batch
from timing import forget, step_ms
from training import Trainee, declared

from siod.methods.annotated import AnnotatedOnly
from siod.methods.co_student import CoStudent
from siod.methods.comining import CoMining
from siod.methods.csd import CSD
from siod.methods.mean_teacher import MeanTeacher
from siod.methods.pseudo import PseudoBoxes
from siod.methods.teacher_student import TeacherStudent

if TYPE_CHECKING:
    from reporting import Report, Setting

    from siod.methods.spec import MethodSpec

EAGER = PseudoBoxes(min_score=0.2)
"""A fresh detector that is made eager gives scores of about a quarter."""
AT_WORK: dict[str, MethodSpec] = {
    "annotated_only": AnnotatedOnly(),
    "csd": CSD(foreground_score=0.2),
    "comining": CoMining(pseudo=EAGER),
    "teacher_student": TeacherStudent(pseudo=EAGER),
    "mean_teacher": MeanTeacher(pseudo=EAGER),
    "co_student": CoStudent(pseudo=EAGER, student=EAGER),
}
"""Every method with thresholds that find labels."""
MOST_IDLE = 0.3


def check(setting: Setting, report: Report) -> None:
    """Time each method, without one first."""
    none_ms = _measure(setting, report, "none", None, none_ms=None)
    for name, spec in AT_WORK.items():
        with report.part(name):
            _measure(setting, report, name, spec, none_ms=none_ms)
        forget(setting)


def _measure(setting: Setting, report: Report, name: str, method: MethodSpec | None, *, none_ms: float | None) -> float:
    spec = setting.size(FULL["centernet_r18"].plain, TINY["centernet"].plain)
    classes, side = setting.size((80, 512), (5, 64))
    batch = scene_batch(setting.size(28, 2), side, side, classes, pinned=setting.on_gpu)
    trainee = Trainee(eager(fresh(spec, classes)), declared(spec, precision="bf16", method=method), setting.device)
    times = step_ms(lambda: trainee.step(batch), setting, warm=setting.size(3, 1), steps=setting.size(8, 1))
    figures = {"step_ms": times} | ({} if none_ms is None else {"ratio": times / none_ms})
    found = trainee.found()
    if "mining/pseudo_per_image" in found:
        figures["pseudo_per_image"] = found["mining/pseudo_per_image"]
        report.require(figures["pseudo_per_image"] > 0, f"{name}: found no pseudo box, so it was not at work")
    if setting.on_gpu:
        figures["idle_share"] = idle_share(lambda: trainee.step(batch), setting, steps=2, step_ms=times)
        limit = f"(less than {MOST_IDLE})"
        report.require(
            figures["idle_share"] < MOST_IDLE, f"{name}: the device idles {figures['idle_share']:.2f} of a step {limit}"
        )
    report.figures(**{name: figures})
    return times
