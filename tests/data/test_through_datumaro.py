"""Formats that siod does not know come through datumaro, which is optional, and what it loses is said."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from siod.data.formats.found import read_sources
from siod.data.formats.importing import ImportRequest, import_found
from siod.data.formats.splitting import Shares
from siod.data.formats.through_datumaro import read_by_datumaro
from siod.errors import UserError

if TYPE_CHECKING:
    from siod.data.formats.layouts import Layout

KITTI = "{} 0.0 0 0.0 {} {} {} {} 0 0 0 0 0 0 0\n"


def kitti(root: Path) -> Path:
    """Four images of 20 x 10 px, in each a cell at 2, 1, 8, 6."""
    for number in range(4):
        for name in ("image_2", "label_2"):
            (root / "training" / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), (number, 0, 0)).save(root / "training" / "image_2" / f"{number:06}.png")
        (root / "training" / "label_2" / f"{number:06}.txt").write_text(KITTI.format("Car", 2, 1, 8, 6))
    return root


def read(source: Path, name: str, scratch: Path) -> Layout:
    pytest.importorskip("datumaro", reason="datumaro is not installed (siod[datumaro])")
    return read_by_datumaro(source, name, scratch)


def test_without_datumaro_the_command_that_installs_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datumaro", None)
    with pytest.raises(UserError, match=r"--format datumaro:kitti: .*datumaro.*; pip install 'siod\[datumaro\]'"):
        read_by_datumaro(tmp_path, "kitti", tmp_path)


def test_what_siod_reads_itself_does_not_take_the_detour(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--format datumaro:voc_detection: siod reads it itself; say --format voc"):
        read_by_datumaro(tmp_path, "voc_detection", tmp_path)


def test_a_kitti_folder_keeps_its_boxes_and_the_names_of_its_files(tmp_path: Path) -> None:
    layout = read(kitti(tmp_path / "cars"), "kitti", tmp_path / "scratch")
    assert layout.sentences()[0] == f"{tmp_path / 'cars'}: datumaro:kitti"
    assert "crowds without a mask became ordinary objects" in layout.sentences()[1]
    import_found(read_sources([layout]), ImportRequest(out=tmp_path / "out", shares=Shares(val=0.5)))
    documents = [json.loads(path.read_text()) for path in (tmp_path / "out" / "annotations").iterdir()]
    entries = [entry for document in documents for entry in document["annotations"]]
    assert [entry["bbox"] for entry in entries] == [[2, 1, 6, 5]] * 4
    names = sorted(image["source_file"] for document in documents for image in document["images"])
    assert names == [f"cars/training/image_2/{number:06}.png" for number in range(4)]
    (source,) = documents[0]["info"]["import"]["sources"]
    assert (source["path"], source["format"], source["images"]) == (str(tmp_path / "cars"), "datumaro:kitti", 4)


def test_a_format_that_datumaro_does_not_know_or_find_is_refused(tmp_path: Path) -> None:
    kitti(tmp_path / "cars")
    with pytest.raises(UserError, match=r"datumaro:kiti: datumaro .* has no such format; did you mean 'kitti'"):
        read(tmp_path / "cars", "kiti", tmp_path / "scratch")
    with pytest.raises(UserError, match=r"cars: datumaro .* cannot read it as cvat \(Failed to find dataset"):
        read(tmp_path / "cars", "cvat", tmp_path / "scratch")
