#!/usr/bin/env bash
# pycocotools 2.0.11, faster-coco-eval 1.8.0 and hotcoco 1.3.0
#
# Behaviour: of five perfect detections pycocotools and faster-coco-eval find all when annotation ids count from 1. When they
# count from 0, the object with id 0 is never found and AP falls from 1.0 to 0.64; hotcoco finds it. When ids are negative,
# pycocotools finds all and faster-coco-eval none.
# Why one would guess otherwise: an id only names an annotation, and nothing in COCO's description of the format keeps 0 from
# being one. Label Studio, globox and pylabel write ids from 0, and a file of ten boxes loses a tenth of its truth.
#
# Output seen:
#   ids from 1:  pycocotools 1.00, faster-coco-eval 1.00, hotcoco 1.00
#   ids from 0:  pycocotools 0.64, faster-coco-eval 0.64, hotcoco 1.00
#   ids from -5: pycocotools 1.00, faster-coco-eval 0.00, hotcoco ValueError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pycocotools==2.0.11 faster-coco-eval==1.8.0 hotcoco==1.3.0
cd "$work"
"$work/venv/bin/python" - <<'PY' 2> "$work/log" || { tail -5 "$work/log"; exit 1; }
import contextlib
import io
import json
from pathlib import Path

import faster_coco_eval
import hotcoco
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def truth(first: int) -> dict:
    boxes = [[12 * place, 10, 8, 8] for place in range(5)]
    return {
        "images": [{"id": 1, "file_name": "a.png", "width": 100, "height": 100}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": first + place, "image_id": 1, "category_id": 1, "bbox": box, "area": 64, "iscrowd": 0}
            for place, box in enumerate(boxes)
        ],
    }


def average_precision(first: int, coco: type, evaluation: type) -> str:
    document = truth(first)
    found = [{"image_id": 1, "category_id": 1, "bbox": entry["bbox"], "score": 0.9} for entry in document["annotations"]]
    Path("truth.json").write_text(json.dumps(document))
    Path("found.json").write_text(json.dumps(found))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            annotated = coco("truth.json")
            load = getattr(annotated, "loadRes", None) or annotated.load_res
            judged = evaluation(annotated, load("found.json"), "bbox")
            judged.evaluate()
            judged.accumulate()
            judged.summarize()
    except ValueError as error:
        return type(error).__name__
    return f"{judged.stats[0]:.2f}"


tools = {
    "pycocotools": (COCO, COCOeval),
    "faster-coco-eval": (faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster),
    "hotcoco": (hotcoco.COCO, hotcoco.COCOeval),
}
seen = {first: {name: average_precision(first, *tool) for name, tool in tools.items()} for first in (1, 0, -5)}
for first, figures in seen.items():
    print(f"ids from {first}:".ljust(13) + ", ".join(f"{name} {figure}" for name, figure in figures.items()))
assert [list(figures.values()) for figures in seen.values()] == [
    ["1.00", "1.00", "1.00"],
    ["0.64", "0.64", "1.00"],
    ["1.00", "0.00", "ValueError"],
], seen
PY
