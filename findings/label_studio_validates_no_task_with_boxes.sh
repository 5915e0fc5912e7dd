#!/usr/bin/env bash
# label-studio-sdk 2.1.2
#
# Behaviour: LabelInterface.validate_task answers for tasks without boxes alone. A task with predictions, or with
# annotations, raises a TypeError: the method calls its two fellows without the object that they are to look at. The
# same prediction, given to validate_prediction by itself, is found good; there a rectangle that carries no label at all
# passes too, while one with a label that the configuration does not have is refused.
# Why one would guess otherwise: pre-annotations are what people check before an import, tasks with predictions are the
# documented form of them, and the method names both keys.
#
# Output seen:
#   prediction alone: True
#   task without boxes: True
#   task with predictions: TypeError, missing argument 'prediction'
#   task with annotations: TypeError, missing argument 'annotation'
#   rectangle without a label: True, with an unknown one: False
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet label-studio-sdk==2.1.2 2> /dev/null
"$work/venv/bin/python" - <<'PY'
from label_studio_sdk.label_interface import LabelInterface

interface = LabelInterface("""
<View>
  <Image name="photo" value="$photo"/>
  <RectangleLabels name="box" toName="photo"><Label value="cell"/><Label value="plate"/></RectangleLabels>
</View>
""")


def prediction(labels):
    value = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0, "rectanglelabels": labels}
    region = {"id": "r1", "from_name": "box", "to_name": "photo", "type": "rectanglelabels", "value": value}
    region |= {"original_width": 640, "original_height": 480, "image_rotation": 0}
    return {"model_version": "one", "score": 0.9, "result": [region]}


task = {"data": {"photo": "a.jpg"}}
alone = interface.validate_prediction(prediction(["cell"]))
print("prediction alone:", alone)
print("task without boxes:", interface.validate_task(task))
assert alone is True and interface.validate_task(task) is True
for key, argument in (("predictions", "prediction"), ("annotations", "annotation")):
    try:
        interface.validate_task({**task, key: [prediction(["cell"])]})
    except TypeError as error:
        print(f"task with {key}: TypeError, missing argument {argument!r}")
        assert "missing 1 required positional argument" in str(error) and argument in str(error)
    else:
        raise SystemExit(f"a task with {key} is validated: this has changed")
unlabelled, unknown = (interface.validate_prediction(prediction(labels)) for labels in ([], ["dog"]))
print(f"rectangle without a label: {unlabelled}, with an unknown one: {unknown}")
assert unlabelled is True and unknown is False
PY
