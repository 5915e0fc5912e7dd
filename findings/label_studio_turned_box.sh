#!/usr/bin/env bash
# label-studio-sdk 2.1.2
#
# Behaviour: a rectangle that was turned by 30 degrees in a picture of 200 x 100 px is exported to COCO with the box
# [80, 20, 54.6, 27.3]; the rectangle as it was drawn lies in [90, 20, 44.6, 37.3], and the two overlap by an IoU of 0.63. In
# a square picture the export is right. The two annotations of one task become two images of one file, and image, category
# and annotation ids count from 0.
# Why one would guess otherwise: the annotation holds x, y, width and height in percent of the picture's sides, the angle in
# degrees, and the size of the picture, so everything needed is there. The export turns the corners in percent, where a right
# angle is none unless both sides are equal.
#
# Output seen:
#   200 x 100: exported [80.0, 20.0, 54.6, 27.3], drawn [90.0, 20.0, 44.6, 37.3]
#   100 x 100: exported [40.0, 20.0, 27.3, 27.3], drawn [40.0, 20.0, 27.3, 27.3]
#   images: 2 of 1 file, ids [0, 1]; annotation ids [0, 1]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet label-studio-sdk==2.1.2
cd "$work"
HOME="$work" "$work/venv/bin/python" - <<'PY' 2> "$work/log" || { tail -5 "$work/log"; exit 1; }
import json
import math
from pathlib import Path

from label_studio_sdk.converter import Converter

CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image"><Label value="cat"/>'
    "</RectangleLabels></View>"
)
TURNED = {"x": 50, "y": 20, "width": 20, "height": 20, "rotation": 30, "rectanglelabels": ["cat"]}


def exported(width: int, height: int) -> dict:
    region = {"from_name": "label", "to_name": "image", "type": "rectanglelabels", "value": TURNED}
    region |= {"original_width": width, "original_height": height, "image_rotation": 0}
    annotations = [{"id": who, "completed_by": who, "result": [{"id": str(who), **region}]} for who in (1, 2)]
    folder = Path(f"{width}x{height}")
    (folder / "tasks").mkdir(parents=True)
    task = {"id": 7, "data": {"image": "/data/upload/1/a.png"}, "annotations": annotations}
    (folder / "tasks" / "task.json").write_text(json.dumps([task]))
    converter = Converter(CONFIG, str(folder), download_resources=False)
    converter.convert_to_coco(str(folder / "tasks"), str(folder / "out"), output_image_dir=str(folder / "images"))
    return json.loads((folder / "out" / "result.json").read_text())


def drawn(width: int, height: int) -> list[float]:
    """The box around the rectangle, which is turned about its upper left corner."""
    left, top = TURNED["x"] * width / 100, TURNED["y"] * height / 100
    across, down = TURNED["width"] * width / 100, TURNED["height"] * height / 100
    cosine, sine = math.cos(math.radians(TURNED["rotation"])), math.sin(math.radians(TURNED["rotation"]))
    return [left - down * sine, top, across * cosine + down * sine, across * sine + down * cosine]


def rounded(box: list[float]) -> list[float]:
    return [round(side, 1) for side in box]


seen = {}
for width, height in ((200, 100), (100, 100)):
    document = exported(width, height)
    seen[width] = (rounded(document["annotations"][0]["bbox"]), rounded(drawn(width, height)))
    print(f"{width} x {height}: exported {seen[width][0]}, drawn {seen[width][1]}")
names = {image["file_name"] for image in document["images"]}
ids = [[entry["id"] for entry in document[section]] for section in ("images", "annotations")]
print(f"images: {len(document['images'])} of {len(names)} file, ids {ids[0]}; annotation ids {ids[1]}")
assert seen == {
    200: ([80.0, 20.0, 54.6, 27.3], [90.0, 20.0, 44.6, 37.3]),
    100: ([40.0, 20.0, 27.3, 27.3], [40.0, 20.0, 27.3, 27.3]),
}, seen
assert (len(names), ids) == (1, [[0, 1], [0, 1]]), (names, ids)
PY
