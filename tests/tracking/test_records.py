from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict

import msgspec

from siod.tracking.records import (
    ArmRecord,
    FoundBox,
    Gallery,
    GalleryImage,
    StudyHeader,
    StudyRecord,
    TrialRecord,
    TrueBox,
    decode_found,
    flatten,
)


def test_nested_settings_are_named_by_their_dotted_paths() -> None:
    settings = {
        "recipe": {"epochs": 6, "schedule": {"milestones": [90, 120], "factor": 0.1}},
        "dminer": None,
        "kind": "digits",
        "flip": False,
        "empty": {},
    }
    assert flatten(settings) == {
        "recipe.epochs": "6",
        "recipe.schedule.milestones": "[90, 120]",
        "recipe.schedule.factor": "0.1",
        "dminer": "null",
        "kind": "digits",
        "flip": "false",
        "empty": "{}",
    }


def test_a_header_survives_its_json() -> None:
    header = StudyHeader(
        name="demo",
        question="Does it?",
        arms=(ArmRecord("a", "A", "note", {"recipe.epochs": 3}),),
        baseline="a",
        seeds=(0, 4),
        experiment={"recipe": {"epochs": 2}},
        primary=(("a", "b"), ("c", "a")),
    )
    assert msgspec.json.decode(msgspec.json.encode(asdict(header)), type=StudyHeader) == header


def test_a_header_of_before_there_were_primary_comparisons_has_none() -> None:
    header = StudyHeader(name="demo", question="Does it?", arms=(ArmRecord("a", "A"),), baseline="a")
    old = {name: value for name, value in asdict(header).items() if name != "primary"}
    assert msgspec.json.decode(msgspec.json.encode(old), type=StudyHeader) == header


def test_a_gallery_is_stored_as_lists_of_numbers() -> None:
    gallery = Gallery(("zero",), (GalleryImage(7, "7.png", 96, 64, (TrueBox(1, 2, 3, 4, 0),)),))
    written = msgspec.json.encode(gallery)
    assert msgspec.json.decode(written)["images"][0]["ground_truth"] == [[1, 2, 3, 4, 0]]
    assert msgspec.json.decode(written, type=Gallery) == gallery


def test_what_a_trial_found_is_read_by_image() -> None:
    assert decode_found(b'{"7": [[1, 2, 3, 4, 0.5, 1]], "8": []}') == {7: (FoundBox(1, 2, 3, 4, 0.5, 1),), 8: ()}


def test_trials_of_an_arm_have_the_declared_seeds() -> None:
    def trial(arm: str, seed: int) -> TrialRecord:
        return TrialRecord(
            run_id=f"{arm}{seed}", study="s", arm=arm, seed=seed, identity="i", status="finished", started_ms=0
        )

    study = StudyRecord(
        name="s",
        question="q",
        arms=(ArmRecord("a", "A"), ArmRecord("b", "B")),
        baseline="a",
        seeds=(0, 1),
        run_id="r",
        status="finished",
        trials=(trial("a", 0), trial("a", 1), trial("a", 2), trial("b", 0)),
    )
    assert [one.run_id for one in study.trials_of("a")] == ["a0", "a1"]


def test_records_load_no_store_and_no_tensors() -> None:
    program = "import sys, siod.tracking.records; print(*sorted({'mlflow', 'torch', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
