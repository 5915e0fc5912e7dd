#!/usr/bin/env bash
# globox 2.9.0 and supervision 0.31.2
#
# Behaviour: of one COCO box [10, 20, 30, 15] globox writes Pascal VOC as xmin 10, ymin 20, xmax 40, ymax 35 (edges, counted
# from 0), supervision as 11, 21, 40, 35 (pixels counted from 1, the last one included).
# Why one would guess otherwise: both write "Pascal VOC", whose own files count pixels from 1; nothing in the file says which
# was meant, and a reader that takes one for the other shifts and enlarges every box by a pixel without an error.
#
# Output seen:
#   globox:      [10.0, 20.0, 40.0, 35.0]
#   supervision: [11.0, 21.0, 40.0, 35.0]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet globox==2.9.0 supervision==0.31.2
cd "$work"
"$work/venv/bin/python" - <<'PY' 2> "$work/log" || { tail -5 "$work/log"; exit 1; }
import json
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import supervision
from globox import AnnotationSet
from PIL import Image

coco = {
    "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
    "categories": [{"id": 1, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 15], "area": 450, "iscrowd": 0}],
}
Path("in.json").write_text(json.dumps(coco))
Path("images").mkdir()
Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save("images/a.png")


def corners(path: str) -> list[float]:
    return [float(ET.parse(path).findtext(f".//{name}")) for name in ("xmin", "ymin", "xmax", "ymax")]


AnnotationSet.from_coco(Path("in.json")).save_pascal_voc(Path("globox"))
loaded = supervision.DetectionDataset.from_coco(images_directory_path="images", annotations_path="in.json")
loaded.as_pascal_voc(annotations_directory_path="supervision")
found = {"globox": corners("globox/a.xml"), "supervision": corners("supervision/a.xml")}
for name, box in found.items():
    print(f"{name + ':':<12} {box}")
assert found == {"globox": [10, 20, 40, 35], "supervision": [11, 21, 40, 35]}, found
PY
