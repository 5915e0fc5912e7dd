"""Folders of other tools become a folder that training reads: recognised, checked, joined, divided, written whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from folders import coco_file, found_in, imported, lists, picture, roboflow, ten_cells, voc, written, yolo
from PIL import Image

from siod.data import coco
from siod.data.annotation_sets import Full
from siod.data.formats.found import read_sources
from siod.data.formats.importing import ImportRequest, import_found
from siod.data.formats.recognise import recognise
from siod.data.formats.splitting import Shares
from siod.data.source import CocoFolder, prepare
from siod.errors import UserError


@pytest.mark.parametrize(("annotations", "images"), [("annotations", "images"), ("Annotations", "."), ("x", "x")])
def test_voc_files_lie_beside_their_images_in_several_ways(tmp_path: Path, annotations: str, images: str) -> None:
    cells = ten_cells(tmp_path / "made")
    for place, folder in (("Annotations", annotations), ("JPEGImages", images)):
        for path in (cells / place).iterdir():
            (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
            path.rename(tmp_path / "set" / folder / path.name)
    assert len(found_in(tmp_path / "set").origins) == 10


def test_ten_voc_images_go_in_and_training_reads_what_comes_out(tmp_path: Path) -> None:
    made = imported(tmp_path / "cells", ten_cells(tmp_path / "source"), command="siod data import source --out cells")
    prepared = prepare(CocoFolder(root=tmp_path / "cells"), Full(), tmp_path / "cache")
    assert prepared.category_names == ("red", "white")
    train, val = coco.read(prepared.train), coco.read(prepared.val)
    assert len(train.images) + len(val.images) == 10
    assert made.images == {"train": len(train.images), "val": len(val.images)}
    assert {name: sum(counts.values()) for name, counts in made.boxes.items()} == {"red": 10, "white": 5}
    # VOC counts from 1 and holds the last pixel: 1 to 4 are 0 to 4, 6 to 15 are 5 to 15.
    boxes = {tuple(box) for dataset in (train, val) for box in dataset.boxes_xywh.tolist()}
    assert boxes == {(0, 0, 4, 4), (5, 1, 10, 8)}
    assert set(val.labels) == set(train.labels) == {0, 1}
    for dataset, folder in ((train, prepared.train_images), (val, prepared.val_images)):
        for record in dataset.raw["images"]:
            source = tmp_path / record["source_file"]
            assert source == tmp_path / "source" / "JPEGImages" / record["file_name"]
            assert (folder / record["file_name"]).read_bytes() == source.read_bytes()
    account = train.info()["import"]
    assert account["command"] == "siod data import source --out cells"
    assert account["sources"] == [
        {"path": str(tmp_path / "source"), "format": "voc", "images": 10, "infos": []},
    ]
    assert {"seed", "val", "test", "group"} == set(account["split"])


def test_lists_of_a_voc_folder_are_its_splits_wherever_it_lies(tmp_path: Path) -> None:
    root = ten_cells(tmp_path / "up" / "VOCdevkit" / "VOC2007")
    lists(root, train=["c0", "c1"], val=["c2", "c3 1"], test=["c5"], trainval=["c0", "c1", "c2", "c3"])
    layout = recognise(tmp_path / "up")
    assert layout.sentences() == [
        f"{tmp_path / 'up'}: Pascal VOC",
        "    {0}/Annotations with the images of {0}/JPEGImages, listed for train 2, val 2, test 1".format(
            "VOCdevkit/VOC2007"
        ),
    ]
    found = read_sources([layout])
    import_found(found, ImportRequest(out=tmp_path / "out"))
    names = {
        split: [image.file_name for image in written(tmp_path / "out", split).images] for split in ("train", "val")
    }
    assert names == {"train": ["c0.png", "c1.png"], "val": ["c2.png", "c3.png"]}
    assert [image.file_name for image in written(tmp_path / "out", "test").images] == ["c5.png"]
    assert any("5 images are in no list of a split and were left out" in remark for remark in found.remarks())
    with pytest.raises(UserError, match="the sources have splits; divide anew with --new-split"):
        import_found(found, ImportRequest(out=tmp_path / "other", shares=Shares()))
    assert not (tmp_path / "other").exists()


def test_where_only_trainval_and_test_are_listed_validation_comes_out_of_training(tmp_path: Path) -> None:
    root = ten_cells(tmp_path / "source")
    lists(root, trainval=[f"c{number}" for number in range(8)], test=["c8", "c9"])
    made = imported(tmp_path / "out", root, shares=Shares(val=0.4))
    assert made.images["test"] == 2
    assert made.images["train"] + made.images["val"] == 8
    assert {image.file_name for image in written(tmp_path / "out", "test").images} == {"c8.png", "c9.png"}


def test_a_list_that_names_an_image_twice_is_refused(tmp_path: Path) -> None:
    lists(ten_cells(tmp_path), train=["c0"], val=["c0"])
    with pytest.raises(UserError, match=r"val\.txt: lists c0, which train has too"):
        recognise(tmp_path)


@pytest.mark.parametrize("entry", ["../{}/images", "{}/images", "/elsewhere/{}/images", "{}"])
def test_data_yaml_leads_to_the_images_as_roboflow_and_others_write_it(tmp_path: Path, entry: str) -> None:
    root = tmp_path / "source"
    yolo(root / "train", "a", "1 .5 .5 .5 .4")
    yolo(root / "valid", "b", "0 .5 .5 .5 .4", "1 .5 .5 .1 .1", shade=1)
    lines = [f"{split}: {entry.format(name)}" for split, name in (("train", "train"), ("val", "valid"))]
    (root / "data.yaml").write_text("\n".join([*lines, "test: ../test/images", "names: [cat, dog]"]))
    layout = recognise(root)
    assert [(part.split, part.images, part.annotations) for part in layout.parts] == [
        ("train", root / "train" / "images", root / "train" / "labels"),
        ("val", root / "valid" / "images", root / "valid" / "labels"),
    ]
    assert layout.remarks == (f"{root / 'data.yaml'}: test: ../test/images is not there",)
    made = import_found(read_sources([layout]), ImportRequest(out=tmp_path / "out"))
    assert made.boxes == {"cat": {"train": 0, "val": 1, "test": 0}, "dog": {"train": 1, "val": 1, "test": 0}}
    assert "1 categories have boxes, but none in train: cat" in made.remarks
    assert written(tmp_path / "out", "train").boxes_xywh.tolist() == [[5, 3, 10, 4]]


def test_data_yaml_may_list_images_in_text_files(tmp_path: Path) -> None:
    for number in range(3):
        yolo(tmp_path, f"a{number}", "0 .5 .5 .5 .4", shade=number)
    (tmp_path / "train.txt").write_text("./images/a0.png\n./images/a1.png\n")
    (tmp_path / "val.txt").write_text("./images/a2.png\n")
    (tmp_path / "data.yaml").write_text("train: train.txt\nval: val.txt\nnames: {0: cat}\n")
    imported(tmp_path / "out", tmp_path / "data.yaml")
    assert [image.file_name for image in written(tmp_path / "out", "train").images] == ["a0.png", "a1.png"]
    assert [image.file_name for image in written(tmp_path / "out", "val").images] == ["a2.png"]


def test_yolo_without_names_of_classes_is_refused_and_with_classes_txt_read(tmp_path: Path) -> None:
    root = tmp_path / "source"
    for number, split in enumerate(("train", "val")):
        picture(root / "images" / split / "a.png", number)
        (root / "labels" / split).mkdir(parents=True)
        (root / "labels" / split / "a.txt").write_text("0 .5 .5 .5 .4")
    with pytest.raises(UserError, match=r"looks like YOLO .* but nothing names the classes; add classes\.txt"):
        recognise(root)
    (root / "labels" / "classes.txt").write_text("cat\n")
    assert imported(tmp_path / "out", root).images == {"train": 1, "val": 1}


@pytest.mark.parametrize("several", [True, False])
def test_class_lists_of_several_yolo_folders_are_joined_by_name(tmp_path: Path, *, several: bool) -> None:
    one, two = tmp_path / "train", tmp_path / "val"
    yolo(one, "a", "0 .5 .5 .5 .4")
    yolo(two, "b", "0 .5 .5 .5 .4", "1 .5 .5 .1 .2", shade=1)
    (one / "classes.txt").write_text("cat\ndog\n")
    (two / "classes.txt").write_text("dog\ncat\n")
    found = found_in(one, two) if several else found_in(tmp_path)
    names = {category["id"]: category["name"] for category in found.joined.categories}
    boxes = [(entry["image_id"], names[entry["category_id"]]) for entry in found.joined.annotations]
    assert boxes == [(1, "cat"), (2, "dog"), (2, "cat")]


def test_a_yolo_folder_without_a_class_list_takes_no_one_of_several(tmp_path: Path) -> None:
    for number, name in enumerate(("train", "val", "test")):
        yolo(tmp_path / name, "a", "0 .5 .5 .5 .4", shade=number)
    (tmp_path / "train" / "classes.txt").write_text("cat\ndog\n")
    assert {part.names for part in recognise(tmp_path).parts} == {tmp_path / "train" / "classes.txt"}
    (tmp_path / "val" / "classes.txt").write_text("dog\ncat\n")
    with pytest.raises(UserError, match=r"test/labels: nothing names its classes, and other folders have different"):
        recognise(tmp_path)


def test_a_roboflow_export_keeps_its_splits_ids_and_empty_images(tmp_path: Path) -> None:
    roboflow(tmp_path / "source")
    found = found_in(tmp_path / "source")
    made = import_found(found, ImportRequest(out=tmp_path / "out"))
    assert made.images == {"train": 2, "val": 2, "test": 2}
    assert made.boxes == {"cat": {"train": 2, "val": 2, "test": 1}}
    test = written(tmp_path / "out", "test")
    assert [image.file_name for image in test.images] == ["a.png", "b.png"]
    assert test.boxes_xywh.tolist() == [[1, 2, 3, 4]]
    (annotation,) = test.raw["annotations"]
    assert annotation["source_id"] == 0
    assert annotation["id"] != 0
    assert annotation["score"] == 0.5
    record = test.raw["images"][1]
    assert (record["source_id"], record["source_file"], record["made"]) == (1, "source/test/b.png", "by hand")
    ids = [image.id for split in ("train", "val", "test") for image in written(tmp_path / "out", split).images]
    assert sorted(ids) == [1, 2, 3, 4, 5, 6]
    (group,) = [remark for remark in found.remarks() if "pets" in remark]
    assert group.endswith("category 'pets' is the group of all others and has no box; it was left out")


@pytest.mark.parametrize(
    ("file", "image", "named"),
    [
        ("annotations/instances_train2017.json", "train2017/a.png", "a.png"),
        ("annotations/instances_default.json", "images/a.png", "a.png"),
        ("annotations/instances_default.json", "images/default/a.png", "a.png"),
        ("result.json", "images/a.png", "images\\a.png"),
        ("result.json", "images/a.png", "../../label-studio/data/upload/1/a.png"),
        ("via_export_coco.json", "a.png", "a.png"),
        ("via_export_coco.json", "images/deep/a.png", "C:\\photos\\deep\\a.png"),
    ],
)
def test_the_images_of_a_coco_file_are_found_as_tools_place_them(
    tmp_path: Path, file: str, image: str, named: str
) -> None:
    root = tmp_path / "source"
    coco_file(root / file, {named: [[1, 2, 3, 4]]})
    picture(root / image)
    for source in (root, root / file):
        found = found_in(source)
        assert [origin.file for origin in found.origins] == [root / image]
        assert found.defects() == []
        assert len(found.joined.annotations) == 1


def test_names_that_could_be_one_file_are_refused(tmp_path: Path) -> None:
    coco_file(tmp_path / "result.json", {"x/a.png": [], "y/a.png": [[1, 2, 3, 4]]})
    picture(tmp_path / "images" / "a.png")
    with pytest.raises(UserError, match=r"x/a\.png and y/a\.png could both be a\.png"):
        found_in(tmp_path)


def test_two_files_about_the_same_images_are_refused_by_name(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    for name in ("new.json", "old.json"):
        coco_file(tmp_path / name, {"a.png": []})
    with pytest.raises(UserError, match=r"new\.json and .*old\.json: are both about the images of .*images"):
        recognise(tmp_path)


def test_what_is_no_data_set_or_could_be_two_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        recognise(tmp_path / "gone")
    with pytest.raises(UserError, match=r"no annotations that siod knows; looked for Pascal VOC .* YOLO .* COCO"):
        recognise(tmp_path)
    ten_cells(tmp_path)
    assert recognise(tmp_path).format == "voc"
    yolo(tmp_path, "a")
    (tmp_path / "classes.txt").write_text("red\n")
    with pytest.raises(UserError, match="could be Pascal VOC and YOLO; say which with --format voc"):
        recognise(tmp_path)
    assert recognise(tmp_path, "yolo").format == "yolo"


def test_sources_are_joined_by_names_of_categories_and_their_images_kept_apart(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for root, first, shade in ((one, "cat", 0), (two, "dog ", 100)):
        for number in range(6):
            voc(root, f"i{number}", (first, (1, 1, 4, 4)), ("Bird" if root == two else "bird", (6, 2, 15, 9)))
            picture(root / "JPEGImages" / f"i{number}.png", shade + number)
    picture(two / "JPEGImages" / "i0.png", 0)  # the very image of the other folder
    found = found_in(one, two)
    assert [category["name"] for category in found.joined.categories] == ["bird", "cat", "Bird", "dog"]
    told = "\n".join(found.remarks())
    assert "categories 'bird', 'Bird' are told apart" in told
    assert "1 images have the same content as another, such as one/i0.png and two/i0.png; all are kept" in told
    imported(tmp_path / "out", one, two)
    names = [image.file_name for split in ("train", "val") for image in written(tmp_path / "out", split).images]
    assert len(names) == len(set(names)) == 12
    both = {name.removeprefix("two/") for name in names}
    assert both == {f"i{number}.png" for number in range(6)}
    for split in ("train", "val"):
        for record in written(tmp_path / "out", split).raw["images"]:
            copied = tmp_path / "out" / split / record["file_name"]
            assert copied.read_bytes() == (tmp_path / record["source_file"]).read_bytes()


def test_images_that_do_not_decode_are_named_and_left_out_or_refused(tmp_path: Path) -> None:
    root = ten_cells(tmp_path / "source")
    broken = root / "JPEGImages" / "c3.png"
    Image.effect_noise((20, 10), 90).save(broken, "JPEG")
    broken.write_bytes(broken.read_bytes()[:-40])  # opens, and does not decode
    (root / "JPEGImages" / "c4.png").write_bytes(b"none")
    (defect,) = found_in(root).defects()
    assert (defect.kind, defect.count) == ("image-unreadable", 1)
    assert "c3.png" in defect.examples[0]
    (remark,) = [remark for remark in found_in(root).remarks() if "cannot be used" in remark]
    assert "1 images that cannot be used were left out" in remark
    assert "c4.png: does not open as an image" in remark
    assert sum(imported(tmp_path / "out", root).images.values()) == 8
    with pytest.raises(UserError, match=r"does not decode .*c3\.png.*; correct it, or let --defects repair"):
        imported(tmp_path / "refused", root, defects="refuse")
    with pytest.raises(UserError, match=r"c4\.png: does not open as an image"):
        found_in(root, defects="refuse")
    assert not (tmp_path / "refused").exists()


def test_boxes_without_area_are_one_rule_for_all_formats(tmp_path: Path) -> None:
    voc(tmp_path / "voc", "a", ("cat", (5, 5, 4, 9)), ("cat", (1, 1, 4, 4)))
    yolo(tmp_path / "yolo", "a", "0 .5 .5 0 .1", "0 .5 .5 .5 .4")
    (tmp_path / "yolo" / "classes.txt").write_text("cat\n")
    coco_file(tmp_path / "coco" / "result.json", {"a.png": [[4, 4, 0, 5], [0, 0, 4, 4]]})
    picture(tmp_path / "coco" / "a.png")
    for source in (tmp_path / "voc", tmp_path / "yolo", tmp_path / "coco"):
        assert len(found_in(source).joined.annotations) == 1
        with pytest.raises(UserError, match="no area"):
            import_found(found_in(source, defects="refuse"), ImportRequest(out=tmp_path / "out", defects="refuse"))


def test_links_lead_to_the_images_and_a_failure_leaves_nothing(tmp_path: Path) -> None:
    root = ten_cells(tmp_path / "source")
    imported(tmp_path / "out", root, link=True)
    links = [path for split in ("train", "val") for path in (tmp_path / "out" / split).iterdir()]
    assert {path.resolve() for path in links} == set((root / "JPEGImages").iterdir())
    assert all(path.is_symlink() for path in links)
    prepare(CocoFolder(root=tmp_path / "out"), Full(), tmp_path / "cache")
    found = found_in(root)
    (root / "JPEGImages" / "c9.png").unlink()
    with pytest.raises(UserError, match="cannot be written"):
        import_found(found, ImportRequest(out=tmp_path / "half"))
    assert {path.name for path in tmp_path.iterdir()} == {"source", "out", "cache"}


def test_a_split_that_would_have_no_boxes_is_refused(tmp_path: Path) -> None:
    root = ten_cells(tmp_path / "source")
    voc(root, "bare", shade=77)
    lists(root, train=["c0"], val=["bare"])
    with pytest.raises(UserError, match="val would have no boxes; try --new-split"):
        imported(tmp_path / "out", root)
    assert imported(tmp_path / "out", root, anew=True).images["val"] >= 1


def test_images_learnt_from_and_judged_by_are_told(tmp_path: Path) -> None:
    root = ten_cells(tmp_path / "source")
    voc(root, "copy", ("red", (1, 1, 4, 4)), ("white", (6, 2, 15, 9)), shade=1)  # c1 under another name
    lists(root, train=["c0", "c1"], val=["c3", "copy"])
    (leak,) = [remark for remark in imported(tmp_path / "out", root).remarks if "judged" in remark]
    assert leak.startswith("1 images are in train and judged by as well")
    for seed in range(6):
        out = tmp_path / f"seed{seed}"
        made = imported(out, root, anew=True, shares=Shares(val=0.5, seed=seed))
        assert not [remark for remark in made.remarks if "judged" in remark]
        names = {image.file_name for image in written(out, "val").images}
        assert ("c1.png" in names) == ("copy.png" in names)


def test_what_was_written_can_be_imported_again(tmp_path: Path) -> None:
    imported(tmp_path / "out", ten_cells(tmp_path / "source"))
    imported(tmp_path / "again", tmp_path / "out")
    for split in ("train", "val"):
        first, second = written(tmp_path / "out", split), written(tmp_path / "again", split)
        assert [image.file_name for image in first.images] == [image.file_name for image in second.images]
        assert first.boxes_xywh.tolist() == second.boxes_xywh.tolist()
        assert first.categories == second.categories
