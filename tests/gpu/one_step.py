"""Three updates by every family, method and precision; in fp16 the first one overflows and must leave no trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from methods import AT_WORK
from scenes import TINY, eager, fresh, scene_batch
from training import Trainee, declared

if TYPE_CHECKING:
    from reporting import Report, Setting

    from siod.detectors.spec import DetectorSpec
    from siod.dminer.dminer import DMiner
    from siod.methods.spec import MethodSpec

OVERFLOW = 1e38
"""As the scale of gradients: none that is not zero stays within fp16."""
STEPS = 3
BLOCK_ELEMENTS = [2**power for power in range(8, 21)]
BLOCKS = 16
"""Of each size: 128 MiB in all, more than a tiny detector and its gradients take."""


class Variant(NamedTuple):
    """What is trained."""

    detector: DetectorSpec
    dminer: DMiner | None = None
    method: MethodSpec | None = None


def check(setting: Setting, report: Report) -> None:
    """Go through all of them; ``steps`` counts the updates made."""
    steps = 0
    for precision in ("fp16", "bf16", "fp32"):
        for name, variant in _variants().items():
            with report.part(f"{name}_{precision}"):
                _three_updates(setting, report, f"{name}_{precision}", variant, precision)
                steps += STEPS
                report.figures(steps=steps)


def _variants() -> dict[str, Variant]:
    plain = {name: Variant(family.plain) for name, family in TINY.items()}
    mined = {f"{name}_dminer": Variant(family.mining, family.dminer) for name, family in TINY.items()}
    by_method = {f"centernet_{name}": Variant(TINY["centernet"].plain, method=spec) for name, spec in AT_WORK.items()}
    return plain | mined | by_method


def _three_updates(setting: Setting, report: Report, name: str, variant: Variant, precision: str) -> None:
    experiment = declared(
        variant.detector, precision=precision, learning_rate=1e-4, dminer=variant.dminer, method=variant.method
    )
    trainee = Trainee(eager(fresh(variant.detector, classes=5)), experiment, setting.device)
    # An optimiser makes its state in its first step, of memory as it is found.
    trainee.learner.optimiser.register_step_pre_hook(lambda *_: _poison(setting.device))
    side = setting.size(96, 64)
    batch = scene_batch(setting.size(8, 2), side, side, classes=5)
    before = _weights(trainee)
    if precision == "fp16":
        trainee.rescale(OVERFLOW)
    trainee.step(batch)
    if precision == "fp16":
        report.require(torch.equal(_weights(trainee), before), f"{name}: the overflowing update changed the weights")
        trainee.rescale()
    for _ in range(STEPS - 1):
        trainee.step(batch)
    after = _weights(trainee)
    report.require(bool(after.isfinite().all()), f"{name}: weights are not finite after three updates")
    report.require(not torch.equal(after, before), f"{name}: three updates changed nothing")
    change = float((after - before).abs().max())
    report.require(change < 1.0, f"{name}: three updates at a learning rate of 1e-4 changed a weight by {change:.3g}")


def _weights(trainee: Trainee) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten().float() for parameter in trainee.detector.parameters()])


def _poison(device: str) -> None:
    """Leave NaN in the memory that the next tensors get."""
    blocks = [torch.full((size,), float("nan"), device=device) for size in BLOCK_ELEMENTS for _ in range(BLOCKS)]
    del blocks
