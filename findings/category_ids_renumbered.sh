#!/usr/bin/env bash
# supervision 0.31.2, datumaro 1.13.12 and globox 2.9.0
#
# Behaviour: read a COCO file whose categories have the ids 3 and 7 and write it again as COCO: supervision and datumaro give
# the categories the ids 1 and 2, globox keeps 3 and 7. supervision numbers the images anew as well, datumaro keeps theirs.
# Why one would guess otherwise: COCO's own categories have gaps (1 to 90 for 80 of them), and the ids are what results files,
# trained models and the other split refer to. No message says that they changed: detections made for the file as it was are
# judged against another category, or against another image, without an error.
#
# Output seen:
#   in:          categories [3, 7], images [5, 9]
#   supervision: categories [1, 2], images [1, 2]
#   datumaro:    categories [1, 2], images [5, 9]
#   globox:      categories [3, 7], images [5, 9]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet supervision==0.31.2 datumaro==1.13.12 globox==2.9.0
cd "$work"
"$work/venv/bin/python" - <<'PY' 2> "$work/log" || { tail -5 "$work/log"; exit 1; }
import json
from pathlib import Path

import numpy as np
import supervision
from datumaro import Dataset
from globox import AnnotationSet
from PIL import Image

box = {"bbox": [10, 20, 30, 15], "area": 450, "iscrowd": 0, "segmentation": []}
coco = {
    "images": [{"id": 5, "file_name": "a.png", "width": 64, "height": 48}]
    + [{"id": 9, "file_name": "b.png", "width": 64, "height": 48}],
    "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
    "annotations": [{"id": 1, "image_id": 5, "category_id": 3, **box}, {"id": 2, "image_id": 9, "category_id": 7, **box}],
}
annotations, images = Path("set/annotations/instances_train.json"), Path("set/images")
annotations.parent.mkdir(parents=True)
images.mkdir()
annotations.write_text(json.dumps(coco))
for name in ("a.png", "b.png"):
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(images / name)

loaded = supervision.DetectionDataset.from_coco(images_directory_path=str(images), annotations_path=str(annotations))
loaded.as_coco(annotations_path="supervision.json")
Dataset.import_from("set", "coco").export("datumaro", "coco_instances")
AnnotationSet.from_coco(annotations).save_coco(Path("globox.json"))


def ids(path: Path) -> tuple[list[int], list[int]]:
    document = json.loads(path.read_text())
    by_name = [sorted(document[section], key=lambda entry: str(entry.get("name", entry.get("file_name")))) for section in
               ("categories", "images")]
    return [entry["id"] for entry in by_name[0]], [entry["id"] for entry in by_name[1]]


seen = {
    "in": ids(annotations),
    "supervision": ids(Path("supervision.json")),
    "datumaro": ids(Path("datumaro/annotations/instances_train.json")),
    "globox": ids(Path("globox.json")),
}
for name, (categories, numbers) in seen.items():
    print(f"{name + ':':<12} categories {categories}, images {numbers}")
kept, anew = [3, 7], [1, 2]
assert seen == {
    "in": (kept, [5, 9]),
    "supervision": (anew, [1, 2]),
    "datumaro": (anew, [5, 9]),
    "globox": (kept, [5, 9]),
}, seen
PY
