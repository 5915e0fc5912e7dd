"""What training asks of losses: for several workers, half precision, and methods with several views."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from siod.errors import UserError
from siod.state import State
from siod.testing.networks import CLASSES, eager, fresh, loss_of, miners, noise_for, with_fixed_statistics
from siod.testing.requirement import require
from siod.testing.scenes import noise, target, two_targets
from siod.training.phases import Phase
from siod.training.step import batch_loss
from siod.types import Mined, Target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from siod.detectors.detector import Detector, DetectorSpec
    from siod.training.step import BatchLoss

HALF = (torch.bfloat16, torch.float16)


def check_losses_reach_every_parameter(spec: DetectorSpec) -> None:
    """With many boxes, one or none every loss is finite, none is below 0, and every parameter has a gradient.

    Args:
        spec: The settings.

    Raises:
        AssertionError: A loss or a gradient is not as several workers need it.
    """
    for classes, boxes in ((1, 0), (1, 1), (80, 1), (80, 40), (1, 40), (80, 0)):
        detector = fresh(spec, classes)
        pixels, targets = _crowded_and_empty(detector, boxes, classes)
        loss = loss_of(detector, spec, pixels, targets)
        case = f"with {boxes} boxes of {classes} classes"
        expected = {*detector.loss_weights, *({"pgcl"} if spec.mined_levels() else ())}
        require(
            loss.parts.keys() == expected,
            f"losses are named {sorted(loss.parts)} {case}, but loss_weights and miners name {sorted(expected)}; "
            "workers add them up by name",
        )
        for name, part in loss.parts.items():
            require(bool(part.isfinite()), f"loss {name!r} is {float(part.detach())} {case}; training stops at it")
            require(float(part.detach()) >= 0, f"loss {name!r} is {float(part.detach())} {case}, below 0")
        torch.autograd.backward(loss.total())
        _require_gradients(detector, case)


def check_hidden_instances_are_not_read(spec: DetectorSpec) -> None:
    """The losses are the same whatever hidden instances the targets carry.

    Args:
        spec: The settings.

    Raises:
        AssertionError: Hidden instances have an influence on a loss: the detector saw what the annotations left out.
    """
    detector = fresh(spec)
    pixels, targets = noise_for(detector, 2), two_targets()
    hidden = torch.tensor([[60.0, 4.0, 90.0, 40.0]])
    known = [Target(one.boxes_xyxy, one.labels, hidden, torch.tensor([0])) for one in targets]
    without, with_hidden = (loss_of(detector, spec, pixels, each).parts for each in (targets, known))
    for name, part in without.items():
        require(
            torch.equal(part, with_hidden[name]),
            f"loss {name!r} changes with the hidden instances of the targets; they are there to judge mining alone",
        )


def check_unlabelled_classes_teach_no_negatives(spec: DetectorSpec) -> None:
    """Where nobody looked for a class, its negatives are in no loss; other states change no loss by themselves.

    Args:
        spec: The settings.

    Raises:
        AssertionError: A loss teaches that there is nothing of a class that nobody looked for, or annotated instances
            and other classes lose theirs.
    """
    detector, boxes, bare = fresh(spec), two_targets(), [target([], []), target([], [])]
    plain = _without_miners(detector, boxes)
    for state in (State.ABSENT, State.COMPLETE, State.SOME, State.UNKNOWN):
        known = _without_miners(detector, boxes, {(0, label): state for label in range(CLASSES)})
        for name, total in plain.items():
            same = torch.equal(known[name], total)
            require(
                same, f"loss {name!r} changes where a class is {state.name}; only UNLABELLED may change it by itself"
            )
    plain, everywhere = (
        _without_miners(detector, bare),
        [(image, label) for image in (0, 1) for label in range(CLASSES)],
    )
    nobody = _without_miners(detector, bare, dict.fromkeys(everywhere, State.UNLABELLED))
    changed = [name for name, total in plain.items() if not torch.equal(nobody[name], total)]
    advice = "losses must leave out the negatives of siod.types.unlabelled_classes(targets)"
    require(bool(changed), f"UNLABELLED classes change no loss; {advice}")
    one = _without_miners(detector, bare, {(0, 0): State.UNLABELLED})
    positives = _without_miners(detector, boxes, dict.fromkeys([(0, 1), (1, 0), (1, 2)], State.UNLABELLED))
    for name in changed:
        without, rest = float(nobody[name]), float(one[name])
        require(
            without == 0, f"loss {name!r} is {without:g} where nobody looked for any class, and must be 0; {advice}"
        )
        require(
            0 < rest < float(plain[name]),
            f"loss {name!r} is {rest:g} with one UNLABELLED class in one of two images and {float(plain[name]):g} "
            "without; it must lie between 0 and that, because the others teach as ever",
        )
        learnt = float(positives[name]) > 0
        require(learnt, f"loss {name!r} is 0 where all but the annotated classes are UNLABELLED; these must be learnt")


def check_a_batch_has_the_losses_of_its_images(spec: DetectorSpec) -> None:
    """Sums and counts of the losses of two images are those of one and one.

    Args:
        spec: The settings. Batch normalisation does not take part: its statistics are fixed for the check.

    Raises:
        AssertionError: A sum or a count of two images is not that of each alone, so workers would learn otherwise
            together than one alone.
    """
    detector = with_fixed_statistics(fresh(spec))
    pixels, targets = noise_for(detector, 2), two_targets()

    def terms(rows: slice) -> dict[str, tuple[float, float]]:
        torch.manual_seed(3)
        chosen = targets[rows]
        outputs = detector(pixels[rows], chosen)
        loss = batch_loss(detector, outputs, chosen, miners(spec))
        found = detector.losses(outputs, detector.encode(chosen, outputs), loss.mining.mined) | loss.mining.terms
        return {name: (float(term.total.detach()), float(term.count)) for name, term in found.items()}

    whole, first, second = terms(slice(0, 2)), terms(slice(0, 1)), terms(slice(1, 2))
    for name, (total, count) in whole.items():
        (one, one_count), (other, other_count) = first[name], second[name]
        require(
            abs(total - one - other) <= 1e-3 * abs(one + other) + 1e-9,
            f"loss {name!r} sums to {total:g} over two images, but to {one:g} and {other:g} over each; LossTerm.total "
            "must be a sum over images, not a mean, or two workers learn otherwise than one",
        )
        require(
            count == one_count + other_count,
            f"loss {name!r} counts {count:g} over two images, but {one_count:g} and {other_count:g} over each",
        )


def check_half_precision(spec: DetectorSpec) -> None:
    """Under autocast, or with ``half_precision`` set, losses and detections are float32 and gradients finite.

    Args:
        spec: The settings.

    Raises:
        AssertionError: What is compared or decoded is rounded, the setting leaks out of the forward pass, or does
            nothing.
    """
    for dtype in HALF:
        detector = fresh(spec)
        pixels, targets = noise_for(detector, 2), two_targets()
        with torch.autocast("cpu", dtype=dtype):
            loss = batch_loss(detector, detector(pixels, targets), targets, miners(spec))
        _require_float32(loss)
        torch.autograd.backward(loss.total())
        _require_gradients(detector, f"under {dtype}")
    detector = fresh(spec)
    whole = float(loss_of(detector, spec, pixels, targets).total().detach())
    detector.half_precision = torch.bfloat16
    seen: list[torch.dtype] = []
    layer = next(module for module in detector.backbone.modules() if isinstance(module, nn.Conv2d | nn.Linear))
    layer.register_forward_hook(lambda _, __, features: seen.append(features.dtype))
    half = loss_of(detector, spec, pixels, targets)
    require(seen == [torch.bfloat16], f"with half_precision the backbone computes in {seen}, not in bfloat16")
    require(not torch.is_autocast_enabled("cpu"), "autocast is still on after forward")
    _require_float32(half)
    total = float(half.total().detach())
    require(
        total != whole and abs(total - whole) <= 0.05 * abs(whole),
        f"the loss is {total:g} in bfloat16 and {whole:g} in float32; it should be near but not the same",
    )
    found = detector.eval().decode(detector(pixels))
    dtypes = {tensor.dtype for one in found for tensor in (one.boxes_xyxy, one.scores)}
    require(dtypes == {torch.float32}, f"boxes and scores are of {dtypes} with half_precision, not float32")


def check_views_can_be_told_apart(spec: DetectorSpec) -> None:
    """``select`` gives the outputs of some images as if they had been alone; without dense outputs it refuses.

    Args:
        spec: The settings.

    Raises:
        AssertionError: Methods with several views would compare a view with another's targets.
    """
    detector = eager(spec)
    pixels, targets = noise_for(detector, 2), two_targets()
    outputs = detector(pixels, targets)
    if not spec.dense_outputs:
        try:
            detector.select(outputs, slice(0, 1))
        except UserError:
            return
        raise AssertionError("select works, but dense_outputs of the settings says that it does not; set it to True")
    whole = batch_loss(detector, outputs, targets, Phase(1, 1)).parts
    for name in whole:
        parts = [
            detector.losses(one, detector.encode(targets[rows], one), [Mined()] * spec.mined_levels())[name].total
            for rows in (slice(0, 1), slice(1, 2))
            for one in (detector.select(outputs, rows),)
        ]
        term = detector.losses(outputs, detector.encode(targets, outputs), [Mined()] * spec.mined_levels())[name]
        require(
            torch.allclose(parts[0] + parts[1], term.total, rtol=1e-3),
            f"loss {name!r} of the selected images does not sum to that of all; select must cut every output by image",
        )


def _without_miners(
    detector: Detector, targets: list[Target], states: Mapping[tuple[int, int], State] | None = None
) -> dict[str, Tensor]:
    """The sums of the losses with the states of some places (image and class), the others ABSENT."""
    if states is not None:
        table = torch.full((len(targets), CLASSES), State.ABSENT, dtype=torch.int8)
        for place, state in states.items():
            table[place] = state
        targets = [replace(one, states=row) for one, row in zip(targets, table, strict=True)]
    torch.manual_seed(3)
    outputs = detector(noise_for(detector, len(targets)), targets)
    levels = detector.levels(outputs, detector.encode(targets, outputs))
    terms = detector.losses(outputs, detector.encode(targets, outputs), [Mined() for _ in levels])
    return {name: term.total.detach() for name, term in terms.items()}


def _crowded_and_empty(detector: Detector, boxes: int, classes: int) -> tuple[Tensor, list[Target]]:
    """An image with so many boxes and one with none, of odd multiples of the divisor."""
    divisor = detector.size_divisor
    height, width = (_odd_multiple(divisor, at_least) for at_least in (112, 80))
    corners = torch.rand(boxes, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([50.0, 80.0])
    sizes = torch.linspace(8, 30, max(boxes, 1))[:boxes, None]
    crowded = target(torch.cat([corners, corners + sizes], dim=1), [index % classes for index in range(boxes)])
    return noise(2, height, width), [crowded, target([], [])]


def _odd_multiple(divisor: int, at_least: int) -> int:
    times = -(-at_least // divisor)
    return divisor * (times + 1 - times % 2)


def _require_gradients(detector: Detector, case: str) -> None:
    for name, parameter in detector.named_parameters():
        if parameter.requires_grad:
            require(
                parameter.grad is not None,
                f"parameter {name} takes no part in the loss {case}; workers would wait for its gradient for ever",
            )
            require(
                parameter.grad is not None and bool(parameter.grad.isfinite().all()),
                f"the gradient of {name} is not finite {case}",
            )


def _require_float32(loss: BatchLoss) -> None:
    for name, part in loss.parts.items():
        require(part.dtype == torch.float32, f"loss {name!r} is {part.dtype} under half precision, not float32")
