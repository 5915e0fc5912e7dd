"""What went wrong with ``siod complete`` on photographs of blood cells and chess boards, and does so no more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from siod.cli.complete import complete, lines
from siod.completion.candidates import Detected
from siod.completion.choosing import Wanted, choose
from siod.completion.folds import fold_files, only_in_one
from siod.completion.rates import estimate, lacking_show_less
from siod.completion.results_file import is_annotation_file, is_results_file
from siod.data import coco
from siod.data.category_states import Declared, category_states
from siod.errors import UserError
from siod.state import State
from siod.training.experiment import Compute
from siod.tuning.running.completing import Asked, find
from siod.tuning.running.finding import Images
from siod.tuning.running.run_config import RunConfig
from tests.completion.test_rates import WELL, candidates, states

if TYPE_CHECKING:
    from siod.completion.choosing import Chosen

CELL, PLATE = 1, 2


@pytest.fixture
def dataset(tmp_path: Path) -> coco.CocoDataset:
    """80 images: a cell has a box in each, a plate in the first 40."""
    boxes = [(n, CELL) for n in range(80)] + [(n, PLATE) for n in range(40)]
    coco.write(
        tmp_path / "mine.json",
        {
            "images": [{"id": n, "file_name": f"{n}.png", "width": 100, "height": 100} for n in range(80)],
            "annotations": [
                {"id": 1 + row, "image_id": image, "category_id": category, "bbox": [40 * (category - 1), 0, 10, 10]}
                for row, (image, category) in enumerate(boxes)
            ],
            "categories": [{"id": CELL, "name": "cell"}, {"id": PLATE, "name": "plate"}],
        },
    )
    return coco.read(tmp_path / "mine.json")


def chosen(dataset: coco.CocoDataset, wanted: Wanted) -> Chosen:
    """Of 40 cells that score 0.3 and 40 plates that score 0.8, 27 of whose like are found where there is none."""
    image, label = np.array([*range(40), *range(40), *range(40, 67)]), np.array([0] * 40 + [1] * 67)
    boxes = np.tile([0.0, 50, 10, 60], (107, 1)) + 40 * label[:, None] * np.array([1, 0, 1, 0])
    located = Detected(dataset.image_index, dataset.labels, dataset.boxes_xyxy, np.full(len(dataset.labels), 0.9))
    found = Detected(
        np.concatenate([image, located.image]).astype(np.int64),
        np.concatenate([label, located.label]).astype(np.int64),
        np.concatenate([boxes, located.boxes_xyxy]),
        np.concatenate([np.where(label == 0, 0.3, 0.8), located.scores]),
    )
    return choose(found, dataset, category_states(dataset, dataset, Declared((), "some")), wanted)


def test_a_number_of_boxes_prefers_an_unknown_rate_to_one_above_a_half(dataset: coco.CocoDataset) -> None:
    """Of the plates (27 + 1) / 40 * 40 / 40 = 0.7 are false; no image lacks cells, so that their rate is not known."""
    best = chosen(dataset, Wanted(None, 50))
    assert [(rate.proposed, rate.fdr) for rate in best.rates] == [(40, None), (10, pytest.approx(0.7))]


def test_where_nothing_is_proposed_it_is_said_what_could_be(dataset: coco.CocoDataset) -> None:
    assert lines(chosen(dataset, Wanted(0.1)), dataset) == [
        "0 boxes proposed in 0 of 80 images",
        "  cell         0  share of false ones not known: only 0 images surely lack it, 20 are needed",
        "  plate        0  the surest are 70% false, rare ones together",
        "boxes whose share of false ones is not known are proposed with --min-score, such as 0.3 (40)",
    ]


def test_a_category_of_which_nothing_was_found_says_so(dataset: coco.CocoDataset) -> None:
    """Of 40 cells (27 + 1) / 40 are false, so that 12 are true: they are rare, and plates have the rate of them."""
    states = np.array([[State.SOME, State.SOME]] * 40 + [[State.ABSENT, State.ABSENT]] * 40, dtype=np.int8)
    cells = Detected(np.arange(67), np.zeros(67, dtype=np.int64), np.tile([0.0, 50, 10, 60], (67, 1)), np.full(67, 0.3))
    plates = lines(choose(cells, dataset, states, Wanted(0.1)), dataset)[2]
    assert plates == "  plate        0  none found without a box"


def test_what_was_proposed_by_score_is_not_recommended_once_more(dataset: coco.CocoDataset) -> None:
    assert [line[:22] for line in lines(chosen(dataset, Wanted(0.1, None, 0.3)), dataset)] == [
        "40 boxes proposed in 4",
        "  cell        40  shar",
        "  plate        0  the ",
    ]


def test_one_lacking_image_is_one_image() -> None:
    found = candidates(list(range(50)), [0] * 50, [0.5] * 50)
    assert estimate(found, WELL, states(50, 1)).reasons == ("only 1 image surely lacks it, 20 are needed",)


def test_a_category_with_boxes_in_one_image_does_not_prevent_folds(tmp_path: Path) -> None:
    """As a chess piece that somebody named by a slip."""
    coco.write(
        tmp_path / "mine.json",
        {
            "images": [{"id": n, "file_name": f"{n}.png", "width": 9, "height": 9} for n in (1, 2)],
            "annotations": [
                {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5]},
                {"id": 2, "image_id": 2, "category_id": 1, "bbox": [0, 0, 5, 5]},
                {"id": 3, "image_id": 2, "category_id": 2, "bbox": [0, 0, 5, 5]},
            ],
            "categories": [{"id": 1, "name": "bishops"}, {"id": 2, "name": "bishop"}, {"id": 3, "name": "none"}],
        },
    )
    dataset, fold = coco.read(tmp_path / "mine.json"), np.array([0, 1])
    assert only_in_one(dataset, fold) == ("bishop",)
    first, second = fold_files(dataset, fold, tmp_path / "cache")
    assert coco.read(first).annotation_ids.tolist() == [2, 3]
    assert coco.read(second).annotation_ids.tolist() == [1]


def test_a_folder_of_images_that_is_not_there_is_called_a_folder(dataset: coco.CocoDataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone: no such folder; name the one that file names in .*mine\.json are"):
        Images.of(dataset, tmp_path / "gone")


def test_annotations_and_detections_are_told_apart(dataset: coco.CocoDataset, tmp_path: Path) -> None:
    detections, study = tmp_path / "detections.json", tmp_path / "study.json"
    detections.write_text("[]")
    study.write_text('{"name": "mine"}')
    assert [is_annotation_file(file) for file in (dataset.path, detections, study, tmp_path)] == [True] + [False] * 3
    assert [is_results_file(file) for file in (dataset.path, detections, study, tmp_path)] == [False, True] + [
        False
    ] * 2


@pytest.mark.parametrize(
    ("source", "change", "sentence"),
    [
        ("mine.json", {}, r"mine\.json: is an annotation file; name it with --annotations, and first what finds"),
        ("gone.json", {}, r"gone\.json: no such file or folder; name a run, a checkpoint, detections or a study"),
        ("runs/gone", {}, r"runs/gone: no such file or folder; name a run, a checkpoint, detections or a study"),
        ("demo", {"arm": "base", "folds": 1}, "--folds 1: leaves no image to learn from; name 2 or more, or 0"),
        ("demo", {"arm": "base", "group": "(.)"}, "--group says which images share a fold; name --folds too"),
    ],
)
def test_a_source_that_is_none_is_answered_in_one_sentence(
    dataset: coco.CocoDataset,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    change: dict[str, object],
    sentence: str,
) -> None:
    folder = dataset.path.parent
    monkeypatch.chdir(folder)
    config = RunConfig(runs_dir=folder / "runs", cache_dir=folder / "cache", store_uri="sqlite:///none.db")
    with pytest.raises(UserError, match=sentence):
        find(Asked(source=source, compute=Compute(), config=config, **change))


def test_options_that_would_be_ignored_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--max-fdr: --apply only takes decisions back and would ignore it; leave it"):
        complete(apply=tmp_path / "decisions.json", max_fdr=0.2)
    with pytest.raises(UserError, match="--review says where decisions were made; it belongs to --apply"):
        complete("runs/mine", out=tmp_path / "review", review=tmp_path)


def test_images_without_a_category_that_show_less_are_noticed() -> None:
    """Pawn, king and rook: all three, a king alone, a rook alone; of themselves one each counts.

    Where a pawn is there are 3, where none is 2 and 2: half as many more. Where a king is there are 3 and 1, else 2.
    """
    some, absent = State.SOME, State.ABSENT
    boards = np.array([[some, some, some], [absent, some, absent], [absent, absent, some]], dtype=np.int8)
    assert lacking_show_less(boards).tolist() == [True, False, False]
