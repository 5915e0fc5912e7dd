"""Every check of methods finds a method that breaks what it is about, and says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from mirror_method import MirrorToo, MirrorTooMethod

from siod.detectors.detector import Detector, DetectorSpec
from siod.methods import zoo
from siod.methods.method import Criterion, MethodSpec, Moment, Objective, View, Views, Weighted
from siod.registry import Kind
from siod.testing.method import (
    DETECTOR,
    METHOD_CHECKS,
    check_bare_images_count_no_annotation,
    check_every_parameter_learns,
    check_it_works_beside_dminer,
    check_names_do_not_depend_on_the_data,
    check_randomness_is_the_images_own,
    check_refusals_are_one_sentence,
    check_settings_name_the_method,
    check_weight_zero_is_the_base,
)
from siod.testing.method_runs import check_a_resumed_run_equals_an_unbroken_one
from siod.types import Batch


class ForAnyDetector(MirrorToo):
    kind: Literal["mirror_too"] = "mirror_too"

    def refusal(self, detector: DetectorSpec) -> None:
        del detector


class OfManyLines(MirrorToo):
    kind: Literal["mirror_too"] = "mirror_too"

    def refusal(self, detector: DetectorSpec) -> str | None:
        return None if detector.dense_outputs else "no\nnever"


class OfAnotherBase(MirrorTooMethod):
    def views(self, batch: Batch, moment: Moment) -> Views:
        seen = super().views(batch, moment)
        first, *others = seen.views
        return replace(seen, views=(View(first.images.flip(3), first.targets), *others))


class WithAnIdleView(MirrorTooMethod):
    def objective(self, views: Views, outputs: Any, criterion: Criterion) -> Objective:
        found = super().objective(views, outputs, criterion).parts
        return Objective({**found, "mirrored_idle": replaced(next(iter(found.values())), 0.0)})


class WithNothingToLearn(MirrorTooMethod):
    def objective(self, views: Views, outputs: Any, criterion: Criterion) -> Objective:
        found = super().objective(views, outputs, criterion).parts
        return Objective({name: part for name, part in found.items() if name.endswith("heatmap")})


class WithLossesOfInfinity(MirrorTooMethod):
    def objective(self, views: Views, outputs: Any, criterion: Criterion) -> Objective:
        found = super().objective(views, outputs, criterion).parts
        return Objective({name: replaced(part, float("inf")) for name, part in found.items()})


class WithNamesOfTheData(MirrorTooMethod):
    def objective(self, views: Views, outputs: Any, criterion: Criterion) -> Objective:
        found = super().objective(views, outputs, criterion)
        bare = any(view.without_loss for view in views.views)
        return Objective(self.judge(views, 0, outputs, criterion)) if bare else found


class ThatLearnsBackground(MirrorTooMethod):
    def views(self, batch: Batch, moment: Moment) -> Views:
        return super().views(replace(batch, annotated=None), moment)


class WithoutTheCriterion(MirrorTooMethod):
    def objective(self, views: Views, outputs: Any, criterion: Criterion) -> Objective:
        found = super().objective(views, outputs, criterion).parts
        return Objective({name: part for name, part in found.items() if not name.endswith("pgcl")})


class OfTheGlobalStream(MirrorTooMethod):
    def views(self, batch: Batch, moment: Moment) -> Views:
        seen = super().views(batch, moment)
        first, second = seen.views
        noise = torch.randint_like(second.images, 8)
        return replace(seen, views=(first, View(second.images // 2 + noise, second.targets, second.without_loss)))


class OfThePlaceInTheBatch(MirrorTooMethod):
    def views(self, batch: Batch, moment: Moment) -> Views:
        seen = super().views(batch, moment)
        first, second = seen.views
        darker = (torch.arange(len(second.images)) + 1).view(-1, 1, 1, 1)
        return replace(seen, views=(first, View((second.images // darker).byte(), second.targets, second.without_loss)))


class ThatPaintsTheBatch(MirrorTooMethod):
    def views(self, batch: Batch, moment: Moment) -> Views:
        batch.images[:, :, :4] = 0
        return super().views(batch, moment)


class ThatForgets(MirrorTooMethod):
    def objective(self, views: Views, outputs: Any, criterion: Criterion) -> Objective:
        found = super().objective(views, outputs, criterion).parts
        return Objective({name: replaced(part, 1.0 + self.updates) for name, part in found.items()})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        del state


def replaced(part: Weighted, factor: float) -> Weighted:
    return Weighted(part.weight * factor, part.term)


BROKEN: list[tuple[Callable[[MethodSpec, DetectorSpec], None], Any, Callable[[Any, Detector], Any], str]] = [
    (check_refusals_are_one_sentence, ForAnyDetector, MirrorTooMethod, "refusal lets faster_rcnn_c4 pass"),
    (check_refusals_are_one_sentence, OfManyLines, MirrorTooMethod, "refusal must say in one sentence"),
    (
        check_weight_zero_is_the_base,
        MirrorToo,
        OfAnotherBase,
        "with weight 0 loss .* is not that of the base",
    ),
    (check_weight_zero_is_the_base, MirrorToo, WithAnIdleView, "mirrored_idle, but .* ask for no view that is worth"),
    (check_every_parameter_learns, MirrorToo, WithNothingToLearn, "parameter .* takes no part in the losses of sparse"),
    (check_every_parameter_learns, MirrorToo, WithLossesOfInfinity, "is inf for sparse annotations; training stops"),
    (check_names_do_not_depend_on_the_data, MirrorToo, WithNamesOfTheData, "names must not depend on the data"),
    (check_bare_images_count_no_annotation, MirrorToo, ThatLearnsBackground, "for bare images at weight 0"),
    (check_it_works_beside_dminer, MirrorToo, WithoutTheCriterion, "PGCL has no part in the losses"),
    (check_randomness_is_the_images_own, MirrorToo, OfTheGlobalStream, "not from a global stream"),
    (check_randomness_is_the_images_own, MirrorToo, OfThePlaceInTheBatch, "not of its place"),
    (check_randomness_is_the_images_own, MirrorToo, ThatPaintsTheBatch, "views changes the images of the batch"),
    (check_a_resumed_run_equals_an_unbroken_one, MirrorToo, ThatForgets, "the model of a resumed run differs"),
]


@pytest.mark.parametrize(
    ("check", "settings", "method", "sentence"), BROKEN, ids=[f"{one[1].__name__}-{one[2].__name__}" for one in BROKEN]
)
def test_a_broken_method_is_told_in_one_sentence(
    check: Callable[[MethodSpec, DetectorSpec], None],
    settings: Any,
    method: Any,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(zoo.METHODS, "mirror_too", Kind(settings, method))
    with pytest.raises(AssertionError, match=sentence) as told:
        check(settings(), DETECTOR)
    assert "\n" not in str(told.value)


def test_settings_that_nobody_made_known_are_refused() -> None:
    class Stray(MirrorToo):
        kind: Literal["stray"] = "stray"  # type: ignore[assignment]

    with pytest.raises(AssertionError, match="method 'stray' is not that of Stray for experiments; call add_method"):
        check_settings_name_the_method(Stray())


def test_every_check_is_shown_to_find_something() -> None:
    assert {check for check, *_ in BROKEN} | {check_settings_name_the_method} == set(METHOD_CHECKS)
