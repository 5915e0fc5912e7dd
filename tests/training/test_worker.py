"""Ray Train workers run the same loop, report every epoch and leave the same results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from siod.data.source import PreparedData
from siod.json_file import read_json
from siod.training.experiment import Experiment
from siod.training.run import train


class WriteDown:
    """A listener for another process: notes each epoch, and whether it was told its losses, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, epoch: int, metrics: Mapping[str, float]) -> None:
        with self.path.open("a") as notes:
            notes.write(f"{epoch} {'train/loss' in metrics}\n")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_two_ray_train_workers_leave_what_one_process_leaves(
    small: Experiment, small_data: PreparedData, tmp_path: Path, cache_dir: Path
) -> None:
    experiment = small.with_changes({"detector.norm": "frozen"})
    alone = train(experiment, small_data, tmp_path / "one", cache_dir=cache_dir)
    two = experiment.with_changes({"compute": {"workers": 2, "cpus_per_worker": 0.5}})
    heard = tmp_path / "heard"
    together = train(two, small_data, tmp_path / "two", cache_dir=cache_dir, listener=WriteDown(heard))
    assert heard.read_text() == "1 True\n2 True\n"
    assert together["epochs"] == 2
    for name in ("train/heatmap", "train/size", "train/offset", "train/pgcl"):
        assert together[name] == pytest.approx(alone[name], rel=0.02)
    assert (
        read_json(tmp_path / "two" / "experiment.json")["identity"]
        == (read_json(tmp_path / "one" / "experiment.json")["identity"])
    )
    one_detections = read_json(tmp_path / "one" / "detections.json")
    two_detections = read_json(tmp_path / "two" / "detections.json")
    assert {found["image_id"] for found in two_detections} == {found["image_id"] for found in one_detections}
