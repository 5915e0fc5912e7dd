"""Ray Train workers run the same loop, report every epoch and leave the same results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from siod.data.source import PreparedData
from siod.json_file import read_json
from siod.training.experiment import Experiment
from siod.training.results import DETECTIONS
from siod.training.run import train
from siod.training.stopping import Stopped, request_stop


class WriteDown:
    """A listener for another process: notes each epoch in a file, and asks for a stop after the first."""

    def __init__(self, notes: Path, run_dir: Path) -> None:
        self.notes, self.run_dir = notes, run_dir

    def __call__(self, epoch: int, metrics: Mapping[str, float]) -> None:
        if not self.notes.exists():
            request_stop(self.run_dir)
        with self.notes.open("a") as notes:
            notes.write(f"{epoch} {'train/loss' in metrics}\n")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_two_stopped_and_resumed_ray_train_workers_leave_what_one_process_leaves(
    small: Experiment, small_data: PreparedData, tmp_path: Path, cache_dir: Path
) -> None:
    experiment = small.with_changes({"detector.norm": "frozen"})
    alone = train(experiment, small_data, tmp_path / "one", cache_dir=cache_dir)
    two = experiment.with_changes({"compute": {"workers": 2, "cpus_per_worker": 0.5}})
    listener = WriteDown(tmp_path / "heard", tmp_path / "two")
    with pytest.raises(Stopped, match="run again to continue"):
        train(two, small_data, tmp_path / "two", cache_dir=cache_dir, listener=listener)
    assert (tmp_path / "heard").read_text() == "1 True\n"
    together = train(two, small_data, tmp_path / "two", cache_dir=cache_dir, listener=listener)
    assert (tmp_path / "heard").read_text() == "1 True\n1 True\n2 True\n"
    assert together["epochs"] == 2
    for name in ("train/heatmap", "train/size", "train/offset", "train/pgcl"):
        assert together[name] == pytest.approx(alone[name], rel=0.02)
    identities = {read_json(tmp_path / run / "experiment.json")["identity"] for run in ("one", "two")}
    assert len(identities) == 1
    images = [{found["image_id"] for found in read_json(tmp_path / run / DETECTIONS)} for run in ("one", "two")]
    assert images[0] == images[1]
