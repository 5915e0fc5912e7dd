"""``siod data annotate``, ``check`` and ``stats`` on a small file whose numbers are worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

if TYPE_CHECKING:
    from tests.cli.conftest import Siod

# (image, category) of each box: three cats and a dog in image 1, two cats in image 2, one dog in image 3; image 4
# has only a crowd of cats, image 5 nothing.
BOXES = [(1, 1), (1, 1), (1, 1), (1, 2), (2, 1), (2, 1), (3, 2)]
CROWD = {"id": 100, "image_id": 4, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 1}


def document() -> dict[str, Any]:
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 48} for i in range(1, 6)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            *(
                # Box i lies at x = i and is i + 1 pixels wide and high.
                {
                    "id": i,
                    "image_id": image,
                    "category_id": category,
                    "bbox": [i, 0, i + 1, i + 1],
                    "area": (i + 1) ** 2,
                    "iscrowd": 0,
                    "mine": f"kept {i}",
                }
                for i, (image, category) in enumerate(BOXES)
            ),
            CROWD,
        ],
    }


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "all.json"
    path.write_text(json.dumps(document()))
    return path


def ids(path: Path) -> set[int]:
    return {entry["id"] for entry in json.loads(path.read_text())["annotations"]}


# How many boxes each image keeps.
COUNTS = {
    "full": [4, 2, 1, 1],
    "keep-1": [2, 1, 1, 0],
    "keep-2": [3, 2, 1, 0],
    "saod-easy": [3, 1, 0, 0],
    "saod-hard": [2, 1, 1, 0],
    "saod-extreme": [1, 1, 1, 0],
    "saod-easy --per-category": [3, 1, 1, 0],
    "saod-hard --per-category": [2, 1, 1, 0],
    "saod-extreme --per-category": [2, 1, 1, 0],
}


@pytest.mark.parametrize("words", COUNTS)
@pytest.mark.parametrize("seed", [0, 7])
def test_a_policy_leaves_each_image_its_number_of_boxes(
    siod: Siod, tmp_path: Path, source: Path, words: str, seed: int
) -> None:
    seeds = () if words == "full" else ("--seed", seed)
    done = siod("data", "annotate", source, "out.json", "--policy", *words.split(), *seeds)
    assert (done.code, done.err) == (0, "")
    made = json.loads((tmp_path / "out.json").read_text())
    left = [sum(entry["image_id"] == image for entry in made["annotations"]) for image in (1, 2, 3, 4)]
    assert left == COUNTS[words]
    assert made["images"] == document()["images"]
    assert all(entry in document()["annotations"] for entry in made["annotations"])
    assert done.out == f"out.json: source 8, source_crowd 1, kept {sum(left)}\n"


@pytest.mark.parametrize(
    ("policy", "kept"),
    [("matched", 4), ("missing-0.5", 3), ("missing-0.1", 6)],  # of 7: round(3.5) = 4 go, round(0.7) = 1
)
def test_a_policy_over_the_whole_set_keeps_its_number_of_boxes(
    siod: Siod, tmp_path: Path, source: Path, policy: str, kept: int
) -> None:
    assert siod("data", "annotate", source, "out.json", "--policy", policy, "--seed", 1).code == 0
    assert len(ids(tmp_path / "out.json")) == kept


def test_whole_images_are_flagged_in_the_file(siod: Siod, tmp_path: Path, source: Path) -> None:
    siod("data", "annotate", source, "out.json", "--policy", "ssod")
    made = json.loads((tmp_path / "out.json").read_text())
    per_image = {image: sum(owner == image for owner, _ in BOXES) for image in range(1, 6)}
    for image in made["images"]:
        left = sum(entry["image_id"] == image["id"] for entry in made["annotations"])
        assert left == image["keep"] * per_image[image["id"]]
    # keep-1 has four boxes: those of image 1 alone, or as near as images 2 and 3 come.
    assert ids(tmp_path / "out.json") in ({0, 1, 2, 3}, {4, 5, 6})


@pytest.mark.parametrize(
    ("choice", "kept"),
    [("first", {0, 3, 4, 6}), ("largest", {2, 3, 5, 6}), ("center", {2, 3, 5, 6})],
)
def test_the_choice_decides_which_box_of_a_category_stays(
    siod: Siod, tmp_path: Path, source: Path, choice: str, kept: set[int]
) -> None:
    siod("data", "annotate", source, "out.json", "--policy", "keep-1", "--choice", choice)
    assert ids(tmp_path / "out.json") == kept


def test_the_hidden_boxes_are_the_others_without_crowds(siod: Siod, tmp_path: Path, source: Path) -> None:
    done = siod("data", "annotate", source, "out.json", "--hidden", "hidden.json")
    kept, hidden = ids(tmp_path / "out.json"), ids(tmp_path / "hidden.json")
    assert kept | hidden == set(range(7))
    assert not kept & hidden
    assert done.out.splitlines() == ["out.json: source 8, source_crowd 1, kept 4", "hidden.json: 3 hidden instances"]


REFUSED = {
    ("--policy", "saod"): "unknown policy 'saod'; did you mean 'ssod'?",
    ("--policy", "missing-1"): "policy missing-1: fraction: Input should be less than 1 (received 1.0)",
    ("--policy", "missing-half"): "unknown policy 'missing-half'",
    ("--policy", "ssod", "--choice", "first"): "--choice has no effect on policy 'ssod'; leave it out or use keep-K",
    ("--policy", "keep-1", "--per-category"): (
        "--per-category has no effect on policy 'keep-1'; leave it out or use saod-easy"
    ),
    ("--policy", "full", "--seed", "1"): "--seed has no effect on policy 'full'; leave it out",
    ("--choice", "first", "--seed", "1"): "policy keep-1: seed has no effect on choice 'first'; leave it at 0",
    ("--seed", "-1"): "policy keep-1: seed: Input should be greater than or equal to 0 (received -1)",
    ("--hidden", "out.json"): (
        "out.json: is named for the kept and for the hidden boxes; name another file with --hidden"
    ),
}


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_a_setting_that_makes_no_sense_is_refused(
    siod: Siod, tmp_path: Path, source: Path, words: tuple[str, ...]
) -> None:
    assert siod("data", "annotate", source, "out.json", *words).refusal.startswith(REFUSED[words])
    assert [path.name for path in tmp_path.iterdir()] == ["all.json"]


def test_nothing_is_written_when_the_hidden_file_exists(siod: Siod, tmp_path: Path, source: Path) -> None:
    (tmp_path / "hidden.json").write_text("mine")
    refused = siod("data", "annotate", source, "out.json", "--hidden", "hidden.json").refusal
    assert refused == "hidden.json: exists already; name another file or delete it"
    assert not (tmp_path / "out.json").exists()


def test_table_8_and_9_are_printed(siod: Siod, source: Path) -> None:
    done = siod("data", "stats", source)
    # 7 boxes and 4 pairs of image and category in 5 images; 5 cats of which 2 stay, 2 dogs that both stay.
    # Per image 1.0 cats and 0.4 dogs: mean 0.7, variance 0.09; kept 0.4 and 0.4.
    assert done.out.splitlines() == [
        "5 of 5 images, 1 crowd boxes left aside; 4 of 7 instances kept (57.1%)",
        "Hours assume 9 s an image and 9.93 s a box (a line through the timings of the paper's Table 8).",
        "",
        "set   instances  per image  per image and category  small / medium / large  hours",
        "full          7       1.40           0.700 (0.090)               7 / 0 / 0    0.0",
        "keep          4       0.80           0.400 (0.000)               4 / 0 / 0    0.0",
        "",
        "category  instances  sample ratio  keep ratio",
        "cat               5         1.000       0.400",
        "dog               2         1.000       1.000",
    ]


def test_several_files_are_counted_side_by_side(siod: Siod, tmp_path: Path, source: Path) -> None:
    # Without its first image: two cats and a crowd's image, one dog; and a category the other file lacks.
    other = document()
    other["images"] = [image for image in other["images"] if image["id"] > 1]
    other["annotations"] = [box for box in other["annotations"] if box["image_id"] > 1]
    other["categories"].append({"id": 3, "name": "cow"})
    (tmp_path / "rest.json").write_text(json.dumps(other))
    done = siod("data", "stats", source, "rest.json")
    assert done.out.splitlines() == [
        "file       images   set  instances  per image  per image and category  small / medium / large  hours",
        "all.json        5  full          7       1.40           0.700 (0.090)               7 / 0 / 0    0.0",
        "all.json        5  keep          4       0.80           0.400 (0.000)               4 / 0 / 0    0.0",
        "rest.json       4  full          3       0.75           0.250 (0.042)               3 / 0 / 0    0.0",
        "rest.json       4  keep          2       0.50           0.167 (0.014)               2 / 0 / 0    0.0",
        "",
        "category  all.json  keep ratio  rest.json  keep ratio",
        "cat              5       0.400          2       0.500",
        "dog              2       1.000          1       1.000",
        "cow              -           -          0           -",
    ]
    numbers = json.loads(siod("data", "stats", source, "rest.json", "--json", "-").out)["files"]
    assert [entry["file"] for entry in numbers] == [str(source), "rest.json"]
    assert numbers[0] | {"file": ""} == json.loads(siod("data", "stats", source, "--json", "-").out) | {"file": ""}


@pytest.mark.parametrize("option", ["--set", "--plots"])
def test_what_belongs_to_one_file_is_refused_for_several(siod: Siod, tmp_path: Path, source: Path, option: str) -> None:
    (tmp_path / "more.json").write_text(json.dumps(document()))
    refused = siod("data", "stats", source, "more.json", option, "x").refusal
    assert refused == f"{option} belongs to one file, and 2 are named; name one, or leave it out"
    assert siod("data", "stats", source, source).refusal == f"{source}: is named twice; name it once"


def test_a_derived_file_is_counted_as_its_policy_is(siod: Siod, source: Path) -> None:
    siod("data", "annotate", source, "keep.json", "--seed", 4)
    by_file = json.loads(siod("data", "stats", source, "--set", "keep.json", "--json", "-").out)
    assert by_file == json.loads(siod("data", "stats", source, "--seed", 4, "--json", "-").out)


def test_a_file_of_another_source_is_not_counted(siod: Siod, tmp_path: Path, source: Path) -> None:
    other = document() | {"annotations": [CROWD | {"id": 7777}]}
    (tmp_path / "other.json").write_text(json.dumps(other))
    refused = siod("data", "stats", source, "--set", "other.json").refusal
    assert refused == f"other.json: has annotations that {source} lacks; name the file it was derived from"


def test_hours_follow_the_seconds_that_are_given(siod: Siod, source: Path) -> None:
    seconds = ("--seconds-image", 720, "--seconds-box", 3600)
    told = json.loads(siod("data", "stats", source, *seconds, "--json", "-").out)
    assert (told["full"]["hours"], told["kept"]["hours"]) == (8.0, 5.0)


def test_the_tables_come_as_markdown_and_latex_too(siod: Siod, source: Path) -> None:
    assert "| cat | 5 | 1.000 | 0.400 |" in siod("data", "stats", source, "--markdown").out
    assert r"cat & 5 & 1.000 & 0.400 \\" in siod("data", "stats", source, "--latex").out


def test_the_numbers_are_drawn(siod: Siod, tmp_path: Path, source: Path) -> None:
    assert siod("data", "stats", source, "--plots", "plots").code == 0
    first = {path.name: path.read_bytes() for path in (tmp_path / "plots").iterdir()}
    assert sorted(first) == ["instances.svg", "keep_ratio.svg", "sizes.svg"]
    assert all(b"cat" in first[name] for name in ("instances.svg", "keep_ratio.svg"))
    siod("data", "stats", source, "--plots", "again")
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--sample", 6), "cannot sample 6 of 5 images; sample 1 to 5"),
        (("--seconds-box", -1), "--seconds-box -1.0: must be a number of seconds, 0 or more"),
        (("--seconds-image", "inf"), "--seconds-image inf: must be a number of seconds, 0 or more"),
        (("--markdown", "--latex"), "--markdown and --latex are both given; keep one"),
        (("--plots", "occupied"), "occupied: the folder is not empty; name a new one or empty it"),
    ],
)
def test_statistics_that_cannot_be_are_refused(
    siod: Siod, tmp_path: Path, source: Path, words: tuple[object, ...], sentence: str
) -> None:
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied" / "mine.txt").touch()
    assert siod("data", "stats", source, *words).refusal.endswith(sentence)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(1, 6):
        Image.new("RGB", (64, 48), (i, 0, 0)).save(folder / f"{i}.png")
    return folder


def test_a_sound_file_is_left_with_code_0_and_what_is_worth_knowing(siod: Siod, source: Path, images: Path) -> None:
    done = siod("data", "check", source, "--images", images)
    assert done.code == 0
    first, second, _ = done.out.splitlines()
    assert first == f"{source}: no defects"
    assert second.startswith("remark: annotation-id-zero x 1: ")


def test_a_repair_that_would_leave_nothing_is_not_written(siod: Siod, tmp_path: Path) -> None:
    broken = document()
    broken["annotations"] = [{**entry, "bbox": [0, 0, 0, 5]} for entry in broken["annotations"]]
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    done = siod("data", "check", "broken.json", "--fix", "fixed.json")
    assert done.code == 2
    left = "5 images and 0 annotations would be left; write or download the file again; nothing was written"
    assert done.err == f"siod: broken.json: {left}\n"
    assert not (tmp_path / "fixed.json").exists()


def test_every_kind_of_defect_is_told_once_and_repaired(siod: Siod, tmp_path: Path, images: Path) -> None:
    broken = document()
    for entry in broken["annotations"][:4]:
        entry["bbox"] = [0, 0, 0, 5]
    broken["annotations"][5]["image_id"] = 77
    (images / "3.png").write_bytes(b"no image")
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    done = siod("data", "check", "broken.json", "--images", images, "--fix", "fixed.json")
    assert done.code == 1
    told = [line.partition(":")[0] for line in done.out.splitlines() if " x " in line.partition(":")[0]]
    assert told == ["image-unknown x 1", "box-empty x 4", "image-unreadable x 1"]
    assert "annotations[0] bbox [0, 0, 0, 5], annotations[1] bbox" in done.out
    assert "fixed.json: annotations dropped (a box has no area or a negative side): 4" in done.out
    # Box 4 and the crowd are left; box 6 went with its image.
    assert ids(tmp_path / "fixed.json") == {4, 100}
    assert siod("data", "annotate", "fixed.json", "keep.json").code == 0


def test_a_file_that_is_no_json_is_a_defect_that_cannot_be_repaired(siod: Siod, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    done = siod("data", "check", "x.json", "--fix", "fixed.json")
    assert done.code == 2
    assert done.out.startswith("not-json x 1: the file is not JSON")
    assert (
        done.err == "siod: x.json: nothing in it can be saved; write or download the file again; nothing was written\n"
    )
    assert not (tmp_path / "fixed.json").exists()


def test_checking_what_is_not_there_is_refused(siod: Siod, source: Path) -> None:
    assert siod("data", "check", "none.json").refusal.startswith("none.json: No such file or directory")
    refused = siod("data", "check", source, "--images", "none").refusal
    assert refused == "none: is no folder; name the folder of the images with --images"
