"""What sizes of input a detector takes, asked before anything is trained."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from siod.data.transforms import PAD_TO_PX
from siod.detectors.zoo import build
from siod.errors import UserError

if TYPE_CHECKING:
    from siod.data.derived import SizeCounts
    from siod.detectors.spec import DetectorSpec
    from siod.training.experiment import Experiment


def refuse_unfit_inputs(experiment: Experiment) -> None:
    """Refuse inputs that the detector cannot take.

    Args:
        experiment: Its detector, augmentation, evaluation, batch and workers.

    Raises:
        UserError: A side is no multiple of the detector's coarsest stride, or batch normalisation would have a single
            value a channel to learn from.
    """
    divisor = size_divisor(experiment.detector)
    _refuse_stride("augmentation.input_size", experiment.augmentation.input_size, divisor)
    _refuse_stride("evaluation.input_size", experiment.evaluation.input_size, divisor)
    workers = experiment.compute.workers
    alone = experiment.recipe.batch_size < 2 * workers and experiment.detector.norm == "batch"
    if alone and experiment.augmentation.input_size == (divisor, divisor):
        raise UserError(
            f"augmentation.input_size {[divisor, divisor]} with one image a worker leaves batch normalisation a "
            f"single value in the coarsest map; set augmentation.input_size to {[2 * divisor, 2 * divisor]} or "
            f"recipe.batch_size to {2 * workers}"
        )


def _refuse_stride(field: str, size: tuple[int, int] | None, divisor: int) -> None:
    if size is None and PAD_TO_PX % divisor:
        raise UserError(
            f"{field} is null, which pads images to multiples of {PAD_TO_PX} px, and the detector takes multiples of "
            f"{divisor} px; set {field} to such a size"
        )
    if size is not None and any(side % divisor for side in size):
        fitting = [-(-side // divisor) * divisor for side in size]
        raise UserError(
            f"{field} {list(size)}: the detector's coarsest stride is {divisor} px and both sides must be multiples "
            f"of it; set it to {fitting}"
        )


def refuse_vanishing_images(experiment: Experiment, train: SizeCounts, val: SizeCounts) -> None:
    """Refuse images of such proportions that nothing is left of their shorter side in the input.

    Args:
        experiment: Its augmentation and evaluation.
        train: Sizes of the training images.
        val: Sizes of the images that judge.

    Raises:
        UserError: The shorter side of an image shrinks to less than a pixel.
    """
    longest_px: int | None = getattr(experiment.data, "longest_px", None)
    for what, sizes, field, size in (
        ("training", train, "augmentation.input_size", experiment.augmentation.input_size),
        ("validation or test", val, "evaluation.input_size", experiment.evaluation.input_size),
    ):
        for width, height, _ in sizes:
            if _shorter_side_px(width, height, None, longest_px) < 1:
                cause = f"data.longest_px {longest_px}"
            elif _shorter_side_px(width, height, size, longest_px) < 1:
                cause = f"{field} {list(size or ())}"
            else:
                continue
            raise UserError(
                f"a {what} image of {width} x {height} px keeps less than a pixel of its shorter side at {cause}; "
                "leave it out, cut it up, or set that to more"
            )


def _shorter_side_px(width: int, height: int, size: tuple[int, int] | None, longest_px: int | None) -> float:
    """What the shorter side comes to in a small copy that is fitted into an input, before it is rounded."""
    shrunk = 1.0 if longest_px is None else min(1.0, longest_px / max(width, height))
    fitted = shrunk if size is None else min(size[1] / width, size[0] / height)
    return min(width, height) * fitted


@cache
def size_divisor(spec: DetectorSpec) -> int:
    """What height and width of a detector's inputs must be multiples of, in pixels.

    Args:
        spec: Its settings.
    """
    told = spec.size_divisor()
    if told is not None:
        return told
    import torch  # noqa: PLC0415  (a detector from outside that has to be built to be asked)

    with torch.device("meta"):  # shapes without numbers
        return build(spec, num_classes=1).size_divisor
