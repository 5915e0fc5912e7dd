"""What training relies on, asked of a method with one setting.

Every check takes the settings and those of a detector, and makes a step or a short run on the CPU;
:func:`check_method` makes them all. The settings should have the method at work from the first step on, with thresholds
that scores of random weights pass, or else little of it is looked at.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import torch

from siod.detectors.zoo import CENTERNET_TINY, FASTER_RCNN_TINY
from siod.dminer.pgcl import PGCL
from siod.dminer.splg import SPLG
from siod.methods.annotated import AnnotatedOnly
from siod.methods.zoo import METHODS
from siod.testing.method_runs import check_a_resumed_run_equals_an_unbroken_one
from siod.testing.method_steps import (
    CLASSES,
    FIRST,
    a_step,
    bare_batch,
    empty_batch,
    made,
    mixed_batch,
    part_of,
    sparse_batch,
)
from siod.testing.networks import eager
from siod.testing.requirement import require
from siod.training.experiment import Experiment
from siod.training.phases import Phase
from siod.training.presets import digits_centernet

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from siod.detectors.detector import Detector, DetectorSpec
    from siod.methods.method import MethodSpec, Views
    from siod.testing.method_steps import Step
    from siod.types import Batch

DETECTOR = CENTERNET_TINY.with_changes({"norm": "group"})
"""What a method is checked on unless it is told another; its statistics are of one image, so batches may be split."""


def check_method(spec: MethodSpec, detector: DetectorSpec = DETECTOR) -> None:
    """Make every check of ``METHOD_CHECKS``.

    Args:
        spec: Settings of a method that ``add_method`` was called for, at work from the first step on.
        detector: Settings of a small detector that it can work with.

    Raises:
        AssertionError: Something that training relies on does not hold; says what and who relies on it.
    """
    for check in METHOD_CHECKS:
        check(spec, detector)


def check_settings_name_the_method(spec: MethodSpec, detector: DetectorSpec = DETECTOR) -> None:
    """An experiment with the settings is written and read again, and is another one than without them.

    Args:
        spec: The settings.
        detector: What it works with.

    Raises:
        AssertionError: They are of no known method, or do not come back from JSON.
    """
    known = METHODS.get(spec.kind)
    require(
        known is not None and known.spec is type(spec),
        f"method {spec.kind!r} is not that of {type(spec).__name__} for experiments; call add_method of "
        "siod.methods.zoo with the settings and the method",
    )
    experiment = digits_centernet().with_changes({"detector": detector, "method": spec})
    again = Experiment.model_validate_json(experiment.model_dump_json())
    require(again == experiment, "the settings change when an experiment is written and read, so no run could resume")


def check_refusals_are_one_sentence(spec: MethodSpec, detector: DetectorSpec = DETECTOR) -> None:
    """The method takes the detector it is checked on; one without dense outputs it refuses in a sentence, or takes.

    Args:
        spec: The settings.
        detector: What it works with.

    Raises:
        AssertionError: A refusal is no sentence, or a detector passes that the method cannot work with.
    """
    refused = spec.refusal(detector)
    require(refused is None, f"the method refuses the detector it is checked on: {refused}")
    sentence = spec.refusal(FASTER_RCNN_TINY)
    if sentence is not None:
        one = bool(sentence.strip()) and "\n" not in sentence
        require(one, f"refusal must say in one sentence with what to work instead, got {sentence!r}")
        return
    try:
        a_step(eager(FASTER_RCNN_TINY, CLASSES), spec, mixed_batch())
    except Exception as error:
        sentence = (
            "refusal lets faster_rcnn_c4 pass, whose outputs cannot be told apart by image, but a step with it fails"
        )
        raise AssertionError(f"{sentence}: {error}") from error


def check_weight_zero_is_the_base(spec: MethodSpec, detector: DetectorSpec = DETECTOR) -> None:
    """With ``weight`` 0 losses and gradients are to the bit those without it, or of annotated images alone.

    Args:
        spec: The settings; nothing is asked of those without a ``weight``.
        detector: What it works with.

    Raises:
        AssertionError: The method does something that it is not paid for, so an arm without it is not its base.
    """
    if "weight" not in type(spec).model_fields:
        return
    idle, student = spec.with_changes({"weight": 0.0}), eager(detector, CLASSES)
    for batch, base in ((sparse_batch(), None), (mixed_batch(), AnnotatedOnly())):
        name = "the base" if base is None else "annotated images alone"
        ours, theirs = a_step(student, idle, batch), a_step(student, base, batch)
        require(
            ours.parts.keys() == theirs.parts.keys(),
            f"with weight 0 the losses are {', '.join(ours.parts)}, but {', '.join(theirs.parts)} for {name}; ask for "
            "no view that is worth nothing",
        )
        for kind, one, other in (
            ("loss", ours.parts, theirs.parts),
            ("the gradient of", ours.gradients, theirs.gradients),
        ):
            differ = [term for term in other if term not in one or not torch.equal(one[term], other[term])]
            require(not differ, f"with weight 0 {kind} {', '.join(differ[:3])} is not that of {name} to the bit")


def check_every_parameter_learns(spec: MethodSpec, detector: DetectorSpec = DETECTOR) -> None:
    """Losses and gradients are finite, and every parameter has one, with sparse, mixed, bare and no annotations.

    Args:
        spec: The settings.
        detector: What it works with.

    Raises:
        AssertionError: A parameter takes no part, or something is not finite.
    """
    student = eager(detector, CLASSES)
    for case, batch in _batches().items():
        step = a_step(student, spec, batch)
        _require_finite(step, case)
        _require_all_learn(student, step, case)


def check_names_do_not_depend_on_the_data(spec: MethodSpec, detector: DetectorSpec = DETECTOR) -> None:
    """Parts and figures have the same names in the same order, whatever is in the batch.

    Args:
        spec: The settings.
        detector: What it works with.

    Raises:
        AssertionError: They have not, so two workers would add up different things.
    """
    student = eager(detector, CLASSES)
    steps = {case: a_step(student, spec, batch) for case, batch in _batches().items()}
    first, *others = steps
    for case in others:
        for what, one, other in (
            ("losses", steps[first].parts, steps[case].parts),
            ("figures", steps[first].figures, steps[case].figures),
        ):
            require(
                list(one) == list(other),
                f"{what} are {', '.join(one) or 'none'} for {first}, but {', '.join(other) or 'none'} for {case}; "
                "workers add them up by their order, so names must not depend on the data",
            )


def check_bare_images_count_no_annotation(spec: MethodSpec, detector: DetectorSpec = DETECTOR) -> None:
    """With ``weight`` 0 a share of bare images alone has losses of 0 that reach every parameter.

    Args:
        spec: The settings; nothing is asked of those without a ``weight``.
        detector: What it works with.

    Raises:
        AssertionError: Images whose annotations were taken away teach background.
    """
    if "weight" not in type(spec).model_fields:
        return
    student = eager(detector, CLASSES)
    step = a_step(student, spec.with_changes({"weight": 0.0}), bare_batch())
    _require_all_learn(student, step, "bare images at weight 0")
    for name, part in step.parts.items():
        require(
            float(part.detach()) == 0.0,
            f"loss {name!r} is {float(part.detach()):g} for bare images at weight 0; learn annotations from "
            "siod.methods.annotated.annotated_view, or images without annotations teach background",
        )


def check_it_works_beside_dminer(spec: MethodSpec, detector: DetectorSpec = DETECTOR) -> None:
    """With both miners at work PGCL has its part, and all parts are finite.

    Args:
        spec: The settings.
        detector: What it works with; nothing is asked of one without maps to mine.

    Raises:
        AssertionError: The method leaves the criterion it is given unused, or the two do not get on.
    """
    if not detector.mined_levels():
        return
    step = a_step(eager(detector, CLASSES), spec, sparse_batch(), Phase(1, 2, splg=SPLG(), pgcl=PGCL(top_m=8)))
    pgcl = any(name.endswith("pgcl") for name in step.parts)
    require(pgcl, "PGCL has no part in the losses; objective must judge a view by the criterion it is given")
    _require_finite(step, "a batch with both miners")


def check_randomness_is_the_images_own(spec: MethodSpec, detector: DetectorSpec = DETECTOR) -> None:
    """Views do not depend on global generators, nor an image's on the others of the batch.

    Args:
        spec: The settings.
        detector: What it works with.

    Raises:
        AssertionError: Two workers, or a resumed run, would look at something else; or the batch is changed in place.
    """
    method = made(spec, eager(detector, CLASSES))
    for batch in (sparse_batch(), mixed_batch()):
        before = batch.images.clone()
        whole = _looked_at(method.views(batch, FIRST))
        require(torch.equal(batch.images, before), "views changes the images of the batch; copy before changing them")
        for seed in (1, 2):
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002  (the stream that a method must not read)
            require(
                _same(whole, _looked_at(method.views(batch, FIRST))),
                "views differ between two calls at one moment; draw from (moment.seed, moment.epoch, image id), not "
                "from a global stream, or a resumed run repeats something else",
            )
        halves = [_looked_at(method.views(part_of(batch, rows), FIRST)) for rows in ([0, 1], [2, 3])]
        joined = [torch.cat(parts) for parts in zip(*halves, strict=True)]
        require(
            _same(whole, joined),
            "two halves of a batch are not looked at as the whole is; randomness must be that of the image (seed, "
            "epoch, image id), not of its place, or two workers learn something else than one",
        )


METHOD_CHECKS: tuple[Callable[[MethodSpec, DetectorSpec], None], ...] = (
    check_settings_name_the_method,
    check_refusals_are_one_sentence,
    check_weight_zero_is_the_base,
    check_every_parameter_learns,
    check_names_do_not_depend_on_the_data,
    check_bare_images_count_no_annotation,
    check_it_works_beside_dminer,
    check_randomness_is_the_images_own,
    check_a_resumed_run_equals_an_unbroken_one,
)


def _batches() -> dict[str, Batch]:
    return {
        "sparse annotations": sparse_batch(),
        "annotated and bare images": mixed_batch(),
        "bare images alone": bare_batch(),
        "images without a box": empty_batch(),
    }


def _require_finite(step: Step, case: str) -> None:
    for name, part in step.parts.items():
        require(bool(part.isfinite()), f"loss {name!r} is {float(part.detach())} for {case}; training stops at it")
    for name, gradient in step.gradients.items():
        require(bool(gradient.isfinite().all()), f"the gradient of {name} is not finite for {case}")


def _require_all_learn(student: Detector, step: Step, case: str) -> None:
    learning = {name for name, parameter in student.named_parameters() if parameter.requires_grad}
    missing = sorted(learning - step.gradients.keys())
    require(
        not missing,
        f"parameter {', '.join(missing[:3])} takes no part in the losses of {case}; workers would wait for its "
        "gradient for ever; a view of nothing must be one without loss, not left out",
    )


def _looked_at(views: Views) -> list[Tensor]:
    """The images of each view that counts; none for one without loss."""
    return [view.images[:0] if view.without_loss else view.images for view in views.views]


def _same(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))
