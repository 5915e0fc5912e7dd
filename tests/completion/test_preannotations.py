"""What labelling tools import: annotated and proposed boxes come back, told apart as far as the format can."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import pytest
import yaml
from PIL import Image

from siod.completion.preannotations import write_preannotations
from siod.completion.proposals import Origin, Proposal, Proposals, write_proposals
from siod.data import coco
from siod.data.formats.found import read_sources
from siod.data.formats.recognise import recognise
from siod.errors import UserError
from siod.picture import box_in_stored

SIZE = (40, 30)
NAMES = ('cat & "dog"', "<öwl>")
Box = tuple[str, tuple[float, ...]]
# By image: category and box of annotations, and of a crowd.
ANNOTATED: dict[str, list[tuple[int, tuple[float, ...], int]]] = {
    "a.png": [(0, (0, 0, 40, 30), 0), (1, (3, 4, 5, 6), 0), (0, (10, 10, 10, 10), 1)],
    "sub/ü & #1%.jpg": [],
    "empty.png": [],
}
PROPOSED: dict[str, list[tuple[int, tuple[float, ...], float, float | None]]] = {
    "a.png": [(1, (20, 5, 8, 8), 0.75, 0.125)],
    "sub/ü & #1%.jpg": [(0, (3, 4, 5, 6), 0.5, None)],
}


def proposals(folder: Path, *, orientation: int = 1, annotated: dict[str, Any] = ANNOTATED) -> Proposals:
    """Three images with ids from 7 on; the categories have the ids 10 and 20."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in annotated:
        path = folder / "my images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE).save(path, exif=exif)
    ids = {name: number for number, name in enumerate(annotated, start=7)}
    rows = [(name, *row) for name, found in annotated.items() for row in found]
    document = {
        "images": [{"id": ids[name], "file_name": name, "width": SIZE[0], "height": SIZE[1]} for name in annotated],
        "categories": [{"id": 10, "name": NAMES[0]}, {"id": 20, "name": NAMES[1]}],
        "annotations": [
            {"id": n, "image_id": ids[name], "category_id": 10 + 10 * label, "bbox": list(bbox), "iscrowd": crowd}
            for n, (name, label, bbox, crowd) in enumerate(rows, start=1)
        ],
    }
    coco.write(folder / "mine.json", document)
    dataset = coco.read(folder / "mine.json")
    found = [(name, *row) for name, rows in PROPOSED.items() if name in ids for row in rows]
    boxes = tuple(
        Proposal(n, ids[name], 10 + 10 * label, (bbox[0], bbox[1], bbox[2], bbox[3]), score, fdr, fdr, fdr, "unknown")
        for n, (name, label, bbox, score, fdr) in enumerate(found, start=100)
    )
    images = str(folder / "my images")
    origin = Origin(str(dataset.path), dataset.sha256, images, "a detector", 0.1, None, None, 0.9, ())
    return write_proposals(folder / "review" / "proposals.json", origin, dataset, boxes)


def all_boxes(*, crowds: bool = False) -> dict[str, list[Box]]:
    """Annotated, then proposed ones."""
    found: dict[str, list[Box]] = {}
    for name, rows in ANNOTATED.items():
        found[name] = [(NAMES[label], bbox) for label, bbox, crowd in rows if crowds or not crowd]
        found[name] += [(NAMES[label], bbox) for label, bbox, *_ in PROPOSED.get(name, [])]
    return found


def stored(corners: tuple[float, ...], orientation: int) -> tuple[float, ...]:
    x1, y1, x2, y2 = box_in_stored(corners, SIZE, orientation)
    return tuple(round(value, 4) for value in (x1, y1, x2 - x1, y2 - y1))


def of_cvat(path: Path, orientation: int = 1) -> dict[str, list[Box]]:
    found: dict[str, list[Box]] = {}
    for image in ET.parse(path).getroot().iter("image"):  # noqa: S314  (our own file)
        corners = [tuple(float(box.attrib[side]) for side in ("xtl", "ytl", "xbr", "ybr")) for box in image.iter("box")]
        labels = [box.attrib["label"] for box in image.iter("box")]
        found[image.attrib["name"]] = [
            (label, stored(one, orientation)) for label, one in zip(labels, corners, strict=True)
        ]
    return found


def of_label_studio(path: Path, orientation: int = 1) -> dict[str, list[Box]]:
    found: dict[str, list[Box]] = {}
    for task in json.loads(path.read_text()):
        (prediction,) = task["predictions"]
        found[task["data"]["file_name"]] = []
        for region in prediction["result"]:
            (label,), sides = region["value"]["rectanglelabels"], (region["original_width"], region["original_height"])
            assert sides == (SIZE if orientation < 5 else SIZE[::-1])
            x, y, width, height = (region["value"][name] / 100 for name in ("x", "y", "width", "height"))
            corners = (x * sides[0], y * sides[1], (x + width) * sides[0], (y + height) * sides[1])
            found[task["data"]["file_name"]].append((label, stored(corners, orientation)))
    return found


def imported(folder: Path) -> dict[str, list[Box]]:
    """What ``siod data import`` reads."""
    joined = read_sources([recognise(folder)]).joined
    names = {entry["id"]: entry["name"] for entry in joined.categories}
    found: dict[str, list[Box]] = {entry["file_name"]: [] for entry in joined.images}
    files = {entry["id"]: entry["file_name"] for entry in joined.images}
    for entry in joined.annotations:
        found[files[entry["image_id"]]].append((names[entry["category_id"]], tuple(entry["bbox"])))
    return found


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_box_comes_back_from_every_format(orientation: int, tmp_path: Path) -> None:
    made = write_preannotations(proposals(tmp_path, orientation=orientation), tmp_path / "pre")
    assert [path.name for path in made] == [
        "README.txt",
        "cvat.xml",
        "cvat_labels.json",
        "label_studio.json",
        "label_studio.xml",
        "yolo",
        "voc",
    ]
    assert of_cvat(tmp_path / "pre" / "cvat.xml", orientation) == all_boxes()
    assert of_label_studio(tmp_path / "pre" / "label_studio.json", orientation) == all_boxes()
    for name, images in (("yolo", "images"), ("voc", "JPEGImages")):
        (tmp_path / "pre" / name / images).symlink_to(tmp_path / "my images")
        assert imported(tmp_path / "pre" / name) == all_boxes(crowds=name == "voc")


def test_cvat_is_told_which_boxes_are_proposed(tmp_path: Path) -> None:
    write_preannotations(proposals(tmp_path), tmp_path / "pre")
    root = ET.parse(tmp_path / "pre" / "cvat.xml").getroot()  # noqa: S314  (our own file)
    said = [
        (box.attrib["source"], {one.attrib["name"]: one.text for one in box.iter("attribute")})
        for box in root.iter("box")
    ]
    assert said == [
        ("manual", {}),
        ("manual", {}),
        ("auto", {"proposed": "true", "score": "0.75", "fdr": "0.125"}),
        ("auto", {"proposed": "true", "score": "0.5"}),
    ]
    assert [image.attrib["id"] for image in root.iter("image")] == ["7", "8", "9"]
    declared = {
        one.findtext("name"): [each.findtext("name") for each in one.iter("attribute")] for one in root.iter("label")
    }
    labels = json.loads((tmp_path / "pre" / "cvat_labels.json").read_text())
    assert declared == {one["name"]: [each["name"] for each in one["attributes"]] for one in labels}
    assert declared == {name: ["proposed", "score", "fdr"] for name in NAMES}


def test_label_studio_finds_the_images_and_has_scores_of_proposals(tmp_path: Path) -> None:
    write_preannotations(proposals(tmp_path), tmp_path / "pre")
    tasks = json.loads((tmp_path / "pre" / "label_studio.json").read_text())
    addresses = [unquote(task["data"]["image"]).removeprefix("/data/local-files/?d=") for task in tasks]
    assert addresses == [f"my images/{name}" for name in ANNOTATED]
    assert "#" not in tasks[1]["data"]["image"]
    assert [task["data"]["image_id"] for task in tasks] == [7, 8, 9]
    regions = [region for task in tasks for region in task["predictions"][0]["result"]]
    assert [(region["id"], region.get("score"), region.get("meta")) for region in regions] == [
        ("1", None, None),
        ("2", None, None),
        ("100", 0.75, {"text": ["proposed: score 0.75, fdr 0.125"]}),
        ("101", 0.5, {"text": ["proposed: score 0.5"]}),
    ]
    interface = ET.parse(tmp_path / "pre" / "label_studio.xml").getroot()  # noqa: S314  (our own file)
    assert [label.attrib["value"] for label in interface.iter("Label")] == [*NAMES]
    assert {(region["from_name"], region["to_name"]) for region in regions} == {("label", "image")}


def test_yolo_has_the_proposals_beside_and_voc_says_them(tmp_path: Path) -> None:
    write_preannotations(proposals(tmp_path), tmp_path / "pre")
    yolo = tmp_path / "pre" / "yolo"
    assert (yolo / "labels" / "empty.txt").read_text() == ""
    assert sorted(path.name for path in (yolo / "proposed").rglob("*.txt")) == ["a.txt", "ü & #1%.txt"]
    # The box at 20, 5 of 8 x 8 px in an image of 40 x 30 px.
    assert (yolo / "proposed" / "a.txt").read_text() == "1 0.6 0.3 0.2 0.2666666667 0.75\n"
    assert (yolo / "labels" / "a.txt").read_text().splitlines()[-1] == "1 0.6 0.3 0.2 0.2666666667"
    assert yaml.safe_load((yolo / "data.yaml").read_text()) == {"train": "images", "names": dict(enumerate(NAMES))}
    root = ET.parse(tmp_path / "pre" / "voc" / "Annotations" / "a.xml").getroot()  # noqa: S314  (our own file)
    said = [
        {one.findtext("name"): one.findtext("value") for one in entry.iter("attribute")}
        for entry in root.iter("object")
    ]
    assert said == [{}, {}, {}, {"proposed": "true", "score": "0.75", "fdr": "0.125"}]


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    made = proposals(tmp_path, annotated=ANNOTATED | {"lost.png": [], "a.jpg": []})
    (tmp_path / "my images" / "lost.png").unlink()
    written = write_preannotations(made, tmp_path / "pre")
    assert [path.name for path in written][-1] == "label_studio.xml"
    assert not (tmp_path / "pre" / "yolo").exists()
    assert set(of_cvat(tmp_path / "pre" / "cvat.xml")) == {*ANNOTATED, "a.jpg"}
    told = (tmp_path / "pre" / "README.txt").read_text()
    assert "Left out: 1 crowds, which only Pascal VOC can tell from objects (difficult)\n" in told
    assert (
        f"Left out: 1 images that cannot be used, such as {tmp_path / 'my images' / 'lost.png'}: no such image" in told
    )
    assert f"Left out: YOLO and Pascal VOC ({tmp_path / 'mine.json'}: a.png and a.jpg would share one" in told


def test_a_box_that_reaches_past_its_image_is_cut(tmp_path: Path) -> None:
    """Label Studio refuses a whole file for one share beyond 100%."""
    write_preannotations(proposals(tmp_path, annotated={"a.png": [(0, (-1, -0.5, 41.5, 31), 0)]}), tmp_path / "pre")
    assert of_cvat(tmp_path / "pre" / "cvat.xml")["a.png"][0] == (NAMES[0], (0, 0, 40, 30))
    assert of_label_studio(tmp_path / "pre" / "label_studio.json")["a.png"][0] == (NAMES[0], (0, 0, 40, 30))


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "pre").write_text("a file")
    with pytest.raises(UserError, match=r"pre: cannot be written .*; free space or name another folder"):
        write_preannotations(proposals(tmp_path), tmp_path / "pre")


def test_datumaro_reads_the_same_boxes(tmp_path: Path) -> None:
    """It is what CVAT imports most formats with."""
    datumaro = pytest.importorskip("datumaro", reason="datumaro is not installed (siod[datumaro])")
    write_preannotations(proposals(tmp_path), tmp_path / "pre")
    (tmp_path / "cvat").mkdir()
    shutil.copy(tmp_path / "pre" / "cvat.xml", tmp_path / "cvat")
    (tmp_path / "cvat" / "images").symlink_to(tmp_path / "my images")
    (tmp_path / "pre" / "voc" / "JPEGImages").symlink_to(tmp_path / "my images")
    colours = "# label:color_rgb:parts:actions\n" + "".join(f"{name}:::\n" for name in NAMES)
    (tmp_path / "pre" / "voc" / "labelmap.txt").write_text(colours)
    for folder, kind in ((tmp_path / "cvat", "cvat"), (tmp_path / "pre" / "voc", "voc_detection")):
        dataset = datumaro.Dataset.import_from(str(folder), kind)
        names = [item.name for item in dataset.categories()[datumaro.AnnotationType.label]]
        found = {item.id: [(names[one.label], one.get_bbox()) for one in item.annotations] for item in dataset}
        # Its frame of Pascal VOC counts pixels from 0 and keeps the first one as it is written, from 1.
        expected = all_boxes(crowds=kind != "cvat").items()
        offset = 0 if kind == "cvat" else 1
        assert {id_: [name for name, _ in boxes] for id_, boxes in found.items()} == {
            name.rpartition(".")[0]: [label for label, _ in boxes] for name, boxes in expected
        }
        for name, boxes in expected:
            corners = [(x + offset, y + offset, width - offset, height - offset) for _, (x, y, width, height) in boxes]
            assert [one for _, one in found[name.rpartition(".")[0]]] == [pytest.approx(one) for one in corners]
        proposed = [one for item in dataset for one in item.annotations if one.attributes.get("proposed")]
        assert [float(one.attributes["score"]) for one in proposed] == [0.75, 0.5]
