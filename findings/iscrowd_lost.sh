#!/usr/bin/env bash
# globox 2.9.0 and sahi 0.12.8
#
# Behaviour: read a COCO file with a crowd region and write it again as COCO: both write iscrowd 0, so the crowd becomes an
# ordinary object. globox counts the new annotation ids from 0.
# Why one would guess otherwise: both read and write the same format, `iscrowd` is one of its five required fields, and the
# files they write have the field. Evaluation then expects one detection for the whole crowd and counts all others as false,
# and an annotation with id 0 is never found by pycocotools.
#
# Output seen:
#   in:     ids [1, 2], iscrowd [0, 1]
#   globox: ids [0, 1], iscrowd [0, 0]
#   sahi:   ids [1, 2], iscrowd [0, 0]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet globox==2.9.0 sahi==0.12.8
cd "$work"
"$work/venv/bin/python" - <<'PY' 2> "$work/log" || { tail -5 "$work/log"; exit 1; }
import json
from pathlib import Path

from globox import AnnotationSet
from PIL import Image
from sahi.utils.coco import Coco

coco = {
    "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
    "categories": [{"id": 1, "name": "cat"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 15], "area": 450, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [5, 5, 8, 8], "area": 64, "iscrowd": 1},
    ],
}
Path("in.json").write_text(json.dumps(coco))
Image.new("RGB", (64, 48)).save("a.png")
AnnotationSet.from_coco(Path("in.json")).save_coco(Path("globox.json"))
written = Coco.from_coco_dict_or_path("in.json", image_dir=".").json
Path("sahi.json").write_text(json.dumps(written))


def told(path: str) -> tuple[list[int], list[int]]:
    annotations = json.loads(Path(path).read_text())["annotations"]
    return [entry["id"] for entry in annotations], [entry["iscrowd"] for entry in annotations]


found = {name: told(f"{name}.json") for name in ("in", "globox", "sahi")}
for name, (ids, crowds) in found.items():
    print(f"{name + ':':<7} ids {ids}, iscrowd {crowds}")
assert found == {"in": ([1, 2], [0, 1]), "globox": ([0, 1], [0, 0]), "sahi": ([1, 2], [0, 0])}, found
PY
