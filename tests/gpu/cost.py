"""Time and memory of a training step in bf16, plain and with DMiner."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from scenes import FULL, TINY, fresh, scene_batch
from timing import forget, peak_gib, step_ms
from training import Trainee, declared

if TYPE_CHECKING:
    from reporting import Report, Setting

    from siod.detectors.spec import DetectorSpec
    from siod.dminer.dminer import DMiner
    from siod.types import Batch

MOST_TIME, MOST_MEMORY = 1.1, 1.15
"""With DMiner over without."""


class Load(NamedTuple):
    """A detector and its batch.

    Attributes:
        family: In ``FULL``.
        small: In ``TINY``, in its place.
        images: A batch.
        size: Height and width in pixels.
        needs_gib: Memory of a card on which it is tried.
    """

    family: str
    small: str
    images: int
    size: tuple[int, int]
    needs_gib: int = 0


LOADS = {
    "centernet_r18_28": Load("centernet_r18", "centernet", 28, (512, 512)),
    "faster_rcnn_r50_c4_2": Load("faster_rcnn_r50_c4", "faster_rcnn", 2, (800, 1088)),
    "fcos_r50_fpn_4": Load("fcos_r50_fpn", "fcos", 4, (800, 1088)),
    "retinanet_r50_fpn_4": Load("retinanet_r50_fpn", "retinanet", 4, (800, 1088)),
    "centernet_r101_12": Load("centernet_r101", "centernet", 12, (512, 512)),
    "centernet_r18_114": Load("centernet_r18", "centernet", 114, (512, 512), needs_gib=48),
}
"""A GPU's share of the paper's batches on four or eight of them, and CenterNet-R18's whole batch."""


def check(setting: Setting, report: Report) -> None:
    """Measure each load twice."""
    for name, load in LOADS.items():
        if setting.on_gpu and torch.cuda.get_device_properties(0).total_memory < load.needs_gib * 2**30:
            report.figures(**{name: f"not tried on a card of less than {load.needs_gib} GiB"})
            continue
        with report.part(name):
            _measure(setting, report, name, load)
        forget(setting)


def _measure(setting: Setting, report: Report, name: str, load: Load) -> None:
    family = setting.size(FULL[load.family], TINY[load.small])
    images, size = setting.size((load.images, load.size), (2, (64, 64)))
    batch = scene_batch(images, *size, setting.size(80, 5), pinned=setting.on_gpu)
    plain_ms, plain_gib = _step(setting, family.plain, None, batch)
    dminer_ms, dminer_gib = _step(setting, family.mining, family.dminer, batch)
    figures = {"plain_ms": plain_ms, "dminer_ms": dminer_ms, "time_ratio": dminer_ms / plain_ms}
    figures |= {"plain_images_per_second": 1000 * images / plain_ms}
    if plain_gib is None or dminer_gib is None:
        report.figures(**{name: figures})
        return
    memory = dminer_gib / plain_gib
    report.figures(**{name: figures | {"plain_gib": plain_gib, "dminer_gib": dminer_gib, "memory_ratio": memory}})
    for what, ratio, most in (("time", dminer_ms / plain_ms, MOST_TIME), ("memory", memory, MOST_MEMORY)):
        report.require(ratio <= most, f"{name}: DMiner takes {ratio:.3f} times the {what} (at most {most})")


def _step(setting: Setting, spec: DetectorSpec, dminer: DMiner | None, batch: Batch) -> tuple[float, float | None]:
    """Milliseconds of a step, and the most memory it takes in GiB."""
    forget(setting)
    experiment = declared(spec, precision="bf16", dminer=dminer)
    trainee = Trainee(fresh(spec, setting.size(80, 5)), experiment, setting.device)
    times = step_ms(lambda: trainee.step(batch), setting, warm=setting.size(5, 1), steps=setting.size(15, 1))
    return times, peak_gib(setting)
