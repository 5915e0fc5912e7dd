"""One rank of NCCL (gloo on a CPU): gradients through DDP are those without, sums and gathered objects come back."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from scenes import TINY, fresh, scene_batch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from siod.training.arithmetic import matmul_precision
from siod.training.phases import Phase
from siod.training.step import batch_loss

if TYPE_CHECKING:
    from reporting import Report, Setting
    from torch import Tensor, nn

    from siod.detectors.detector import Detector
    from siod.types import Batch

MOST = 1e-5
"""Difference of gradients, over their largest entry."""


def check(setting: Setting, report: Report) -> None:
    """Start a group of one, take a step in it, end it."""
    torch.backends.cudnn.deterministic = True  # the two steps are to differ by DDP alone
    device = torch.device("cuda", 0) if setting.on_gpu else torch.device("cpu")
    backend = "nccl" if setting.on_gpu else "gloo"
    rendezvous = (setting.work / "rendezvous").as_uri()
    distributed.init_process_group(backend, init_method=rendezvous, rank=0, world_size=1)
    try:
        with report.part("gradients"):
            _compare_gradients(setting, report, device)
        with report.part("collectives"):
            values = torch.arange(4.0, device=device)
            distributed.all_reduce(values)
            report.require(values.tolist() == [0.0, 1.0, 2.0, 3.0], f"all_reduce of one rank gave {values.tolist()}")
            gathered: list[object] = [None]
            distributed.all_gather_object(gathered, {"rank": 0})
            report.require(gathered == [{"rank": 0}], f"all_gather_object of one rank gave {gathered}")
    finally:
        distributed.destroy_process_group()


def _compare_gradients(setting: Setting, report: Report, device: torch.device) -> None:
    batch = scene_batch(setting.size(8, 2), 96, 96, classes=5).to(device)
    detector = fresh(TINY["centernet"].plain, classes=5).to(device).to(memory_format=torch.channels_last)
    alone = copy.deepcopy(detector)
    wrapped = DistributedDataParallel(
        detector, device_ids=[device] if setting.on_gpu else None, broadcast_buffers=False, gradient_as_bucket_view=True
    )
    ours, theirs = _gradients(alone, alone, batch), _gradients(wrapped, detector, batch)
    difference = float((ours - theirs).abs().max() / ours.abs().max())
    report.figures(backend=distributed.get_backend(), gradient=difference)
    report.require(difference <= MOST, f"gradients through DDP differ by {difference:.2g} (at most {MOST:g})")


def _gradients(model: nn.Module, detector: Detector, batch: Batch) -> Tensor:
    with matmul_precision(detector, "fp32"):
        loss = batch_loss(detector, model(batch.images, batch.targets), batch.targets, Phase(1, 1))
        loss.total().backward()
    return torch.cat([parameter.grad.flatten() for parameter in detector.parameters() if parameter.grad is not None])
