"""Two workers whose batches differ stay one model, running statistics of the normalisation included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from forked import run_ranks

from siod.data.source import PreparedData
from siod.detectors.zoo import build
from siod.methods.mean_teacher import MeanTeacher
from siod.methods.pseudo import PseudoBoxes
from siod.training import loop
from siod.training.checkpoint import CheckpointFolder, load
from siod.training.context import InProcess
from siod.training.distributed import average_statistics, running_statistics
from siod.training.evaluate import detect
from siod.training.experiment import Experiment
from siod.training.stopping import Stopped, request_stop

CPU = torch.device("cpu")
TEACHER = MeanTeacher(start_epoch=1, decay=0.5, pseudo=PseudoBoxes(min_score=0.1))


def test_one_worker_s_statistics_are_left_alone() -> None:
    layer = torch.nn.BatchNorm2d(2)
    layer(torch.randn(4, 2, 3, 3))
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    average_statistics(running_statistics(layer), world_size=1)
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


def _average(rank: int, folder: Path) -> None:
    torch.manual_seed(rank)
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(1), torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1))
    for layer, value in ((model[0], 1.0), (model[2], 10.0)):
        layer.running_mean.fill_(value + rank)
        layer.running_var.fill_(2 * value + 4 * rank)
    average_statistics(running_statistics(model), world_size=2)
    torch.save(model.state_dict(), folder / f"{rank}.pt")


def test_running_statistics_become_the_mean_over_workers(tmp_path: Path) -> None:
    """1 and 2 become 1.5, 2 and 6 become 4, in every layer its own; weights are not touched."""
    run_ranks(_average, args=(tmp_path,), nprocs=2)
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for state in (one, other):
        assert [state[f"{layer}.running_mean"].item() for layer in (0, 2)] == [1.5, 10.5]
        assert [state[f"{layer}.running_var"].item() for layer in (0, 2)] == [4.0, 22.0]
    assert not torch.equal(one["1.weight"], other["1.weight"])


Runs = dict[str, tuple[Experiment, bool]]


def _train(rank: int, runs: Runs, data: PreparedData, folder: Path) -> None:
    for name, (experiment, stopped) in runs.items():
        run_dir = folder / name
        if stopped:
            with pytest.raises(Stopped):
                loop.run(experiment, data, InProcess(run_dir, lambda *_: request_stop(run_dir), CPU, rank, 2))  # noqa: B023
        trained = loop.run(experiment, data, InProcess(run_dir, None, CPU, rank, 2))
        torch.save(vars(trained.detections), run_dir / f"found-{rank}.pt")


@pytest.mark.slow
def test_two_workers_judge_what_the_checkpoint_holds_and_resume_to_the_bit(
    small: Experiment, small_data: PreparedData, tmp_path: Path
) -> None:
    """The second worker's share of the detections comes from its own copies of student and teacher."""
    plain = small.with_changes({"dminer": None, "evaluation.batch_size": 1})
    taught = plain.with_changes({"method": TEACHER})
    assert plain.detector.norm == "batch"
    runs: Runs = {"plain": (plain, False), "taught": (taught, False), "resumed": (taught, True)}
    run_ranks(_train, args=(runs, small_data, tmp_path), nprocs=2)
    for name, (experiment, _) in runs.items():
        state = _final(tmp_path / name)
        detector = build(experiment.detector, num_classes=5).to(memory_format=torch.channels_last)
        detector.load_state_dict(state["model"] if name == "plain" else state["method"]["teacher"])
        for rank in range(2):
            context = InProcess(tmp_path / name, device=CPU, rank=rank, world_size=2)
            expected = vars(detect(detector, small_data, experiment.evaluation, context))
            found = torch.load(tmp_path / name / f"found-{rank}.pt", weights_only=False)
            assert len(found["scores"]) > 100
            assert all((found[key] == expected[key]).all() for key in expected), (name, rank)
    one, other = _final(tmp_path / "taught"), _final(tmp_path / "resumed")
    for part in (one["model"], other["model"]), (one["method"]["teacher"], other["method"]["teacher"]):
        assert all(torch.equal(part[0][key], part[1][key]) for key in part[0])


def _final(run_dir: Path) -> dict[str, Any]:
    latest = CheckpointFolder(run_dir / "checkpoints").latest()
    assert latest is not None
    return load(latest)
