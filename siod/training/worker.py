"""The Ray Train carrier: several workers, one process each, joined by DistributedDataParallel."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
import torch
from ray import train
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from ray.tune.integration.ray_train import TuneReportCallback

from siod.errors import RunError
from siod.training.devices import reserved_device
from siod.training.placement import Placement
from siod.training.stopping import Stopped

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ray.train import UserCallback

    from siod.data.source import PreparedData
    from siod.training.context import EpochListener
    from siod.training.experiment import Experiment

# The controller reads a worker's reports once per poll; at the default of two seconds every epoch would wait for it.
POLL_SECONDS = "0.2"
# Turns a worker group that can never be placed from a silent wait into an error.
START_ATTEMPTS = 5


@dataclass
class RayTrainWorker:
    """One Ray Train worker's place in a run."""

    run_dir: Path
    listener: EpochListener | None
    rank: int
    world_size: int
    device: torch.device
    loader_workers: int

    def report(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Pass the epoch on to the listener (rank 0) and to Ray Train (all ranks: it is a barrier)."""
        if self.rank == 0 and self.listener is not None:
            self.listener(epoch, metrics)
        train.report({"epoch": epoch, "metrics": dict(metrics)})


def fit(
    experiment: Experiment,
    data: PreparedData,
    run_dir: Path,
    *,
    initial_weights: Path | None,
    teacher: Path | None,
    listener: EpochListener | None,
) -> None:
    """Train an experiment with a ``TorchTrainer``; Ray must be running or is started on this machine.

    A lost worker is replaced and the group continues from the last checkpoint of ``run_dir``,
    ``experiment.compute.max_failures`` times.

    Args:
        experiment: ``compute``, which was placed, says how many workers and what each is given.
        data: Prepared files, readable on every node.
        run_dir: Folder of the run, on storage that all nodes share.
        initial_weights: From ``siod.training.weights.ensure``.
        teacher: From ``siod.training.run.ensure_teacher``.
        listener: Called in the process of rank 0 after each epoch; picklable.

    Raises:
        RunError: The workers failed; carries the cause.
    """
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", POLL_SECONDS)
    placement, max_failures = Placement.of(experiment.compute), experiment.compute.max_failures
    use_gpu = placement.device == "cuda"
    resources = {"CPU": placement.cpus} | ({"GPU": placement.gpus} if use_gpu else {})
    trainer = TorchTrainer(
        _work,
        train_loop_config={
            "experiment": experiment,
            "data": data,
            "run_dir": run_dir,
            "initial_weights": initial_weights,
            "teacher": teacher,
            "listener": listener,
        },
        scaling_config=train.ScalingConfig(
            num_workers=placement.workers, use_gpu=use_gpu, resources_per_worker=resources
        ),
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
        run_config=train.RunConfig(
            name="ray_train",
            storage_path=str(run_dir.resolve()),
            callbacks=_tune_callbacks(),  # type: ignore[arg-type]  # mypy sees Train V1's classes
            failure_config=train.FailureConfig(
                max_failures=max_failures,
                controller_failure_limit=START_ATTEMPTS,  # type: ignore[call-arg]  # likewise
            ),
        ),
    )
    try:
        trainer.fit()
    except (train.TrainingFailedError, ray.exceptions.RayError) as error:
        raise RunError(f"{run_dir}: the Ray Train workers failed: {error}") from error


def _tune_callbacks() -> list[UserCallback]:
    """Inside a Ray Tune trial, what passes the workers' epochs on to it; elsewhere nothing."""
    try:
        return [TuneReportCallback()]  # type: ignore[no-untyped-call]
    except RuntimeError:  # how it says that there is no Tune here
        return []


def _work(config: dict[str, Any]) -> None:
    """What each worker process runs; the process that starts it has no use for what trains."""
    from siod.training.work import run_worker  # noqa: PLC0415

    experiment: Experiment = config["experiment"]
    place, placement = train.get_context(), Placement.of(experiment.compute)
    torch.set_num_threads(placement.threads)
    device = reserved_device(placement)
    worker = RayTrainWorker(
        config["run_dir"],
        config["listener"],
        place.get_world_rank(),
        place.get_world_size(),
        # Workers on one machine see each other's GPUs; Ray Train says which is this one's.
        device if device.type == "cpu" else get_device(),
        placement.loader_workers,
    )
    # A stop that was asked for is no failure: Ray Train must not start the workers again.
    with suppress(Stopped):
        run_worker(experiment, config["data"], worker, config["initial_weights"], config["teacher"])
