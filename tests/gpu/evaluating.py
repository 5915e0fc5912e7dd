"""Seconds for 5,000 images at 640 x 480, judged by the score-aware protocol, and milliseconds for decoding one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from scenes import FULL, TINY, Files, eager, fresh, jpeg_folder, scene_batch
from timing import step_ms, wait

from siod.training.context import InProcess
from siod.training.evaluate import detect, score_aware_metrics
from siod.training.experiment import Evaluation
from siod.training.presets import SHORT_EDGE_EVALUATION

if TYPE_CHECKING:
    from reporting import Report, Setting

    from siod.data.source import PreparedData
    from siod.detectors.detector import Detector
    from siod.detectors.spec import DetectorSpec


class Load(NamedTuple):
    """A detector and what it is judged on.

    Attributes:
        full: The detector.
        small: In its place at tiny sizes.
        evaluation: How images are fitted.
        size: Height and width of the input of an image of 640 x 480.
        images: How many are looked at.
        judged: Whether the goal is for it.
    """

    full: DetectorSpec
    small: DetectorSpec
    evaluation: Evaluation
    size: tuple[int, int]
    images: int
    judged: bool


LOADS = {
    "centernet_r18": Load(
        FULL["centernet_r18"].plain, TINY["centernet"].plain, Evaluation(), (480, 640), images=1000, judged=True
    ),
    "retinanet_r50_fpn": Load(
        FULL["retinanet_r50_fpn"].plain,
        TINY["retinanet"].plain,
        SHORT_EDGE_EVALUATION,
        (800, 1088),
        images=200,
        judged=False,
    ),
}
IMAGES = 5000
"""As COCO's validation set has; what fewer take is scaled up to it."""
LOADER_WORKERS = 12
MOST_SECONDS = 20.0
MOST_DECODE_MS = 1.0


def check(setting: Setting, report: Report) -> None:
    """Evaluate both detectors in fp32 and in bf16."""
    for name, load in LOADS.items():
        spec = setting.size(load.full, load.small)
        detector = eager(fresh(spec, 80)).to(setting.device).to(memory_format=torch.channels_last).eval()
        with report.part(f"{name} decode"):
            _time_decoding(setting, report, name, detector)
        files = setting.size(Files(100, load.images, 480, 640, distinct=100), Files(8, 8, 96, 128, distinct=8))
        data = jpeg_folder(files, setting.work)
        _evaluate(setting, load, detector, data, "bf16")  # loader processes start, annotations are read
        for precision in ("bf16", "fp32"):
            with report.part(f"{name} {precision}"):
                figures = _evaluate(setting, load, detector, data, precision)
                report.figures(**{f"{name}_{precision}": figures})
                seconds = figures["seconds_for_5000"]
                if setting.on_gpu and load.judged:
                    sentence = f"{name} in {precision}: 5,000 images take {seconds:.1f} s"
                    report.require(seconds < MOST_SECONDS, f"{sentence} (less than {MOST_SECONDS:.0f})")


@torch.inference_mode()
def _time_decoding(setting: Setting, report: Report, name: str, detector: Detector) -> None:
    load = LOADS[name]
    images = setting.size(load.evaluation.batch_size, 2)
    batch = scene_batch(images, *setting.size(load.size, (96, 96)), 80).to(setting.device)
    outputs = detector(batch.images)
    found = [len(each.labels) for each in detector.decode(outputs)]
    times = step_ms(lambda: _decode(detector, outputs), setting, warm=2, steps=setting.size(10, 2)) / images
    report.figures(**{f"{name}_decode": {"ms": times, "detections": sum(found) / images}})
    report.require(min(found) > 0, f"{name}: found nothing, so that there was nothing to decode")
    if setting.on_gpu and load.judged:
        sentence = f"{name}: decoding takes {times:.2f} ms an image (less than {MOST_DECODE_MS:g})"
        report.require(times < MOST_DECODE_MS, sentence)


def _decode(detector: Detector, outputs: Any) -> None:
    detector.decode(outputs)


def _evaluate(setting: Setting, load: Load, detector: Detector, data: PreparedData, precision: str) -> dict[str, float]:
    """Detect and judge; the figures are for 5,000 images."""
    context = InProcess(setting.work, device=torch.device(setting.device))
    evaluation = setting.size(load.evaluation, Evaluation(batch_size=4))
    began = time.perf_counter()
    workers = setting.size(LOADER_WORKERS, 0)
    found = detect(detector, data, evaluation, context, precision=precision, loader_workers=workers)
    wait(setting)
    detected = time.perf_counter()
    score_aware_metrics(data, found, context)
    judged = time.perf_counter()
    images = setting.size(load.images, 8)
    scale = IMAGES / images
    return {
        "seconds_for_5000": scale * (judged - began),
        "of_which_judging": scale * (judged - detected),
        "detections": len(found.scores) / images,
    }
