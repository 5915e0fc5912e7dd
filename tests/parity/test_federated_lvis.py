"""Federated sets are judged as LVIS's own code judges them (lvis-api, not installed by default)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siod.evaluation.score_aware import evaluate_files

lvis = pytest.importorskip("lvis", reason="lvis is not installed")

THEIRS = {
    "AP": "ap_s0",
    "AP50": "ap50_s0",
    "AP75": "ap75_s0",
    "APs": "ap_small_s0",
    "APm": "ap_medium_s0",
    "APl": "ap_large_s0",
}


def problem(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Four images of five categories, most of them neither listed nor shown."""
    rng = np.random.default_rng(seed)
    boxes = [[*map(float, rng.integers(0, 60, 2)), *map(float, rng.integers(8, 120, 2))] for _ in range(12)]
    annotations = [
        {"id": n, "image_id": int(rng.integers(1, 5)), "category_id": int(rng.integers(1, 6)), "bbox": box,
         "area": box[2] * box[3], "segmentation": [[0, 0, 1, 0, 1, 1]]}
        for n, box in enumerate(boxes, start=1)
    ]  # fmt: skip
    images = []
    for image in range(1, 5):
        shown = {entry["category_id"] for entry in annotations if entry["image_id"] == image}
        absent = [category for category in range(1, 6) if category not in shown and rng.random() < 0.4]
        open_ones = [category for category in sorted(shown) if rng.random() < 0.3]
        images.append({"id": image, "height": 200, "width": 200, "neg_category_ids": absent,
                       "not_exhaustive_category_ids": open_ones})  # fmt: skip
    categories = [{"id": category, "name": f"c{category}", "frequency": "f"} for category in range(1, 6)]
    found = []
    for score in (np.arange(1, 61) / 64)[rng.permutation(60)].tolist():
        near = boxes[int(rng.integers(len(boxes)))]
        found.append({
            "image_id": int(rng.integers(1, 5)), "category_id": int(rng.integers(1, 6)), "score": score,
            "bbox": [float(max(side + rng.integers(-3, 4), 1)) for side in near],
        })  # fmt: skip
    exact = [
        {**{field: entry[field] for field in ("image_id", "category_id", "bbox")}, "score": float(rng.random())}
        for entry in annotations
    ]
    return {"images": images, "annotations": annotations, "categories": categories}, found + exact


@pytest.mark.parametrize("seed", range(20))
def test_the_figures_are_those_of_lvis(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "float", float, raising=False)  # its last release is older than numpy 1.24
    truth, found = problem(seed)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(found))
    theirs = lvis.LVISEval(str(tmp_path / "truth.json"), str(tmp_path / "found.json"), "bbox")
    theirs.run()
    ours = evaluate_files(tmp_path / "truth.json", tmp_path / "found.json").metrics()
    for name, own in THEIRS.items():
        expected = float(theirs.results[name])
        assert ours[own] == pytest.approx(expected, abs=1e-12) or (expected == -1 and not ours[own] >= 0)
