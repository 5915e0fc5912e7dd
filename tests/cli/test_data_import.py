"""The commands between a folder of somebody's data and one that siod trains on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Siod

VOC = (
    "<annotation><filename>{}</filename><object><name>cell</name><bndbox><xmin>{}</xmin><ymin>1</ymin>"
    "<xmax>8</xmax><ymax>6</ymax></bndbox></object></annotation>"
)


def cells(root: Path, count: int = 10) -> None:
    """Images of 20 x 10 px, a cell in each from the third pixel on; the first one's box has no area."""
    for name in ("Annotations", "JPEGImages"):
        (root / name).mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (20, 10), (number, 0, 0)).save(root / "JPEGImages" / f"c{number}.png")
        left = 12 if number == 0 else 3
        (root / "Annotations" / f"c{number}.xml").write_text(VOC.format(f"c{number}.png", left))


def test_a_voc_folder_goes_in_and_comes_out_of_every_format_alike(siod: Siod, tmp_path: Path) -> None:
    cells(tmp_path / "blood")
    done = siod("data", "import", "blood", "--out", "cells")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[:2] == ["blood: Pascal VOC", "    Annotations with the images of JPEGImages"]
    assert "1 boxes without area inside their image were left out (blood/Annotations/c0.xml: object 0)" in lines[2]
    document: dict[str, Any] = json.loads((tmp_path / "cells/annotations/instances_train.json").read_text())
    assert document["info"]["import"]["command"] == "siod data import blood --out cells"
    count = len(document["images"])
    assert f"images{count:>10}{10 - count:>8}" in lines
    for kind in ("voc", "yolo", "coco"):
        file = "cells/annotations/instances_train.json"
        exported = siod("data", "export", kind, file, "cells/train", "--out", f"as_{kind}")
        assert (exported.code, exported.out) == (
            0,
            f"as_{kind}: {count} images, {len(document['annotations'])} boxes\n",
        )
        assert siod("data", "import", f"as_{kind}", "--out", f"from_{kind}", "--seed", 1, "--val", "0.5").code == 0
    boxes = {
        tuple(entry["bbox"])
        for path in tmp_path.glob("from_*/annotations/*.json")
        for entry in json.loads(path.read_text())["annotations"]
    }
    assert boxes == {(2, 0, 6, 6)}


def test_defects_can_be_refused_and_nothing_is_written(siod: Siod, tmp_path: Path) -> None:
    cells(tmp_path / "blood")
    refused = siod("data", "import", "blood", "--out", "cells", "--defects", "refuse").refusal
    assert refused.startswith("blood/Annotations/c0.xml: object 0: the box has no area inside its image")
    assert [path.name for path in tmp_path.iterdir()] == ["blood"]
    assert siod("data", "import", "blood", "blood", "--out", "cells").refusal == "blood: is named twice; name it once"
    assert siod("data", "import", "blood", "--out", "cells", "--format", "vox").refusal == (
        "--format vox: not one of voc, yolo, coco, datumaro:NAME"
    )
    refused = siod("data", "import", "blood", "--out", "cells", "--format", "datumaro:cvat", "--link").refusal
    assert refused == "--link: what datumaro reads passes through a folder that is deleted; leave it out"
    refused = siod("data", "import", "blood", "--out", "cells", "--format", "yolo").refusal
    assert refused == (
        "blood: no annotations that siod knows; looked for YOLO (data.yaml, or images with labels and classes.txt)"
    )


def coco_file(path: Path, names: list[str]) -> None:
    images = [{"id": place, "file_name": name, "width": 20, "height": 10} for place, name in enumerate(names)]
    annotations = [
        {"id": place, "image_id": place, "category_id": 4, "bbox": [1, 1, 3, 3]} for place in range(len(names))
    ]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 4, "name": "cell"}]}
    path.write_text(json.dumps(document))


def test_a_file_is_split_and_its_parts_are_merged_again(siod: Siod, tmp_path: Path) -> None:
    coco_file(tmp_path / "all.json", [f"v{number % 4}/{number}.png" for number in range(20)])
    done = siod("data", "split", "all.json", "--out", "parts", "--val", 0.4, "--group", "(.*)/")
    assert done.code == 0
    train, val = (
        {entry["file_name"] for entry in json.loads((tmp_path / f"parts/instances_{split}.json").read_text())["images"]}
        for split in ("train", "val")
    )
    assert len(train) + len(val) == 20
    assert {name.split("/")[0] for name in train}.isdisjoint(name.split("/")[0] for name in val)
    assert f"parts/instances_val.json: {len(val)} images, {len(val)} annotations" in done.out
    done = siod("data", "merge", "parts/instances_train.json", "parts/instances_val.json", "--out", "whole.json")
    assert (done.code, done.out) == (0, "whole.json: 20 images, 20 annotations, 1 categories\n")
    assert siod("data", "check", "whole.json").code == 0
    refused = siod("data", "merge", "all.json", "parts/instances_val.json", "--out", "more.json").refusal
    assert "is listed by all.json and by parts/instances_val.json; if it is one image, add --same-images" in refused
    done = siod("data", "merge", "all.json", "parts/instances_val.json", "--out", "more.json", "--same-images")
    assert done.out.endswith("more.json: 20 images, 20 annotations, 1 categories\n")
    assert (
        siod("data", "merge", "all.json", "all.json", "--out", "x.json").refusal
        == "all.json: is named twice; name it once"
    )
    assert siod("data", "split", "all.json", "--out", "x", "--val", 1).refusal.startswith("--val 1 and --test 0")


def test_categories_that_a_merged_file_does_not_list_are_told_or_marked(siod: Siod, tmp_path: Path) -> None:
    coco_file(tmp_path / "cells.json", ["a.png", "b.png"])
    platelets = json.loads((tmp_path / "cells.json").read_text())
    platelets["images"] = [{**entry, "file_name": f"other/{entry['file_name']}"} for entry in platelets["images"]]
    platelets["categories"][0]["name"] = "platelet"
    (tmp_path / "platelets.json").write_text(json.dumps(platelets))
    files = ("cells.json", "platelets.json")
    told = siod("data", "merge", *files, "--out", "one.json")
    assert "remark: cell, platelet: not listed by every file, and taken as absent" in told.out
    assert siod("data", "merge", *files, "--out", "two.json", "--unlisted", "unlabelled").out.startswith("two.json: 4")
    lists = [entry["neg_category_ids"] for entry in json.loads((tmp_path / "two.json").read_text())["images"]]
    assert lists == [[]] * 4  # each shows the only category of its file, and the other one is on no list
