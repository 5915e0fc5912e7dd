"""Every check of detectors finds a toy that breaks what it is about, and says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from toy_detector import Toy, ToyDetector, ToyOutputs, ToyTargets

from siod.detectors import zoo
from siod.detectors.detector import DetectorSpec
from siod.methods.method import without_loss
from siod.registry import Kind
from siod.testing.detector import (
    DETECTOR_CHECKS,
    check_a_batch_is_detected_as_its_images,
    check_boxes_are_learnt_in_their_frame,
    check_detections_are_well_formed,
    check_other_sizes_are_refused,
    check_settings_name_the_family,
    check_weights_tell_all,
)
from siod.testing.detector_losses import (
    check_a_batch_has_the_losses_of_its_images,
    check_half_precision,
    check_hidden_instances_are_not_read,
    check_losses_reach_every_parameter,
    check_unlabelled_classes_teach_no_negatives,
    check_views_can_be_told_apart,
)
from siod.testing.detector_mining import (
    check_gradients_of_mining,
    check_miners_see_the_annotated_instances,
    check_mining_leaves_detections_alone,
    check_pseudo_labels_lower_a_loss,
    check_without_miners_the_loss_is_plain,
)
from siod.types import (
    DenseLevel,
    Detections,
    Grid,
    LossTerm,
    Mined,
    PaddedDetections,
    Target,
    may_hide,
    stacked_states,
)

TOY = Toy(backbone="tiny_resnet18", base_width=8)
Losses = dict[str, LossTerm]


class WithOneClassMore(ToyDetector):
    def __init__(self, spec: Toy, num_classes: int) -> None:
        super().__init__(spec, num_classes + 1)


class WithAnUnusedLayer(ToyDetector):
    def __init__(self, spec: Toy, num_classes: int) -> None:
        super().__init__(spec, num_classes)
        self.unused = torch.nn.Linear(1, 1)


class WithoutLossesWhereThereIsNoBox(ToyDetector):
    def losses(self, outputs: ToyOutputs, encoded: ToyTargets, mined: Sequence[Mined]) -> Losses:
        found = super().losses(outputs, encoded, mined)
        return found if len(encoded.boxes) else {"heatmap": found["heatmap"]}


class OfAnySize(ToyDetector):
    def size_of(self, images: Tensor) -> tuple[int, int]:
        return images.shape[2], images.shape[3]


class ThatReadsHiddenInstances(ToyDetector):
    def encode(self, targets: Sequence[Target], outputs: ToyOutputs) -> ToyTargets:
        seen = [
            replace(
                one,
                boxes_xyxy=torch.cat([one.boxes_xyxy, one.hidden_boxes_xyxy]),
                labels=torch.cat([one.labels, one.hidden_labels]),
            )
            for one in targets
        ]
        return super().encode(seen, outputs)


class WorstFirst(ToyDetector):
    def decode(self, outputs: ToyOutputs) -> list[Detections]:
        return [
            Detections(one.boxes_xyxy.flip(0), one.scores.flip(0), one.labels.flip(0))
            for one in super().decode(outputs)
        ]


class WithATableOfItsOwn(ToyDetector):
    def decode_padded(self, outputs: ToyOutputs) -> PaddedDetections:
        table = super().decode_padded(outputs)
        return replace(table, boxes_xyxy=table.boxes_xyxy / 2)


class OfTheWholeBatch(ToyDetector):
    def decode(self, outputs: ToyOutputs) -> list[Detections]:
        return super().decode(outputs._replace(scores=outputs.scores / outputs.scores.max()))


class WithMeansForSums(ToyDetector):
    def losses(self, outputs: ToyOutputs, encoded: ToyTargets, mined: Sequence[Mined]) -> Losses:
        found = super().losses(outputs, encoded, mined)
        return {**found, "box": LossTerm(found["box"].mean(), torch.tensor(float(len(encoded.heatmap))))}


class ThatTeachesUnlabelledClasses(ToyDetector):
    def encode(self, targets: Sequence[Target], outputs: ToyOutputs) -> ToyTargets:
        return super().encode(targets, outputs)._replace(unlabelled=None)


class ThatDoubtsWhatMayHide(ToyDetector):
    def encode(self, targets: Sequence[Target], outputs: ToyOutputs) -> ToyTargets:
        states = stacked_states(targets)
        doubtful = None if states is None else may_hide(states)
        return super().encode(targets, outputs)._replace(unlabelled=doubtful)


class ThatLeavesOutHalfOfTheNegatives(ToyDetector):
    def losses(self, outputs: ToyOutputs, encoded: ToyTargets, mined: Sequence[Mined]) -> Losses:
        found, plain = (
            super(ThatLeavesOutHalfOfTheNegatives, self).losses(outputs, each, mined)["heatmap"]
            for each in (encoded, encoded._replace(unlabelled=None))
        )
        half = replace(found, total=(found.total + plain.total) / 2)
        return {**super().losses(outputs, encoded, mined), "heatmap": half}


class ThatLeavesOutWholeImages(ToyDetector):
    def encode(self, targets: Sequence[Target], outputs: ToyOutputs) -> ToyTargets:
        encoded = super().encode(targets, outputs)
        unlabelled = encoded.unlabelled
        return encoded if unlabelled is None else encoded._replace(unlabelled=torch.ones_like(unlabelled))


class ThatForgetsPositives(ToyDetector):
    def losses(self, outputs: ToyOutputs, encoded: ToyTargets, mined: Sequence[Mined]) -> Losses:
        found = super().losses(outputs, encoded, mined)
        unlabelled = encoded.unlabelled
        return (
            found
            if unlabelled is None or not len(encoded.boxes)
            else {**found, "heatmap": without_loss(found["heatmap"])}
        )


class WithOtherLossesForEmptyMined(ToyDetector):
    def losses(self, outputs: ToyOutputs, encoded: ToyTargets, mined: Sequence[Mined]) -> Losses:
        found = super().losses(outputs, encoded, mined)
        term = found["heatmap"]
        return found if mined[0].pseudo is not None else {**found, "heatmap": replace(term, total=term.total * 2)}


class WithOtherLossesAtEachCall(ToyDetector):
    def losses(self, outputs: ToyOutputs, encoded: ToyTargets, mined: Sequence[Mined]) -> Losses:
        found = super().losses(outputs, encoded, mined)
        term = found["heatmap"]
        return {**found, "heatmap": replace(term, total=term.total * torch.rand(()))}


class WithBluntPeaks(ToyDetector):
    def levels(self, outputs: ToyOutputs, encoded: ToyTargets) -> tuple[DenseLevel, ...]:
        (level,) = super().levels(outputs, encoded)
        return (replace(level, heatmap=level.heatmap * 0.9),)


class WithPositionsElsewhere(ToyDetector):
    def levels(self, outputs: ToyOutputs, encoded: ToyTargets) -> tuple[DenseLevel, ...]:
        (level,) = super().levels(outputs, encoded)
        return (replace(level, grid=Grid(self.size_divisor, 0)),)


class WithLogitsForScores(ToyDetector):
    def levels(self, outputs: ToyOutputs, encoded: ToyTargets) -> tuple[DenseLevel, ...]:
        (level,) = super().levels(outputs, encoded)
        return (replace(level, scores=level.scores.logit()),)


class DeafToPseudoLabels(ToyDetector):
    def losses(self, outputs: ToyOutputs, encoded: ToyTargets, mined: Sequence[Mined]) -> Losses:
        return super().losses(outputs, encoded, [Mined() for _ in mined])


class WithDetachedFeatures(ToyDetector):
    def levels(self, outputs: ToyOutputs, encoded: ToyTargets) -> tuple[DenseLevel, ...]:
        (level,) = super().levels(outputs, encoded)
        return (replace(level, features=level.features.detach()),)


class OfHalfPrecision(ToyDetector):
    def forward(self, images: Tensor, targets: Sequence[Target] | None = None) -> ToyOutputs:
        outputs = super().forward(images, targets)
        return outputs._replace(scores=outputs.scores.bfloat16()) if torch.is_autocast_enabled("cpu") else outputs


class WithAMemory(ToyDetector):
    made = 0

    def __init__(self, spec: Toy, num_classes: int) -> None:
        super().__init__(spec, num_classes)
        type(self).made += 1
        self.number = self.made

    def decode(self, outputs: ToyOutputs) -> list[Detections]:
        return super().decode(outputs._replace(boxes=outputs.boxes + self.number))


class InStridesForPixels(ToyDetector):
    def decode(self, outputs: ToyOutputs) -> list[Detections]:
        return [replace(one, boxes_xyxy=one.boxes_xyxy / self.size_divisor) for one in super().decode(outputs)]


class Dense(ToyDetector):
    def select(self, outputs: ToyOutputs, images: slice) -> ToyOutputs:
        return ToyOutputs(*(each[images] for each in outputs))


class DenseOfTheWrongImages(Dense):
    def select(self, outputs: ToyOutputs, images: slice) -> ToyOutputs:
        del images
        return super().select(outputs, slice(0, 1))


class DenseToy(Toy):
    dense_outputs = True
    family: Literal["toy"] = "toy"


class TwoLevels(Toy):
    family: Literal["toy"] = "toy"

    def mined_levels(self) -> int:
        return 2


BROKEN: list[tuple[Callable[[DetectorSpec], None], Any, Any, str]] = [
    (check_settings_name_the_family, Toy, WithOneClassMore, "num_classes is 4 for a detector made for 3"),
    (check_losses_reach_every_parameter, Toy, WithAnUnusedLayer, "parameter unused.weight takes no part in the loss"),
    (
        check_losses_reach_every_parameter,
        Toy,
        WithoutLossesWhereThereIsNoBox,
        "losses are named .*'pgcl'.* with 0 boxes",
    ),
    (check_other_sizes_are_refused, Toy, OfAnySize, "images of 96x104 px are not refused"),
    (check_hidden_instances_are_not_read, Toy, ThatReadsHiddenInstances, "'heatmap' changes with the hidden instances"),
    (check_detections_are_well_formed, Toy, WorstFirst, "detections must come best first"),
    (check_detections_are_well_formed, Toy, WithATableOfItsOwn, "decode_padded must hold the detections of decode"),
    (check_a_batch_is_detected_as_its_images, Toy, OfTheWholeBatch, "otherwise in a batch of two than alone"),
    (check_a_batch_has_the_losses_of_its_images, Toy, WithMeansForSums, "'box' sums to .* must be a sum over images"),
    (
        check_unlabelled_classes_teach_no_negatives,
        Toy,
        ThatTeachesUnlabelledClasses,
        "UNLABELLED classes change no loss; losses must leave out the negatives",
    ),
    (
        check_unlabelled_classes_teach_no_negatives,
        Toy,
        ThatDoubtsWhatMayHide,
        "'heatmap' changes where a class is SOME; only UNLABELLED may",
    ),
    (
        check_unlabelled_classes_teach_no_negatives,
        Toy,
        ThatLeavesOutHalfOfTheNegatives,
        "where nobody looked for any class, and must be 0",
    ),
    (check_unlabelled_classes_teach_no_negatives, Toy, ThatLeavesOutWholeImages, "the others teach as ever"),
    (check_unlabelled_classes_teach_no_negatives, Toy, ThatForgetsPositives, "these must be learnt"),
    (check_without_miners_the_loss_is_plain, Toy, WithOtherLossesForEmptyMined, "with empty Mined differs"),
    (check_without_miners_the_loss_is_plain, Toy, WithOtherLossesAtEachCall, "the same call must give the same loss"),
    (check_miners_see_the_annotated_instances, Toy, WithBluntPeaks, "has its peak at 0.9, not at 1"),
    (
        check_miners_see_the_annotated_instances,
        Toy,
        WithPositionsElsewhere,
        "its level; draw boxes with level.grid.place",
    ),
    (check_miners_see_the_annotated_instances, Toy, WithLogitsForScores, r"scores of levels must be within \[0, 1\]"),
    (check_miners_see_the_annotated_instances, TwoLevels, ToyDetector, r"has 1 maps, but mined_levels\(\) .* says 2"),
    (check_pseudo_labels_lower_a_loss, Toy, DeafToPseudoLabels, "pseudo labels change no loss"),
    (check_gradients_of_mining, Toy, WithDetachedFeatures, "gradient of PGCL does not reach the backbone"),
    (check_half_precision, Toy, OfHalfPrecision, "boxes and scores are of .*torch.bfloat16.*, not float32"),
    (
        check_views_can_be_told_apart,
        DenseToy,
        DenseOfTheWrongImages,
        "of the selected images does not sum to that of all",
    ),
    (
        check_views_can_be_told_apart,
        Toy,
        Dense,
        "select works, but dense_outputs of the settings says that it does not",
    ),
    (check_weights_tell_all, Toy, WithAMemory, "took the weights of another finds something else"),
    (
        check_boxes_are_learnt_in_their_frame,
        Toy,
        InStridesForPixels,
        "two scenes are learnt by heart to an AP50 of 0.00",
    ),
]


def of(settings: Any, detector: Any, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """Settings of the toy's family, which is another detector for as long as the test lasts."""
    monkeypatch.setitem(zoo.FAMILIES, "toy", Kind(settings, detector))
    made: Toy = settings(backbone="tiny_resnet18", base_width=8)
    return made


@pytest.mark.parametrize(
    ("check", "settings", "detector", "sentence"),
    BROKEN,
    ids=[f"{one[1].__name__}-{one[2].__name__}" for one in BROKEN],
)
def test_a_broken_toy_is_told_in_one_sentence(
    check: Callable[[DetectorSpec], None], settings: Any, detector: Any, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError, match=sentence) as told:
        check(of(settings, detector, monkeypatch))
    assert "\n" not in str(told.value)


def test_every_check_is_shown_to_find_something() -> None:
    assert {check for check, *_ in BROKEN} == set(DETECTOR_CHECKS)


def test_a_detector_with_dense_outputs_may_be_asked_for_some_images(monkeypatch: pytest.MonkeyPatch) -> None:
    check_views_can_be_told_apart(of(DenseToy, Dense, monkeypatch))


def test_settings_that_nobody_made_known_are_refused() -> None:
    class Stray(Toy):
        family: Literal["stray"] = "stray"  # type: ignore[assignment]

    with pytest.raises(AssertionError, match="family 'stray' is not that of Stray for experiments; call add_family"):
        check_settings_name_the_family(Stray())


def test_what_dminer_needs_must_not_change_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="finds something else than the plain one with its weights"):
        check_mining_leaves_detections_alone(*[of(Toy, WithAMemory, monkeypatch)] * 2)
