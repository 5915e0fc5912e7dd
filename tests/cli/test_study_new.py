"""``siod study new --data``: from a folder to a study, and what is said where that cannot be."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image, ImageDraw

from siod.tuning.study import load_study

if TYPE_CHECKING:
    from tests.cli.conftest import Siod

PAGE = Path(__file__).resolve().parents[2] / "docs" / "own_data.md"
TINY = ("--backbone", "tiny_resnet18", "--weights", "none")
COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220)}
OBJECT = (
    "<object><name>{name}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)
# Four squares of each image, in pixels of 96 x 64: two of each colour.
SQUARES = (("red", 4, 4), ("red", 60, 8), ("blue", 32, 34), ("blue", 68, 36))
SIDE_PX = 22


def draw_voc(folder: Path, squares: tuple[tuple[str, int, int], ...] = SQUARES) -> Path:
    """Write ten images with coloured squares as Pascal VOC has them, eight of them to train on."""
    for name in ("Annotations", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    for number in range(10):
        picture = Image.new("RGB", (96, 64), (90, 90 + 5 * number, 90))
        drawing, objects = ImageDraw.Draw(picture), ""
        for name, left, top in squares:
            x, y = left + number % 4, top + number % 3
            drawing.rectangle((x, y, x + SIDE_PX - 1, y + SIDE_PX - 1), fill=COLOURS[name])
            objects += OBJECT.format(x + 1, y + 1, x + SIDE_PX, y + SIDE_PX, name=name)
        picture.save(folder / "JPEGImages" / f"{number}.jpg")
        size = "<size><width>96</width><height>64</height><depth>3</depth></size>"
        xml = f"<annotation><filename>{number}.jpg</filename>{size}{objects}</annotation>"
        (folder / "Annotations" / f"{number}.xml").write_text(xml)
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    for split, numbers in (("train", range(8)), ("val", range(8, 10))):
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{number}\n" for number in numbers))
    return folder


@pytest.fixture
def cells(siod: Siod, tmp_path: Path) -> Path:
    """A folder as ``siod data import`` writes it: eight training images, two to judge by."""
    draw_voc(tmp_path / "voc")
    assert siod("data", "import", "voc", "--out", "cells").code == 0
    return tmp_path / "cells"


# What the commands of docs/own_data.md take beside their words on ten small images.
SMALLER = {
    ("study", "new"): TINY,
    ("study", "run"): ("--set", "recipe.epochs=1", "--seed", "0"),
}


@pytest.mark.ray
@pytest.mark.slow
def test_the_commands_of_the_page_lead_from_ten_voc_images_to_report_and_boxes(
    siod: Siod, tmp_path: Path, ray_session: None
) -> None:
    del ray_session
    draw_voc(tmp_path / "BCCD_Dataset")
    words: list[str] = []
    for command in re.findall(r"^\$ siod (.*)$", PAGE.read_text(), flags=re.MULTILINE):
        words = command.split("#")[0].replace("FOLDER", _trial(tmp_path)).split()
        done = siod(*words, *SMALLER.get((words[0], words[1]), ()))
        assert done.code == 0, (command, done.err)
    assert words[0] == "evaluate"
    page = (tmp_path / "runs" / "reports" / "cells" / "index.html").read_text()
    assert "Is one box per image and category enough on cells" in page
    assert "SIOD (DMiner)" in page
    assert (tmp_path / "found" / "detections.json").is_file()


def _trial(folder: Path) -> str:
    """The folder of a finished trial, once there is one."""
    return str(next((folder / "runs" / "trials").glob("*/checkpoints/best.pt"), folder).parent.parent)


def test_what_was_chosen_is_told_with_the_next_command(siod: Siod, cells: Path) -> None:
    done = siod("study", "new", "cells", "--data", "cells", *TINY)
    data = "8 training images with 32 boxes of 2 categories, 2 validation images"
    assert done.out.splitlines() == [
        "cells.py: written",
        f"data: {data}; one box per image and category keeps 16 (50%)",
        "detector: CENTERNET_TINY, weights none, inputs of 96 x 64 px",
        "trials: fsod, base, dminer with 3 seeds, 60 epochs each",
        "cost: siod study plan cells.py --measure tells",
        "next: siod study run cells.py",
    ]
    study = load_study("cells.py")
    assert study.base.data.model_dump() == load_study(str(cells.parent / "cells.py")).base.data.model_dump()
    assert study.base.recipe.batch_size == 2


def test_the_file_and_its_data_can_move_together(siod: Siod, cells: Path, tmp_path: Path) -> None:
    assert cells.is_dir()
    siod("study", "new", "cells", "--data", "cells", *TINY)
    (tmp_path / "elsewhere").mkdir()
    for name in ("cells", "cells.py"):
        shutil.move(tmp_path / name, tmp_path / "elsewhere" / name)
    moved = load_study(str(tmp_path / "elsewhere" / "cells.py"))
    assert moved.base.data.model_dump()["root"] == tmp_path / "elsewhere" / "cells"


def test_data_outside_is_named_by_its_whole_path(siod: Siod, cells: Path, tmp_path: Path) -> None:
    siod("study", "new", "cells", "--data", "cells", "--out", "studies/cells.py", *TINY)
    assert f'DATA = Path("{cells}")' in (tmp_path / "studies" / "cells.py").read_text()


def test_a_set_of_one_box_for_each_category_has_no_full_supervision(siod: Siod, tmp_path: Path) -> None:
    draw_voc(tmp_path / "one", squares=SQUARES[1:3])
    siod("data", "import", "one", "--out", "single")
    alike = siod("study", "new", "alike", "--data", "single", *TINY)
    assert "remark: no training image has two boxes of one category, so FSOD learns from the same boxes" in alike.out
    said = siod("study", "new", "said", "--data", "single", "--only-one", *TINY)
    assert "remark" not in said.out
    assert [arm.name for arm in load_study("said.py").arms] == ["base", "dminer"]


def test_a_set_that_says_so_itself_has_no_full_supervision(siod: Siod, cells: Path) -> None:
    train = cells / "annotations" / "instances_train.json"
    siod("data", "annotate", train, "keep1.json")
    shutil.move("keep1.json", train)
    done = siod("study", "new", "cells", "--data", "cells", *TINY)
    assert "remark: the training set says that it holds one box per image and category" in done.out
    assert [arm.name for arm in load_study("cells.py").arms] == ["base", "dminer"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--data", "nowhere"), "'siod data import SOURCE --out FOLDER' makes such a folder"),
        (("--data", "voc"), "'siod data import SOURCE --out FOLDER' makes such a folder"),
        (("--data", "cells", "--only-one"), "has several boxes of 'blue' in the training set; leave the option out"),
        (("--data", "cells", "--budget", "soon"), "--budget 'soon': expected a number and s, m or h, for example 30m"),
        (("--data", "cells", "--backbone", "tiny_resnet"), "did you mean 'tiny_resnet18'?"),
        (("--data", "cells", "--backbone", "tiny_resnet18"), "no package ships weights of backbone tiny_resnet18"),
        (("--budget", "30m"), "--budget belongs to a study that is fitted to data; name the folder with --data"),
        (("--only-one",), "--only-one belongs to a study that is fitted to data; name the folder with --data"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(
    siod: Siod, cells: Path, words: tuple[str, ...], sentence: str
) -> None:
    assert sentence in siod("study", "new", "mine", *words).refusal
    assert not (cells.parent / "mine.py").exists()


def test_a_data_set_without_boxes_is_refused(siod: Siod, cells: Path) -> None:
    path = cells / "annotations" / "instances_train.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"annotations": []}))
    refusal = siod("study", "new", "mine", "--data", "cells", *TINY).refusal
    assert refusal == f"{path}: has no boxes, so there is nothing to fit a study to; name a data set with boxes"


@pytest.mark.slow
def test_a_budget_is_kept_by_timing_a_few_steps(siod: Siod, cells: Path) -> None:
    assert cells.is_dir()
    done = siod("study", "new", "cells", "--data", "cells", "--budget", "10h", *TINY)
    assert done.code == 0, done.err
    assert "cost: about" in done.out
    study = load_study("cells.py")
    assert (study.base.recipe.epochs, len(study.seeds)) == (60, 3)  # ten hours leave room for all
    refusal = siod("study", "new", "short", "--data", "cells", "--budget", "1s", *TINY).refusal
    assert refusal.startswith("--budget 0:01: one epoch of each arm at 96 px takes about ")
