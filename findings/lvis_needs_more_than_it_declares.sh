#!/usr/bin/env bash
# lvis 0.5.3 with numpy 2.4.1 and pycocotools 2.0.11
#
# Behaviour: the evaluation code of LVIS installs without complaint and cannot be imported, because it does not declare
# pycocotools; with that added it imports, reads its files, and fails in the middle of an evaluation on numpy's float,
# an alias that numpy took away in 1.24. With that name put back its figures are sound.
# Why one would guess otherwise: pip resolves it beside the newest numpy without a word, its newest release carries no
# upper bound, and both failures come after installation, the second one after the annotations were read and matched.
#
# Output seen:
#   import alone: ModuleNotFoundError: No module named 'pycocotools'
#   evaluation: AttributeError: module 'numpy' has no attribute 'float'
#   with numpy.float put back: AP 1.0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet lvis==0.5.3 numpy==2.4.1 2> /dev/null
"$work/venv/bin/python" - <<'PY'
try:
    import lvis  # noqa: F401
except ModuleNotFoundError as error:
    print(f"import alone: ModuleNotFoundError: {error}")
    assert error.name == "pycocotools"
else:
    raise SystemExit("it imports: this has changed")
PY
"$work/venv/bin/pip" install --quiet pycocotools==2.0.11 2> /dev/null
cd "$work"
"$work/venv/bin/python" - <<'PY'
import json
import logging

import numpy as np
from lvis import LVISEval

logging.disable(logging.CRITICAL)
box = [10.0, 10.0, 40.0, 40.0]
image = {"id": 1, "width": 100, "height": 100, "neg_category_ids": [], "not_exhaustive_category_ids": []}
annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "area": 1600.0,
              "segmentation": [[10, 10, 50, 10, 50, 50, 10, 50]]}
category = {"id": 1, "name": "cup", "frequency": "f"}
with open("truth.json", "w") as file:
    json.dump({"images": [image], "annotations": [annotation], "categories": [category]}, file)
with open("found.json", "w") as file:
    json.dump([{"image_id": 1, "category_id": 1, "bbox": box, "score": 0.9}], file)
try:
    LVISEval("truth.json", "found.json", "bbox").run()
except AttributeError as error:
    print(f"evaluation: AttributeError: {str(error).splitlines()[0].rstrip('.')}")
    assert "no attribute 'float'" in str(error)
else:
    raise SystemExit("it evaluates: this has changed")
np.float = float
evaluation = LVISEval("truth.json", "found.json", "bbox")
evaluation.run()
print(f"with numpy.float put back: AP {evaluation.results['AP']:.1f}")
assert evaluation.results["AP"] > 0.999
PY
