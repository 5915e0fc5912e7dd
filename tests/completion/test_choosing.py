"""From detections to proposals: a small set worked by hand, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siod.completion.candidates import Detected
from siod.completion.choosing import Wanted, choose
from siod.completion.proposals import Proposal
from siod.data import coco
from siod.errors import UserError
from siod.state import State

IMAGES = 80
"""The first 40 have one annotated cell, the others none; each has another one at the same place."""
CELL, PLATE = 5, 9
States = np.ndarray[Any, np.dtype[np.int8]]


@pytest.fixture
def dataset(tmp_path: Path) -> coco.CocoDataset:
    coco.write(
        tmp_path / "mine.json",
        {
            "images": [{"id": 100 + n, "file_name": f"{n}.png", "width": 64, "height": 48} for n in range(IMAGES)],
            "annotations": [
                {"id": 7 + n, "image_id": 100 + n, "category_id": CELL, "bbox": [0, 0, 10, 10]} for n in range(40)
            ],
            "categories": [{"id": CELL, "name": "cell"}, {"id": PLATE, "name": "plate"}],
        },
    )
    return coco.read(tmp_path / "mine.json")


def known(cell: State = State.ABSENT, plate: State = State.ABSENT) -> States:
    rows = [[State.SOME, plate]] * 40 + [[cell, plate]] * 40
    return np.array(rows, dtype=np.int8)


def found(*, decoys: int = 0, plates: int = 0) -> Detected:
    """The annotated cell with 0.9 and a hidden one with 0.8 in each of 40 images; decoys with 0.7; plates with 0.6."""
    image = [*range(40), *range(40), *range(40, 40 + decoys), *range(plates)]
    boxes = (
        [[0, 0, 10, 10]] * 40 + [[30.004, 20, 70, 40]] * 40 + [[30, 20, 50, 40]] * decoys + [[0, 30, 9, 40]] * plates
    )
    label = [0] * (80 + decoys) + [1] * plates
    scores = [0.9] * 40 + [0.8] * 40 + [0.7] * decoys + [0.6] * plates
    return Detected(np.array(image), np.array(label), np.array(boxes, dtype=np.float64), np.array(scores))


def test_what_is_sure_enough_is_proposed_inside_its_image_with_an_id_of_its_own(dataset: coco.CocoDataset) -> None:
    chosen = choose(found(), dataset, known(), Wanted(max_fdr=0.1))
    assert len(chosen.boxes) == 40
    # no decoy in 40 images: (0 + 1) / 40 * 40 / 40; all 40 annotated cells are found
    assert chosen.boxes[0] == Proposal(
        id=47,
        image_id=100,
        category_id=CELL,
        bbox=(30.0, 20.0, 34.0, 20.0),
        score=0.8,
        fdr=0.025,
        fdr_low=chosen.boxes[0].fdr_low,
        fdr_high=chosen.boxes[0].fdr_high,
        state="some",
    )
    assert [box.id for box in chosen.boxes] == list(range(47, 87))
    assert chosen.fdr() == 0.025
    cell, plate = chosen.rates
    assert (cell.category_id, cell.proposed, cell.score, cell.fdr, cell.reason) == (CELL, 40, 0.8, 0.025, "")
    assert (plate.proposed, plate.score, plate.fdr) == (0, None, None)
    assert plate.reason == "no image may lack a box of it"


def test_nothing_is_proposed_above_the_rate(dataset: coco.CocoDataset) -> None:
    """Ten decoys score less than the hidden cells, whose rate is that of one more than there are: 1 / 40."""
    assert choose(found(decoys=10), dataset, known(), Wanted(max_fdr=0.02)).boxes == ()
    assert len(choose(found(decoys=10), dataset, known(), Wanted(max_fdr=0.03)).boxes) == 40


def test_a_number_of_boxes_takes_the_best(dataset: coco.CocoDataset) -> None:
    detected = found()
    scores = detected.scores.copy()
    scores[40:80] = np.linspace(0.5, 0.89, 40)
    chosen = choose(
        Detected(detected.image, detected.label, detected.boxes_xyxy, scores), dataset, known(), Wanted(None, 5)
    )
    assert sorted(box.score for box in chosen.boxes) == pytest.approx([0.85, 0.86, 0.87, 0.88, 0.89])


def test_a_category_without_a_rate_is_proposed_by_score_when_that_is_asked_for(dataset: coco.CocoDataset) -> None:
    states = known(plate=State.UNLABELLED)
    without = choose(found(plates=30), dataset, states, Wanted(0.1))
    assert {box.category_id for box in without.boxes} == {CELL}
    by_score = choose(found(plates=30), dataset, states, Wanted(0.1, min_score=0.6))
    plates = [box for box in by_score.boxes if box.category_id == PLATE]
    assert [(box.fdr, box.state) for box in plates] == [(None, "unlabelled")] * 30
    assert by_score.fdr() is None
    assert by_score.rates[1].reason == "only 0 images surely lack it, 20 are needed"
    higher = choose(found(plates=30), dataset, states, Wanted(0.1, min_score=0.61))
    assert {box.category_id for box in higher.boxes} == {CELL}


def test_a_number_of_boxes_takes_those_without_a_rate_last(dataset: coco.CocoDataset) -> None:
    chosen = choose(found(plates=30), dataset, known(plate=State.UNLABELLED), Wanted(None, 50))
    assert [box.category_id for box in chosen.boxes].count(CELL) == 40
    assert [box.category_id for box in chosen.boxes].count(PLATE) == 10


def test_a_file_that_lacks_no_box_is_refused(dataset: coco.CocoDataset) -> None:
    complete = np.full((IMAGES, 2), State.COMPLETE, dtype=np.int8)
    for states in (None, complete):
        with pytest.raises(UserError, match=r"mine\.json: says that all its boxes are there, .* --others some where"):
            choose(found(), dataset, states, Wanted())


def test_a_rate_that_nothing_can_tell_is_refused(dataset: coco.CocoDataset) -> None:
    unknown = np.full((IMAGES, 2), State.UNKNOWN, dtype=np.int8)
    with pytest.raises(UserError, match=r"no rate can be estimated .*cell: only 0 images .*--min-score, or .*--boxes"):
        choose(found(), dataset, unknown, Wanted())
    assert len(choose(found(), dataset, unknown, Wanted(None, 20)).boxes) == 20


def test_what_lies_outside_its_image_is_neither_proposed_nor_counted(dataset: coco.CocoDataset) -> None:
    detected = found()
    boxes = detected.boxes_xyxy.copy()
    boxes[40:42] = [63.5, 20, 80, 40]
    chosen = choose(Detected(detected.image, detected.label, boxes, detected.scores), dataset, known(), Wanted(0.1))
    assert (len(chosen.boxes), chosen.rates[0].proposed) == (38, 38)
