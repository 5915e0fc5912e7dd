"""The loop resumes to the bit, two workers equal one, and a broken loss stops it."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch
from forked import run_ranks

from siod.data.source import PreparedData
from siod.dminer.dminer import DMiner, Staged
from siod.dminer.reject import Reject
from siod.errors import RunError, UserError
from siod.json_file import read_json
from siod.training import loop
from siod.training.checkpoint import CheckpointFolder, load
from siod.training.context import InProcess
from siod.training.experiment import Experiment
from siod.training.results import DETECTIONS, read_result
from siod.training.run import train
from siod.training.stopping import Stopped, request_stop

CPU = torch.device("cpu")


def final_weights(run_dir: Path) -> dict[str, torch.Tensor]:
    latest = CheckpointFolder(run_dir / "checkpoints").latest()
    assert latest is not None
    weights: dict[str, torch.Tensor] = load(latest)["model"]
    return weights


def without_speed(history: list[dict[str, float]]) -> list[dict[str, float]]:
    measured = ("train/images_per_second", "cost/epoch_seconds", "cost/peak_memory_mib")
    assert all(metrics[name] > 0 for metrics in history for name in measured)
    return [{name: value for name, value in metrics.items() if name not in measured} for metrics in history]


REJECT = DMiner(splg=None, pgcl=None, reject=Reject(growth=0.01, max_share=0.02))


@pytest.mark.parametrize("dminer", [None, REJECT], ids=["dminer", "reject"])
def test_a_resumed_run_equals_an_unbroken_one_to_the_bit(
    small: Experiment, small_data: PreparedData, tmp_path: Path, dminer: DMiner | None
) -> None:
    small = small if dminer is None else small.with_changes({"dminer": dminer})
    unbroken = loop.run(small, small_data, InProcess(tmp_path / "a", device=CPU))

    with pytest.raises(Stopped, match="stopped after epoch 1 of 2"):
        loop.run(
            small,
            small_data,
            InProcess(tmp_path / "b", lambda epoch, metrics: request_stop(tmp_path / "b"), device=CPU),
        )
    told: list[int] = []
    resumed = loop.run(
        small, small_data, InProcess(tmp_path / "b", lambda epoch, metrics: told.append(epoch), device=CPU)
    )
    assert told == [1, 2]
    assert without_speed(resumed.history) == without_speed(unbroken.history)
    expected, actual = final_weights(tmp_path / "a"), final_weights(tmp_path / "b")
    assert expected.keys() == actual.keys()
    assert all(torch.equal(expected[name], actual[name]) for name in expected)


def test_reject_begins_in_its_epoch_and_grows_through_both_stages(
    small: Experiment, small_data: PreparedData, tmp_path: Path
) -> None:
    """Epochs 1 and 2 are the first stage's; nothing is rejected in epoch 1."""
    staged = DMiner(reject=REJECT.reject, staged=Staged(second_epochs=1))
    history = loop.run(small.with_changes({"dminer": staged}), small_data, InProcess(tmp_path, device=CPU)).history
    first, second, third = (metrics.get("mining/reject_per_image", 0.0) for metrics in history)
    assert first == 0
    assert second > 0
    # Twice the share, but of fewer entries: SPLG labels some.
    assert second < third <= 2 * second + 1
    assert {"mining/reject_precision", "mining/reject_recall", "mining/reject_on_annotated"} <= history[1].keys()
    assert "mining/pgcl_per_image" in history[1]
    assert "mining/splg_per_image" in history[2]


def test_another_seed_gives_another_model(small: Experiment, small_data: PreparedData, tmp_path: Path) -> None:
    one = loop.run(small, small_data, InProcess(tmp_path / "a", device=CPU))
    other = loop.run(small.with_changes({"seed": 1}), small_data, InProcess(tmp_path / "b", device=CPU))
    assert one.history[0]["train/loss"] != other.history[0]["train/loss"]


def test_every_epoch_has_losses_mining_and_score_aware_metrics(
    small: Experiment, small_data: PreparedData, tmp_path: Path
) -> None:
    history = loop.run(small, small_data, InProcess(tmp_path, device=CPU)).history
    assert len(history) == 2
    expected = {"train/loss", "train/heatmap", "train/size", "train/offset", "train/pgcl", "ap_s", "ap_s0", "ap_s9"}
    expected |= {"mining/splg_per_image", "mining/splg_precision", "mining/splg_recall", "mining/pgcl_per_image"}
    for metrics in history:
        assert expected <= metrics.keys()
        parts = sum(metrics[f"train/{name}"] for name in ("heatmap", "size", "offset", "pgcl"))
        assert metrics["train/loss"] == pytest.approx(parts)


def _one_of_two(rank: int, runs: dict[str, Experiment], data: PreparedData, folder: Path) -> None:
    for name, experiment in runs.items():
        loop.run(experiment, data, InProcess(folder / name, device=CPU, rank=rank, world_size=2))


def _gradients(run_dir: Path) -> list[torch.Tensor]:
    """After one step of Adam its first moment is a tenth of the gradient."""
    latest = CheckpointFolder(run_dir / "checkpoints").latest()
    assert latest is not None
    return [10 * state["exp_avg"] for state in load(latest)["optimiser"]["state"].values()]


@pytest.mark.slow
def test_two_workers_have_the_loss_and_gradients_of_one_on_the_same_global_batch(
    small: Experiment, small_data: PreparedData, tmp_path: Path
) -> None:
    changes = {"recipe.epochs": 1, "recipe.batch_size": 16, "recipe.schedule": {"kind": "step"}}
    one_step = small.with_changes({"detector.norm": "frozen", **changes})
    at_once = REJECT.with_changes({"reject.start_epoch": 0})
    runs = {
        "dminer": one_step,
        "plain": one_step.with_changes({"dminer": None}),
        "reject": one_step.with_changes({"dminer": at_once}),
    }
    run_ranks(_one_of_two, args=(runs, small_data, tmp_path / "two"), nprocs=2)
    for name, experiment in runs.items():
        (alone,) = loop.run(experiment, small_data, InProcess(tmp_path / "one" / name, device=CPU)).history
        latest = CheckpointFolder(tmp_path / "two" / name / "checkpoints").latest()
        assert latest is not None
        (together,) = load(latest)["history"]
        for term in (key for key in alone if key.startswith("train/") and "per_second" not in key):
            assert together[term] == pytest.approx(alone[term], rel=1e-5)
        assert ("mining/reject_per_image" in alone) == (name == "reject")
        assert {k: v for k, v in together.items() if "mining" in k} == {k: v for k, v in alone.items() if "mining" in k}
        expected, actual = _gradients(tmp_path / "one" / name), _gradients(tmp_path / "two" / name)
        assert len(expected) == len(actual) > 30
        for one, two in zip(expected, actual, strict=True):
            torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-5 * float(one.abs().max()) + 1e-8)


def test_a_loss_that_is_not_finite_names_term_step_and_checkpoint(
    small: Experiment, small_data: PreparedData, tmp_path: Path
) -> None:
    wild = small.with_changes({"recipe.learning_rate": 1e30, "dminer": None, "recipe.schedule": {"kind": "step"}})
    with pytest.raises(RunError, match=r"loss term '\w+' is (nan|inf) at epoch 1, step \d; last good checkpoint: none"):
        loop.run(wild, small_data, InProcess(tmp_path, device=CPU))


def test_loader_processes_live_from_epoch_to_epoch_and_end_with_the_run(
    small: Experiment, small_data: PreparedData, tmp_path: Path
) -> None:
    """One for training and one for validation images; none of them of another run."""
    alive: list[set[int | None]] = []
    experiment = small.with_changes({"dminer": None})

    def listen(epoch: int, _metrics: object) -> None:
        alive.append({process.pid for process in multiprocessing.active_children()})
        if len(alive) == 3:
            raise RunError(f"epoch {epoch} of another run went wrong")

    loop.run(experiment, small_data, InProcess(tmp_path / "a", listen, device=CPU, loader_workers=1))
    assert len(alive[0]) == 2
    assert alive[0] == alive[1]
    assert multiprocessing.active_children() == []
    with pytest.raises(RunError, match="epoch 1 of another run"):
        loop.run(experiment, small_data, InProcess(tmp_path / "b", listen, device=CPU, loader_workers=1))
    assert len(alive[2]) == 2
    assert not alive[0] & alive[2]
    assert multiprocessing.active_children() == []


def test_a_last_step_that_is_not_finite_leaves_no_checkpoint(
    small: Experiment, small_data: PreparedData, tmp_path: Path
) -> None:
    """The first of two steps ruins the weights, the loss of the second shows it: after that step's own update."""
    changes = {"recipe.learning_rate": 1e30, "dminer": None, "recipe.schedule": {"kind": "step"}}
    wild = small.with_changes({**changes, "recipe.batch_size": 8})
    with pytest.raises(RunError, match=r"is (nan|inf) at epoch 1, step 2; last good checkpoint: none yet"):
        loop.run(wild, small_data, InProcess(tmp_path, device=CPU))
    assert CheckpointFolder(tmp_path / "checkpoints").latest() is None


def test_train_leaves_its_results_and_a_second_call_returns_them(
    small: Experiment, small_data: PreparedData, tmp_path: Path, cache_dir: Path
) -> None:
    told: list[int] = []
    result = train(small, small_data, tmp_path, cache_dir=cache_dir, listener=lambda epoch, metrics: told.append(epoch))
    assert result == read_result(tmp_path)
    assert result["epochs"] == 2
    assert told == [1, 2]
    assert len(read_json(tmp_path / "history.json")) == 2
    detections = read_json(tmp_path / DETECTIONS)
    assert set(detections[0]) == {"image_id", "category_id", "bbox", "score"}
    assert "epoch" in (tmp_path / "train.log").read_text()
    assert train(small, small_data, tmp_path, cache_dir=cache_dir) == result
    assert told == [1, 2]


def test_a_folder_of_another_experiment_is_refused(
    small: Experiment, small_data: PreparedData, tmp_path: Path, cache_dir: Path
) -> None:
    train(small.with_changes({"recipe.epochs": 1}), small_data, tmp_path, cache_dir=cache_dir)
    with pytest.raises(UserError, match="holds the run of another experiment"):
        train(small, small_data, tmp_path, cache_dir=cache_dir)


def test_a_batch_larger_than_the_data_is_refused(small: Experiment, small_data: PreparedData, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"fewer usable images than recipe\.batch_size 64"):
        loop.run(small.with_changes({"recipe.batch_size": 64}), small_data, InProcess(tmp_path, device=CPU))
