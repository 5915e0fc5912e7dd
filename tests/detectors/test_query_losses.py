"""RT-DETR and D-FINE: which queries are compared with which boxes, layer by layer, and what was mined there."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from query_detectors import DFINE_LIBRARY, TARGETS, detector_of, outputs_of

from siod.detectors.networks.query_losses import Partners, Stage, kept_by_centre
from siod.detectors.query import QuerySpec
from siod.detectors.zoo import DFINE_TINY, RTDETR_TINY
from siod.testing.scenes import target
from siod.types import Mined


def test_partners_are_those_of_the_least_cost() -> None:
    """One query on each box, a third one elsewhere."""
    detector = detector_of(RTDETR_TINY)
    boxes = [[10.0, 10.0, 40.0, 50.0], [50.0, 20.0, 90.0, 60.0]]
    outputs = outputs_of(detector, [target(boxes, [0, 1])])
    encoded = detector.encode([target(boxes, [0, 1])], outputs)
    found = torch.tensor([[[70, 40, 40, 40], [10, 90, 10, 10], [25, 30, 30, 40]]]) / 96
    partners = detector.criterion.matched(Stage(torch.zeros(1, 3, 3), found), encoded.wanted)
    assert isinstance(partners, Partners)
    assert partners.slots.tolist() == [[1, -1, 0]]
    sums = detector.criterion.sums(Stage(torch.zeros(1, 3, 3), found), partners, encoded.wanted, None)
    # Perfect boxes; of scores of a half two are to be 1 and seven to be 0, which weigh 0.75 / 4.
    assert float(sums["box"]) == pytest.approx(0, abs=1e-6)
    assert float(sums["overlap"]) == pytest.approx(0, abs=1e-5)
    assert float(sums["class"]) == pytest.approx((2 + 7 * 0.75 / 4) * 0.6931, rel=1e-3)


@pytest.mark.parametrize("spec", [RTDETR_TINY, DFINE_TINY], ids=["rt_detr", "d_fine"])
def test_of_a_detector_that_diverged_the_loss_is_not_finite_and_nothing_is_found(spec: QuerySpec) -> None:
    """The library's matcher would stop at boxes that are upside down, evaluation at scores that are no numbers."""
    detector = detector_of(spec)
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.fill_(float("nan"))
    outputs = outputs_of(detector, TARGETS)
    terms = detector.losses(outputs, detector.encode(TARGETS, outputs), [Mined()] * 3)
    assert not any(term.total.isfinite() for term in terms.values())
    assert [len(found.labels) for found in detector.decode(outputs)] == [0, 0]


def distances_gradient(spec: QuerySpec) -> list[float]:
    """How much the loss of distances says of each layer of the detector's own queries."""
    detector = detector_of(spec)
    outputs = outputs_of(detector, TARGETS)
    layers = [stage.distances for stage in outputs.stages if stage.distances is not None]
    for layer in layers:
        layer.retain_grad()
    term = detector.losses(outputs, detector.encode(TARGETS, outputs), [Mined()] * 3)["distances"]
    term.total.backward()  # type: ignore[no-untyped-call]
    return [0.0 if layer.grad is None else float(layer.grad.abs().sum()) for layer in layers]


def test_published_losses_teach_the_distances_of_every_layer() -> None:
    """The library's leave out the last layer, which detections are read from."""
    three_layers = {"decoder_layers": 3}
    published, library = (distances_gradient(spec.with_changes(three_layers)) for spec in (DFINE_TINY, DFINE_LIBRARY))
    assert len(published) == 3
    assert min(published) > 0
    assert len(library) == 2


def test_layers_are_compared_with_their_own_distances() -> None:
    """The library pairs the distances of a layer with the class scores and boxes of the one before."""
    published, library = (outputs_of(detector_of(spec), TARGETS).stages for spec in (DFINE_TINY, DFINE_LIBRARY))
    guess, first, last, _ = published
    their_last, their_first, _ = library
    assert guess.distances is None
    assert last.teacher is None
    assert first.distances is not None
    assert their_first.distances is not None
    torch.testing.assert_close(first.distances, their_first.distances)
    torch.testing.assert_close(guess.logits, their_first.logits)
    torch.testing.assert_close(last.logits, their_last.logits)
    assert not torch.allclose(first.logits, their_first.logits)


# What was mined.


def test_a_query_is_excused_by_what_was_mined_where_it_is_centred() -> None:
    fine, coarse = torch.ones(1, 2, 4, 4), torch.ones(1, 2, 2, 2)
    fine[0, 0, 1, 3], coarse[0, 0, 0, 1], coarse[0, 1, 1, 0] = 0.25, 0.5, 0.0
    boxes = torch.tensor([[[0.8, 0.3, 0.9, 0.9], [0.6, 0.1, 0.1, 0.1], [0.1, 1.0, 0.2, 0.2], [0.3, 0.3, 0.1, 0.1]]])
    kept = kept_by_centre(boxes, [fine, coarse])
    assert kept.tolist() == [[[0.25, 1.0], [0.5, 1.0], [1.0, 0.0], [1.0, 1.0]]]


def test_a_label_of_a_half_leaves_a_sixteenth_of_an_unmatched_query_and_all_of_a_matched_one() -> None:
    """Eq. 5: (1 - 0.5)^4."""
    detector = detector_of(RTDETR_TINY)
    outputs = outputs_of(detector, TARGETS)
    encoded = detector.encode(TARGETS, outputs)
    maps = [torch.full_like(heatmap, 0.5) for heatmap in encoded.heatmaps]
    plain = detector.losses(outputs, encoded, [Mined()] * 3)
    halved = detector.losses(outputs, encoded, [Mined(pseudo=each) for each in maps])
    ignored = detector.losses(outputs, encoded, [Mined(ignored=each.bool()) for each in maps])
    for name in ("class", "denoising_class"):
        without, sixteenth, nothing = (float(terms[name].total.detach()) for terms in (plain, halved, ignored))
        assert 0 < nothing < without
        assert sixteenth - nothing == pytest.approx((without - nothing) / 16, rel=1e-4)
    assert all(torch.equal(plain[name].total, halved[name].total) for name in plain if not name.endswith("class"))


def test_copies_that_are_not_to_be_objects_are_muted_within_a_pseudo_box_for_every_class() -> None:
    detector = detector_of(RTDETR_TINY)
    whole = [[0.0, 0.0, 96.0, 96.0]]
    annotated, pseudo = target([[10, 10, 40, 50], *whole], [0, 1]), torch.tensor([False, True])
    outputs = outputs_of(detector, [annotated])
    sums = []
    for known in (annotated, replace(annotated, pseudo=pseudo)):
        terms = detector.losses(outputs, detector.encode([known], outputs), [Mined()] * 3)
        sums.append({name: float(term.total.detach()) for name, term in terms.items()})
    assert sums[1]["denoising_class"] < sums[0]["denoising_class"]
    assert {name for name in sums[0] if sums[0][name] != sums[1][name]} == {"denoising_class"}


def test_pseudo_boxes_do_not_count_where_boxes_are_annotated() -> None:
    detector = detector_of(RTDETR_TINY)
    half = torch.tensor([False, True])
    for flags, counted in (((None, None), 4), ((half, None), 3), ((half, half), 2), ((half | True, half), 3)):
        targets = [replace(each, pseudo=flag) for each, flag in zip(TARGETS, flags, strict=True)]
        outputs = outputs_of(detector, targets)
        terms = detector.losses(outputs, detector.encode(targets, outputs), [Mined()] * 3)
        assert {float(term.count) for term in terms.values()} == {counted}
