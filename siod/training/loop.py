"""Train one experiment: read top to bottom. The same loop runs in every carrier."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from siod.data.loading.loader import train_batches
from siod.data.loading.loader_processes import own_loader_processes
from siod.detectors.zoo import build
from siod.errors import RunError
from siod.methods.method import Moment
from siod.methods.zoo import build_method
from siod.training import checkpoint, results
from siod.training.arithmetic import arithmetic_of, deterministic, matmul_precision, refuse_missing_on
from siod.training.checkpoint_files import CHECKPOINTS
from siod.training.cost import PeakMemory, epoch_cost
from siod.training.distributed import average_statistics, broadcast_bool, running_statistics
from siod.training.epoch_log import EpochLog, Numbers
from siod.training.evaluate import detect, score_aware_metrics
from siod.training.fitness import refuse_short_schedule
from siod.training.optim import build_optimiser, build_schedule
from siod.training.phases import Phase, phases, total_epochs
from siod.training.resume import last_state, require
from siod.training.step import DetectorAndMiners, normalised, refuse_nonfinite
from siod.training.stopping import Stopped, stop_requested
from siod.training.weight_loading import load_initial_weights

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch.optim.lr_scheduler import LRScheduler

    from siod.data.source import PreparedData
    from siod.detectors.detector import Detector
    from siod.methods.method import Method
    from siod.training.context import Context
    from siod.training.evaluate import DetectionArrays
    from siod.training.experiment import Experiment, Recipe
    from siod.types import Batch

log = logging.getLogger("siod")


@dataclass
class Learner:
    """What one phase trains with."""

    detector: Detector
    method: Method
    model: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: LRScheduler
    scaler: torch.amp.GradScaler

    def __post_init__(self) -> None:
        """Find the running statistics that every step averages over the workers."""
        self.statistics = running_statistics(self.detector)

    def state(self) -> dict[str, Any]:
        """Everything a resumed phase needs."""
        return {
            "model": self.detector.state_dict(),
            "method": self.method.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where ``state`` was taken."""
        checkpoint.refuse_trimmed(state)
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])


@dataclass(frozen=True)
class Trained:
    """The outcome of a run: metrics of every epoch, and the detections of the last.

    ``test_detections`` are those of the last epoch on the test split, if the data has one.
    """

    history: list[dict[str, float]]
    detections: DetectionArrays
    test_detections: DetectionArrays | None = None


@own_loader_processes()
def run(
    experiment: Experiment,
    data: PreparedData,
    context: Context,
    *,
    initial_weights: Path | None = None,
    teacher: Path | None = None,
) -> Trained:
    """Train, evaluate after every epoch, checkpoint, report; resume when the run folder has a checkpoint.

    Args:
        experiment: What to learn.
        data: Its prepared files.
        context: This worker's place; all workers call this with equal arguments.
        initial_weights: The file ``siod.training.weights.ensure`` returned, if the experiment needs one.
        teacher: The checkpoint ``siod.training.run.ensure_teacher`` returned, if the method needs one.

    Returns:
        The history, one entry an epoch. On every worker the same; the detections are this worker's share.

    Raises:
        UserError: The device cannot compute as the experiment says.
        RunError: The loss is NaN or infinite.
        Stopped: A stop was requested; the last epoch is saved.
    """
    refuse_missing_on(context.device, experiment)
    memory = PeakMemory(context.device)
    if context.rank == 0:
        results.record_arithmetic(arithmetic_of(experiment, context.device, context.world_size), context.run_dir)
    detector = _build_detector(experiment, data, context, initial_weights and require(initial_weights))
    with matmul_precision(detector, experiment.recipe.precision), deterministic(experiment.compute.deterministic):
        return _run(experiment, detector, data, context, teacher=teacher, memory=memory)


def _run(
    experiment: Experiment,
    detector: Detector,
    data: PreparedData,
    context: Context,
    *,
    teacher: Path | None,
    memory: PeakMemory,
) -> Trained:
    method = build_method(experiment.method, detector)
    if teacher is not None:
        method.receive_teacher(checkpoint.judged_weights(checkpoint.load(require(teacher))))
    kept = experiment.compute.keep_checkpoints
    folder = checkpoint.CheckpointFolder(context.run_dir / CHECKPOINTS, keep_finished=kept)
    resumed = last_state(folder, context)
    history: list[dict[str, float]] = []
    if resumed is not None:
        detector.load_state_dict(resumed["model"])
        method.load_state_dict(resumed.get("method", {}))
        history = resumed["history"]
        log.info("resuming after epoch %d of %d", len(history), total_epochs(experiment))
        context.report(len(history), history[-1])
    judged: EvaluatedEpoch | None = None
    about = {
        "category_ids": list(data.category_ids),
        "category_names": list(data.category_names),
        **experiment.record(),
    }
    for phase in phases(experiment):
        start = max(len(history) + 1, phase.first_epoch)
        if start > phase.last_epoch:
            continue
        learner = _learner(experiment, method, data, context, phase)
        if resumed is not None and start > phase.first_epoch:
            learner.restore(resumed)
        resumed = None  # free it: it is as large as the model and its optimiser
        for epoch in range(start, phase.last_epoch + 1):
            began = time.perf_counter()
            metrics = _train_epoch(
                experiment, learner, data, context, phase=phase.at(epoch), epoch=epoch, folder=folder
            )
            last = epoch == total_epochs(experiment)
            if last or epoch % experiment.evaluation.every_epochs == 0:
                judged = _evaluate_splits(experiment, method.judged(), data, context, last=last)
                metrics |= judged.metrics
            history = [*history, metrics | epoch_cost(began, memory)]
            log.info("epoch %d of %d: %s", epoch, total_epochs(experiment), _log_text(metrics))
            _save(folder, learner, history, about, context)
            context.report(epoch, history[-1])
            if not last and broadcast_bool(stop_requested(context.run_dir), context.world_size, context.device):
                raise Stopped(f"stopped after epoch {epoch} of {total_epochs(experiment)}; run again to continue")
        del learner  # the optimiser of the next phase must not stand beside this one's
    if judged is None:
        judged = _evaluate_splits(experiment, method.judged(), data, context, last=True)
    return Trained(history, judged.detections, judged.test_detections)


def _build_detector(
    experiment: Experiment, data: PreparedData, context: Context, initial_weights: Path | None
) -> Detector:
    torch.manual_seed(experiment.seed)
    detector = build(experiment.detector, num_classes=len(data.category_names))
    load_initial_weights(
        detector,
        experiment.weights,
        initial_weights,
        category_ids=data.category_ids,
        category_names=data.category_names,
    )
    # Convolutions are faster with channels last, on CPUs and GPUs alike.
    return detector.to(context.device).to(memory_format=torch.channels_last)


def _learner(experiment: Experiment, method: Method, data: PreparedData, context: Context, phase: Phase) -> Learner:
    detector = method.detector
    model: nn.Module = detector
    if context.world_size > 1:
        # average_statistics keeps the buffers equal after every update, also where nothing is passed forward.
        model = DistributedDataParallel(
            detector, device_ids=_device_ids(context), broadcast_buffers=False, gradient_as_bucket_view=True
        )
    optimiser = build_optimiser(detector, experiment.recipe, lr_factor=phase.lr_factor)
    steps = len(_batches(experiment, data, context, epoch=1))
    if steps == 0:
        raise RunError(
            f"{data.train_images}: fewer usable images than recipe.batch_size {experiment.recipe.batch_size}; "
            "make it smaller"
        )
    refuse_short_schedule(experiment, images=steps * experiment.recipe.batch_size)
    schedule = build_schedule(optimiser, experiment.recipe, steps_per_epoch=steps, epochs=phase.epochs)
    scaler = torch.amp.GradScaler(context.device.type, enabled=experiment.recipe.precision == "fp16")
    return Learner(detector, method, model, optimiser, schedule, scaler)


def _device_ids(context: Context) -> list[torch.device] | None:
    return [context.device] if context.device.type == "cuda" else None


def _batches(experiment: Experiment, data: PreparedData, context: Context, *, epoch: int) -> Any:
    return train_batches(
        data,
        experiment.augmentation,
        batch_size=experiment.recipe.batch_size,
        seed=experiment.seed,
        epoch=epoch,
        rank=context.rank,
        world_size=context.world_size,
        workers=context.loader_workers,
        pin_memory=context.device.type == "cuda",
    )


def _train_epoch(
    experiment: Experiment,
    learner: Learner,
    data: PreparedData,
    context: Context,
    *,
    phase: Phase,
    epoch: int,
    folder: checkpoint.CheckpointFolder,
) -> dict[str, float]:
    """One pass over the training images; returns ``train/...`` and ``mining/...`` means of the global batches."""
    # Randomness inside the model depends on (seed, epoch) alone, so a resumed run repeats an unbroken one, and workers
    # that sample by image sample what one worker would.
    torch.manual_seed((experiment.seed * 100_003 + epoch) * 4_096)
    learner.model.train()
    epoch_log, began = EpochLog(), time.perf_counter()
    learning_rate = float(max(learner.schedule.get_last_lr()))
    last_good = str(folder.latest() or "none yet")
    batches, epochs = _batches(experiment, data, context, epoch=epoch), total_epochs(experiment)
    for step, batch in enumerate(batches):
        moment = Moment(experiment.seed, epoch, step, len(batches), epochs, context.world_size)
        numbers = train_step(
            learner,
            batch.to(context.device),
            moment,
            phase=phase,
            recipe=experiment.recipe,
            epoch_log=epoch_log,
            world_size=context.world_size,
        )
        refuse_nonfinite(numbers, epoch=epoch, step=step + 1, last_good=last_good)
    metrics = epoch_log.metrics(context.world_size)
    metrics["train/learning_rate"] = learning_rate
    metrics["train/images_per_second"] = len(batches) * experiment.recipe.batch_size / (time.perf_counter() - began)
    return metrics


def train_step(
    learner: Learner,
    batch: Batch,
    moment: Moment,
    *,
    phase: Phase,
    recipe: Recipe,
    epoch_log: EpochLog,
    world_size: int = 1,
) -> dict[str, float]:
    """One optimiser step: forward pass, losses, backward pass, update, log.

    Args:
        learner: Changed by the update.
        batch: This worker's share, on the device.
        moment: Where the run is.
        phase: Which miners are at work.
        recipe: Its clipping.
        epoch_log: Gets what the step found.
        world_size: Workers that share the global batch.

    Returns:
        The loss terms. They may be NaN or infinite, and the update with them.
    """
    views = learner.method.views(batch, moment)
    outputs = learner.model(views.images, views.targets)
    criterion = DetectorAndMiners(learner.detector, phase)
    objective = learner.method.objective(views, outputs, criterion)
    losses = normalised(objective.parts, world_size)
    values = torch.stack(list(losses.values()))
    # On a GPU they arrive while the rest of the step is still under way: the host looks at them before it goes on to
    # the next step, and the device never runs dry.
    numbers = Numbers(values)
    _update(learner, values.sum() * world_size, clip_norm=recipe.clip_norm)
    average_statistics(learner.statistics, world_size)
    learner.method.after_update(moment)
    epoch_log.add(losses, criterion.mined, objective.figures)
    return dict(zip(losses, numbers.read(), strict=True))


def _log_text(metrics: dict[str, float]) -> str:
    judged = f", AP@S {100 * metrics['ap_s']:.2f}" if "ap_s" in metrics else ""
    return f"loss {metrics['train/loss']:.4f}{judged}"


def _update(learner: Learner, loss: torch.Tensor, *, clip_norm: float | None) -> None:
    learner.optimiser.zero_grad(set_to_none=True)
    learner.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    if clip_norm is not None:
        learner.scaler.unscale_(learner.optimiser)
        nn.utils.clip_grad_norm_(learner.model.parameters(), clip_norm)
    learner.scaler.step(learner.optimiser)
    learner.scaler.update()
    learner.schedule.step()


@dataclass(frozen=True)
class EvaluatedEpoch:
    """The evaluation after an epoch: this worker's detections, and the metrics of all workers.

    ``test_detections`` are those on the test split, whose metrics begin with ``test/``.
    """

    detections: DetectionArrays
    metrics: dict[str, float]
    test_detections: DetectionArrays | None = None


def _evaluate_splits(
    experiment: Experiment, detector: Detector, data: PreparedData, context: Context, *, last: bool
) -> EvaluatedEpoch:
    """Evaluate on the validation split and, after the last epoch only, on the test split if there is one."""
    detections, metrics = _evaluate(experiment, detector, data, context)
    test = data.on_test() if last else None
    if test is None:
        return EvaluatedEpoch(detections, metrics)
    test_detections, on_test = _evaluate(experiment, detector, test, context)
    return EvaluatedEpoch(
        detections, metrics | {f"test/{name}": value for name, value in on_test.items()}, test_detections
    )


def _evaluate(
    experiment: Experiment, detector: Detector, data: PreparedData, context: Context
) -> tuple[DetectionArrays, dict[str, float]]:
    shard = detect(
        detector,
        data,
        experiment.evaluation,
        context,
        precision=experiment.evaluated_in(),
        loader_workers=context.loader_workers,
    )
    return shard, score_aware_metrics(data, shard, context)


def _save(
    folder: checkpoint.CheckpointFolder,
    learner: Learner,
    history: list[dict[str, float]],
    about: Mapping[str, Any],
    context: Context,
) -> None:
    """Save an epoch on rank 0; ``about`` is what the file says of its run beside what is learnt."""
    if context.rank != 0:
        return
    judged = [metrics["ap_s"] for metrics in history if "ap_s" in metrics]
    is_best = "ap_s" in history[-1] and history[-1]["ap_s"] >= max(judged)
    state = learner.state() | {
        "history": history,
        "epoch": len(history),
        "best_ap_s": max(judged, default=-1.0),
        **about,
    }
    folder.add(len(history), state, is_best=is_best)
