"""Refusals of what a device cannot compute as an experiment says; ``siod.training.arithmetic`` asks the devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siod.errors import UserError

if TYPE_CHECKING:
    from siod.training.experiment import Experiment, Precision

CPU_PRECISIONS: frozenset[Precision] = frozenset({"fp32", "bf16", "fp16"})
"""A CPU computes halves too, if slowly, and has no TF32."""


def refuse_missing(experiment: Experiment, device: str, name: str, has: frozenset[Precision]) -> None:
    """Stop before training what a device cannot compute as the experiment says.

    Args:
        experiment: Names precisions, and whether it has to come out alike each time.
        device: Where it is to be trained: ``cpu`` or ``cuda``.
        name: Of the device, for messages.
        has: The precisions it multiplies in by itself.

    Raises:
        UserError: It cannot, with what to change.
    """
    for setting, precision in (
        ("recipe.precision", experiment.recipe.precision),
        ("evaluation.precision", experiment.evaluated_in()),
    ):
        if precision not in has:
            problem = f"{setting} is {precision}, which {name} does not compute in"
            raise UserError(f"{problem}; set it to {'fp32' if precision == 'tf32' else 'fp16 or fp32'}")
    operation = experiment.detector.unrepeatable_on_cuda()
    if experiment.compute.deterministic and device == "cuda" and operation is not None:
        raise UserError(
            f"compute.deterministic cannot hold on a GPU for {experiment.detector.family}: {operation} adds up "
            "gradients in no fixed order there; set it to false, or take another detector"
        )
