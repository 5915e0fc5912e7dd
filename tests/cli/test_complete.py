"""``siod complete`` from the shell: proposals of any detector's results, of a run, of folds; decisions taken back."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from siod.data import coco
from siod.data.annotation_sets import Full
from siod.data.source import CocoFiles, prepare

if TYPE_CHECKING:
    from tests.cli.conftest import Siod

IMAGES = 80
SMALL = ("--set", "data.train_images=40", "--set", "data.val_images=3", "--set", "recipe.batch_size=4")
# Fast enough that boxes have a size after 20 steps.
SCRATCH = ("--set", 'weights={"kind": "none"}', "--set", "recipe.epochs=2", "--set", "recipe.learning_rate=0.01")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A file in which 40 images have an annotated cell, and a folder of images."""
    (tmp_path / "train").mkdir()
    for number in range(IMAGES):
        Image.new("RGB", (64, 48), (number, 0, 0)).save(tmp_path / "train" / f"{number}.png")
    document = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 64, "height": 48} for n in range(IMAGES)],
        "annotations": [{"id": n + 1, "image_id": n, "category_id": 1, "bbox": [0, 0, 10, 10]} for n in range(40)],
        "categories": [{"id": 1, "name": "cell"}],
    }
    coco.write(tmp_path / "mine.json", document)
    both = [([0, 0, 10, 10], 0.9), ([30, 20, 20, 20], 0.8)]
    results: list[dict[str, Any]] = [
        {"image_id": n, "category_id": 1, "bbox": box, "score": score} for n in range(40) for box, score in both
    ]
    (tmp_path / "found.json").write_text(json.dumps(results))
    return tmp_path


NAMED = ("--annotations", "mine.json", "--images", "train")


def decided(review: Path, **change: Any) -> Path:
    """Accept the first proposal, reject the second, and say that the first image lacks nothing more."""
    proposals = json.loads((review / "proposals.json").read_text())
    first, second = proposals["annotations"][:2]
    decisions = {
        "version": 1,
        "proposals": str(review / "proposals.json"),
        "proposals_sha256": hashlib.sha256((review / "proposals.json").read_bytes()).hexdigest(),
        "reviewer": "R",
        "minutes": 1.5,
        "saved": "2026-11-28T07:00:00Z",
        "decisions": [{"id": first["id"], "decision": "accept"}, {"id": second["id"], "decision": "reject"}],
        "added": [],
        "complete": [first["image_id"]],
    }
    (review / "decisions.json").write_text(json.dumps(decisions | change))
    return review / "decisions.json"


def test_results_become_proposals_and_decisions_a_completed_file(siod: Siod, mine: Path) -> None:
    done = siod("complete", "found.json", *NAMED, "--others", "some", "--out", "review")
    assert done.code == 0, done.err
    # (0 + 1) / 40 * 40 / 40; the upper end is drawn
    assert re.match(
        r"40 boxes proposed in 40 of 80 images, of which about 2% are false\n  cell +40  2% false \(0 to \d+\)\n",
        done.out,
    )
    review = mine / "review"
    assert {path.name for path in review.iterdir()} == {"index.html", "images", "preannotations", "proposals.json"}
    assert len(list((review / "images").iterdir())) == IMAGES
    assert str(review / "proposals.json") in (review / "index.html").read_text()

    taken = siod("complete", "--apply", decided(review))
    assert taken.code == 0, taken.err
    assert "1 of 40 proposals were accepted" in taken.out
    completed = coco.read(review / "completed.json")
    assert completed.boxes_xywh[-1].tolist() == [30, 20, 20, 20]
    assert [bytes(one) for one in completed.annotation_records()[:40]] == [
        bytes(one) for one in coco.read(mine / "mine.json").annotation_records()
    ]
    files = CocoFiles(
        train_annotations=completed.path,
        train_images=mine / "train",
        val_annotations=mine / "mine.json",
        val_images=mine / "train",
    )
    assert prepare(files, Full(), mine / "cache").train == completed.path


def test_a_file_that_says_nothing_is_asked_about(siod: Siod, mine: Path) -> None:
    done = siod("complete", "found.json", *NAMED, "--out", "review")
    assert done.refusal.endswith("--others unlabelled where nobody looked")
    assert not (mine / "review").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("found.json", "--out", "review"),
            "name the annotation file that the detections belong to, with --annotations",
        ),
        (("found.json", "--annotations", "mine.json", "--out", "review"), "--annotations and --images belong together"),
        (("found.json",), "name what finds the boxes, and --out, for example: siod complete runs/mine"),
        ((), "name what finds the boxes, and --out, for example: siod complete runs/mine"),
        (("found.json", *NAMED, "--out", "review", "--boxes", "5", "--max-fdr", "0.1"), "exclude each other; name one"),
        (
            ("found.json", *NAMED, "--out", "review", "--folds", "2"),
            "so nothing is trained; leave out --folds and --set",
        ),
        (("found.json", *NAMED, "--out", "review", "--arm", "base"), "is no study; leave out --arm and --seed"),
        (("found.json", *NAMED, "--out", "train"), "train: the folder is not empty; name a new one or empty it"),
        (
            ("found.json", *NAMED, "--out", "r", "--others", "some", "--complete", "cel"),
            "complete names 'cel', which is no",
        ),
        (
            ("found.json", "--annotations", "mine.json", "--images", ".", "--out", "review"),
            "none of its 80 images is among",
        ),
        (("demo", "--out", "review"), "study 'demo': has several arms; name one with --arm: "),
        (
            ("demo", "--arm", "base", "--out", "review", "--set", "seed=1"),
            "--set changes what --folds trains; name both",
        ),
        (("deno", "--out", "review"), "unknown study 'deno'"),
        (("--apply", "gone.json"), "gone.json: No such file or directory"),
        (("demo", "--apply", "gone.json"), "demo: --apply takes decisions alone; leave it out"),
    ],
)
def test_a_mistake_is_answered_in_one_sentence(siod: Siod, mine: Path, words: tuple[str, ...], sentence: str) -> None:
    assert sentence in siod("complete", *words).refusal
    assert not (mine / "review").exists()


def test_an_image_that_is_missing_is_named(siod: Siod, mine: Path) -> None:
    (mine / "train" / "3.png").unlink()
    (mine / "train" / "7.png").unlink()
    sentence = siod("complete", "found.json", *NAMED, "--others", "some", "--out", "review").refusal
    assert "train/3.png and 1 more: no such image; name the folder of the images of" in sentence


def test_decisions_about_other_proposals_are_refused(siod: Siod, mine: Path) -> None:
    siod("complete", "found.json", *NAMED, "--others", "some", "--out", "review")
    decisions = decided(mine / "review", proposals_sha256="0" * 64)
    assert "proposals_sha256 is not that of" in siod("complete", "--apply", decisions).refusal
    assert not (mine / "review" / "completed.json").exists()


def test_a_completed_file_takes_no_place_of_another(siod: Siod, mine: Path) -> None:
    siod("complete", "found.json", *NAMED, "--others", "some", "--out", "review")
    decisions = decided(mine / "review")
    assert "mine.json: exists already" in siod("complete", "--apply", decisions, "--out", "mine.json").refusal


def test_a_moved_review_is_found_where_it_is(siod: Siod, mine: Path) -> None:
    siod("complete", "found.json", *NAMED, "--others", "some", "--out", "review")
    decisions = decided(mine / "review").rename(mine / "decisions.json")
    (mine / "review").rename(mine / "moved")
    assert "name the folder that siod complete wrote" in siod("complete", "--apply", decisions).refusal
    assert siod("complete", "--apply", decisions, "--review", "moved").code == 0
    # What the user said of the file when boxes were proposed holds for the completed one.
    completed = json.loads((mine / "completed.json").read_text())
    assert completed["images"][1]["not_exhaustive_category_ids"] == [1]


@pytest.mark.slow
def test_a_run_proposes_in_what_it_learnt_from(siod: Siod, tmp_path: Path) -> None:
    assert siod("train", "--study", "demo", "--arm", "base", *SMALL, *SCRATCH, "--out", "run").code == 0
    done = siod("complete", "run", "--boxes", 7, "--out", "review")
    assert done.code == 0, done.err
    assert done.out.startswith("7 boxes proposed in ")
    assert "run " in json.loads((tmp_path / "review" / "proposals.json").read_text())["info"]["proposals"]["detector"]
    siod("data", "digits", "letters", "--images", 4, "--val-images", 2)
    text = (tmp_path / "letters" / "annotations" / "instances_train.json").read_text().replace("digit 1", "letter l")
    (tmp_path / "letters.json").write_text(text)
    sentence = siod(
        "complete", "run", "--annotations", "letters.json", "--images", "letters/train", "--out", "r"
    ).refusal
    assert "the detector does not know its category 'letter l'; known are digit 0, " in sentence


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_folds_look_at_what_they_have_not_learnt_from_and_are_trained_once(siod: Siod, tmp_path: Path) -> None:
    words = ("complete", "demo", "--arm", "base", "--folds", 2, *SMALL, *SCRATCH, "--boxes", 9)
    done = siod(*words, "--out", "review")
    assert done.code == 0, done.err
    assert done.out.startswith("9 boxes proposed in ")
    assert "fold-1/0: finished" in done.err
    (study,) = (path.name for path in (tmp_path / "runs" / "studies").iterdir())
    assert study.startswith("complete-demo-base-")
    learnt = [
        json.loads(file.read_text())["experiment"]["data"]["train_annotations"]
        for file in (tmp_path / "runs" / "trials").glob("*/experiment.json")
    ]
    ids = [{one.id for one in coco.read(Path(file)).images} for file in learnt]
    assert [len(one) for one in ids] == [20, 20]
    assert len(ids[0] | ids[1]) == 40
    again = siod(*words, "--out", "again")
    assert "fold-1/0: reused" in again.err
    first, second = (json.loads((tmp_path / name / "proposals.json").read_text()) for name in ("review", "again"))
    assert first["annotations"] == second["annotations"]
