"""In what precision a run multiplies, whether its sums have a fixed order, and what a device can do of that.

| ``recipe.precision`` | products of the networks | all else |
| --- | --- | --- |
| ``fp32`` | float32, on every device | float32 |
| ``tf32`` | TF32 of a GPU: the range of float32, ten bits behind the point | float32, matrix products in TF32 too |
| ``bf16``, ``fp16`` | autocast; the last layers of boxes and peaks in float32 | float32 |

torch's own default on a GPU is a mixture: convolutions in TF32, matrix products in float32. So the choice is made for
each run, and taken back after it: the process may go on to another one.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from siod.errors import RunError
from siod.training.precision import CPU_PRECISIONS, refuse_missing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from siod.detectors.detector import Detector
    from siod.training.experiment import Experiment, Precision

HALF: Mapping[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
# The setting with which cuBLAS gives equal products each time; torch refuses them otherwise.
CUBLAS, CUBLAS_FIXED = "CUBLAS_WORKSPACE_CONFIG", (":4096:8", ":16:8")


@contextmanager
def matmul_precision(detector: Detector, precision: Precision) -> Iterator[None]:
    """Set the precision of a detector's forward pass, and of float32 products on GPUs, while the context lasts.

    Args:
        detector: Its ``half_precision`` is set; copies of it that are made meanwhile keep it.
        precision: Of an experiment.
    """
    before, detector.half_precision = detector.half_precision, HALF.get(precision)
    try:
        with _float32_products("tf32" if precision == "tf32" else "ieee"):
            yield
    finally:
        detector.half_precision = before


@contextmanager
def _float32_products(way: str) -> Iterator[None]:
    """What CUDA makes of products of float32. The setting for CPUs is another one and stays as it is."""
    places = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = way
        yield
    finally:
        for place, old in zip(places, before, strict=True):
            place.fp32_precision = old


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:  # noqa: FBT001  (it is the subject)
    """Use deterministic operations while the context lasts; an operation without one is refused.

    Args:
        wanted: If not, nothing is changed.

    Raises:
        RunError: An operation has no such way.
    """
    if not wanted:
        yield
        return
    cudnn, own = torch.backends.cudnn, os.environ.get(CUBLAS)
    enabled, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    before = cudnn.deterministic, cudnn.benchmark
    try:
        if own not in CUBLAS_FIXED:
            os.environ[CUBLAS] = CUBLAS_FIXED[0]
        torch.use_deterministic_algorithms(mode=True)
        cudnn.deterministic, cudnn.benchmark = True, False
        yield
    except RuntimeError as error:
        if "does not have a deterministic implementation" not in str(error):
            raise
        operation = str(error).split(maxsplit=1)[0]
        raise RunError(f"{operation} adds up in no fixed order; set compute.deterministic to false") from error
    finally:
        cudnn.deterministic, cudnn.benchmark = before
        torch.use_deterministic_algorithms(mode=enabled, warn_only=warns)
        if own is None:
            os.environ.pop(CUBLAS, None)
        else:
            os.environ[CUBLAS] = own


def available(device: torch.device) -> frozenset[Precision]:
    """The precisions a device multiplies in by itself, without another one standing in.

    Args:
        device: A CPU computes halves too, if slowly, and has no TF32. GPUs have it and bf16 from Ampere on.
    """
    if device.type != "cuda":
        return CPU_PRECISIONS
    with torch.cuda.device(device):
        recent: frozenset[Precision] = frozenset({"tf32"} if torch.cuda.is_tf32_supported() else ())
        if torch.cuda.is_bf16_supported(including_emulation=False):
            recent |= {"bf16"}
    return recent | {"fp32", "fp16"}


def refuse_missing_on(device: torch.device, experiment: Experiment) -> None:
    """Stop before training what a device cannot compute as the experiment says.

    Args:
        device: Where it is to be trained.
        experiment: Names precisions, and whether it has to come out alike each time.

    Raises:
        UserError: As :func:`siod.training.precision.refuse_missing`.
    """
    refuse_missing(experiment, device.type, name_of(device), available(device))


def name_of(device: torch.device) -> str:
    """A device as its maker calls it; ``cpu`` for a CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def arithmetic_of(experiment: Experiment, device: torch.device, world_size: int) -> dict[str, Any]:
    """What decides how a run's numbers are rounded, as plain data for its records.

    Args:
        experiment: What is learnt.
        device: Where.
        world_size: By how many workers.
    """
    return {
        "device": name_of(device),
        "workers": world_size,
        "precision": experiment.recipe.precision,
        "evaluation_precision": experiment.evaluated_in(),
        "deterministic": experiment.compute.deterministic,
        "torch": str(torch.__version__),
    }
