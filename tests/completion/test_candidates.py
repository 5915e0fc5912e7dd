"""Which detections are candidates: worked examples of each rule, and that images do not matter to each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from siod.completion.candidates import NEVER, Annotated, Detected, Overlaps, find_candidates
from siod.state import State

Row = tuple[int, int, tuple[float, float, float, float], float]
A, B = 0, 1
BOX, FAR = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0)


def detected(*rows: Row) -> Detected:
    return Detected(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([row[2] for row in rows], dtype=np.float64).reshape(-1, 4),
        np.array([row[3] for row in rows], dtype=np.float64),
    )


def annotated(
    *rows: tuple[int, int, tuple[float, float, float, float]], crowd: bool = False, rejected: bool = False
) -> Annotated:
    return Annotated(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([row[2] for row in rows], dtype=np.float64).reshape(-1, 4),
        np.full(len(rows), crowd),
        np.full(len(rows), rejected),
    )


def states(*rows: tuple[State, State]) -> np.ndarray[Any, np.dtype[np.int8]]:
    return np.array(rows, dtype=np.int8)


def left(found: Detected) -> list[tuple[int, int, float]]:
    return sorted(zip(found.image.tolist(), found.label.tolist(), found.scores.tolist(), strict=True))


SOME = states((State.SOME, State.SOME))


def test_a_box_on_an_annotated_object_is_no_candidate() -> None:
    found, _ = find_candidates(detected((0, A, (1, 0, 11, 10), 0.9), (0, A, FAR, 0.8)), annotated((0, A, BOX)), SOME)
    assert left(found) == [(0, A, 0.8)]


def test_a_part_of_an_annotated_object_is_no_candidate() -> None:
    # 16 of 16 pixels lie inside, 16 of 100 are the union: no match, but a part
    part = detected((0, A, (2, 2, 6, 6), 0.9))
    assert left(find_candidates(part, annotated((0, A, BOX)), SOME)[0]) == []
    assert left(find_candidates(part, annotated((0, B, BOX)), SOME)[0]) == [(0, A, 0.9)]


def test_an_annotated_object_of_another_category_is_taken_for_what_it_is_not() -> None:
    found, _ = find_candidates(detected((0, A, (1, 0, 11, 10), 0.9)), annotated((0, B, BOX)), SOME)
    assert left(found) == []


def test_of_boxes_of_one_object_the_best_stays() -> None:
    rows = detected((0, A, (1, 0, 11, 10), 0.6), (0, A, BOX, 0.7), (0, A, (2, 2, 6, 6), 0.5), (0, A, FAR, 0.4))
    assert left(find_candidates(rows, annotated(), SOME)[0]) == [(0, A, 0.4), (0, A, 0.7)]


def test_a_box_that_was_taken_out_takes_out_no_other() -> None:
    # each overlaps the next by 8 / 12 pixels, the first and the last by 6 / 14
    rows = detected((0, A, (0, 0, 10, 1), 0.9), (0, A, (2, 0, 12, 1), 0.8), (0, A, (4, 0, 14, 1), 0.7))
    found, _ = find_candidates(rows, annotated(), SOME, Overlaps(part=1.0))
    assert left(found) == [(0, A, 0.7), (0, A, 0.9)]


def test_a_better_box_of_a_category_that_may_be_there_explains_another_one() -> None:
    rows = detected((0, A, BOX, 0.6), (0, B, BOX, 0.7))
    assert left(find_candidates(rows, annotated(), SOME)[0]) == [(0, B, 0.7)]


def test_a_box_of_an_absent_category_explains_nothing_and_is_a_decoy() -> None:
    rows = detected((0, A, BOX, 0.6), (0, B, BOX, 0.7))
    found, _ = find_candidates(rows, annotated(), states((State.SOME, State.ABSENT)))
    assert left(found) == [(0, A, 0.6), (0, B, 0.7)]


def test_categories_that_lack_no_box_have_no_candidates() -> None:
    rows = detected((0, A, BOX, 0.6), (0, B, FAR, 0.7))
    found, _ = find_candidates(rows, annotated(), states((State.COMPLETE, State.UNKNOWN)))
    assert left(found) == [(0, B, 0.7)]


def test_what_lies_in_a_crowd_is_no_candidate() -> None:
    crowd = annotated((0, A, (0, 0, 100, 40)), crowd=True)
    rows = detected((0, A, (0, 0, 10, 10), 0.6), (0, A, (0, 36, 10, 46), 0.7), (0, B, (20, 0, 30, 10), 0.8))
    found, located = find_candidates(rows, crowd, SOME)
    assert left(found) == [(0, A, 0.7), (0, B, 0.8)]
    assert len(located.found) == 0


def test_what_somebody_rejected_is_no_candidate_again() -> None:
    rows = detected((0, A, (1, 0, 11, 10), 0.6), (0, A, (2, 2, 6, 6), 0.5), (0, B, BOX, 0.4), (1, A, BOX, 0.3))
    found, located = find_candidates(rows, annotated((0, A, BOX), rejected=True), states(*[(State.SOME,) * 2] * 2))
    # another box of the place may be right: a smaller one, or one of another category
    assert left(found) == [(0, A, 0.5), (0, B, 0.4), (1, A, 0.3)]
    assert len(located.found) == 0


def test_annotated_objects_are_found_nearly_found_or_not() -> None:
    # IoU with the box is 9 / 11, then 5 / 15
    rows = detected((0, A, (1, 0, 11, 10), 0.9), (0, B, (5, 0, 15, 10), 0.4), (0, A, FAR, 0.8))
    truth = annotated((0, A, BOX), (0, B, BOX), (1, A, BOX))
    _, located = find_candidates(rows, truth, states((State.SOME, State.SOME), (State.SOME, State.ABSENT)))
    assert located.label.tolist() == [A, B, A]
    assert located.found.tolist() == [0.9, NEVER, NEVER]
    assert located.near.tolist() == [NEVER, 0.4, NEVER]


def test_annotated_objects_are_taken_for_the_best_detection_on_them() -> None:
    rows = detected((0, A, (1, 0, 11, 10), 0.7), (0, B, BOX, 0.8), (1, A, BOX, 0.6), (1, B, BOX, 0.9), (0, A, FAR, 1.0))
    truth = annotated((0, A, BOX), (1, A, BOX), (2, B, BOX))
    known = states((State.SOME, State.SOME), (State.SOME, State.ABSENT), (State.ABSENT, State.SOME))
    _, located = find_candidates(rows, truth, known)
    # a detection of a category that is surely absent takes it for nothing; nothing was found in the last image
    assert located.taken_for.tolist() == [B, A, B]
    assert located.taken.tolist() == [0.8, 0.6, NEVER]
    assert located.image.tolist() == [0, 1, 2]


def test_images_do_not_matter_to_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    count = 300
    corners = generator.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(5, 40, (count, 2))], axis=1)
    rows = Detected(generator.integers(0, 20, count), generator.integers(0, 2, count), boxes, generator.random(count))
    truth = annotated(*((image, image % 2, BOX) for image in range(20)))
    known = generator.integers(0, 4, (20, 2)).astype(np.int8)
    together, located = find_candidates(rows, truth, known)
    monkeypatch.setattr("siod.completion.candidates.CELLS", 1)
    alone, located_alone = find_candidates(rows, truth, known)
    assert 50 < len(together) < count
    assert together.image.tolist() == sorted(together.image.tolist())
    assert together.scores[0] == max(together.scores[together.image == together.image[0]])
    assert left(alone) == left(together)
    assert (located_alone.found.tolist(), located_alone.near.tolist()) == (
        located.found.tolist(),
        located.near.tolist(),
    )


def test_without_detections_there_are_no_candidates() -> None:
    found, located = find_candidates(detected(), annotated((0, A, BOX)), SOME)
    assert (len(found), located.found.tolist()) == (0, [NEVER])
