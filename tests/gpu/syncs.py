"""How often a step makes the host wait for the device, and how long the device waits for the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_trace import work_of
from scenes import FULL, TINY, fresh, scene_batch
from timing import forget, step_ms
from training import Trainee, declared

if TYPE_CHECKING:
    from kernel_trace import Work
    from reporting import Report, Setting
    from scenes import Family

IMAGES = {"centernet_r18": 28, "faster_rcnn_r50_c4": 2, "fcos_r50_fpn": 4, "retinanet_r50_fpn": 4}
SMALL = dict(zip(IMAGES, TINY.values(), strict=True))
JUDGED = "centernet_r18"
MOST_SYNCHRONISATIONS = 8
MOST_IDLE = 0.15


def check(setting: Setting, report: Report) -> None:
    """Profile five steps of each family with DMiner; CenterNet-R18, which is judged, without it too.

    On a CPU the profile says nothing, and is only taken.
    """
    for name, images in IMAGES.items():
        for miners in (True, False) if name == JUDGED else (True,):
            variant = f"{name}{'_dminer' if miners else ''}"
            with report.part(variant):
                family = setting.size(FULL[name], SMALL[name])
                _measure(setting, report, variant, family, setting.size(images, 2), miners=miners)
            forget(setting)


def _measure(setting: Setting, report: Report, variant: str, family: Family, images: int, *, miners: bool) -> None:
    spec, dminer = (family.mining, family.dminer) if miners else (family.plain, None)
    size = setting.size((512, 512) if spec.family == "centernet" else (800, 1088), (64, 64))
    classes = setting.size(80, 5)
    batch = scene_batch(images, *size, classes, pinned=setting.on_gpu)
    trainee = Trainee(fresh(spec, classes), declared(spec, precision="bf16", dminer=dminer), setting.device)
    times = step_ms(lambda: trainee.step(batch), setting, warm=setting.size(5, 1), steps=setting.size(10, 1))
    work = work_of(lambda: trainee.step(batch), setting, steps=setting.size(5, 1))
    report.figures(**{variant: {"step_ms": times}})
    if setting.on_gpu:
        _tell(report, variant, work, times, miners=miners)


def _tell(report: Report, variant: str, work: Work, step_ms: float, *, miners: bool) -> None:
    idle = max(0.0, 1 - work.busy_ms / step_ms)
    counts = {"synchronisations": work.synchronisations, "copies": work.copies, "kernels": work.kernels}
    report.figures(**{variant: {"step_ms": step_ms} | counts | {"idle_share": idle}})
    if not variant.startswith(JUDGED):
        return
    report.require(work.kernels > 0, f"{variant}: the profiler saw no kernel")
    report.require(
        work.calls > 0, f"{variant}: the profiler saw no call of CUDA's, so it cannot have seen one that waits"
    )
    report.require(idle < MOST_IDLE, f"{variant}: the device idles {idle:.2f} of a step (less than {MOST_IDLE})")
    if miners:
        found = f"{work.synchronisations:.1f} synchronisations a step (at most {MOST_SYNCHRONISATIONS})"
        report.require(work.synchronisations <= MOST_SYNCHRONISATIONS, f"{variant}: {found}")
