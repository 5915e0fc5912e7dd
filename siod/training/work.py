"""What one worker of a run does, with any carrier: the loop, and the result files that rank 0 writes."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from siod.errors import RunError
from siod.json_file import write_json, write_packed_json
from siod.training import loop, results
from siod.training.checkpoint import CheckpointFolder
from siod.training.checkpoint_files import CHECKPOINTS
from siod.training.distributed import gather_objects
from siod.training.evaluate import concatenate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from siod.data.source import PreparedData
    from siod.training.checkpoint import Keep
    from siod.training.context import Context
    from siod.training.experiment import Experiment

log = logging.getLogger("siod")


def run_worker(
    experiment: Experiment,
    data: PreparedData,
    context: Context,
    initial_weights: Path | None,
    teacher: Path | None = None,
) -> None:
    """Run the loop on one worker; rank 0 writes the result files.

    Args:
        experiment: What to learn.
        data: Its prepared files.
        context: This worker's place.
        initial_weights: From ``siod.training.weights.ensure``.
        teacher: From ``siod.training.run.ensure_teacher``.
    """
    with _log_file(context):
        trained = loop.run(experiment, data, context, initial_weights=initial_weights, teacher=teacher)
        finish(trained, context, keep=experiment.compute.keep_checkpoints)


def finish(trained: loop.Trained, context: Context, *, keep: Keep = "best") -> None:
    """Write history, detections and, last, the result of a run, and leave of its checkpoints what is kept of them.

    All workers call this.

    Args:
        trained: What the loop returned on this worker.
        context: This worker's place.
        keep: Which checkpoints stay.
    """
    shards = gather_objects(trained.detections, context.world_size)
    on_test = trained.test_detections
    test_shards = [] if on_test is None else gather_objects(on_test, context.world_size)
    if context.rank != 0:
        return
    if test_shards:
        write_packed_json(context.run_dir / results.TEST_DETECTIONS, concatenate(test_shards).coco_results())
    write_json(context.run_dir / results.HISTORY, trained.history)
    write_packed_json(context.run_dir / results.DETECTIONS, concatenate(shards).coco_results())
    write_json(context.run_dir / results.RESULT, results.summary(trained.history))
    try:
        CheckpointFolder(context.run_dir / CHECKPOINTS, keep_finished=keep).finish()
    except (OSError, RunError) as error:  # the run is done; siod runs prune does it later
        log.warning("the checkpoints were not made smaller: %s", error)


@contextmanager
def _log_file(context: Context) -> Iterator[None]:
    """Send the log of rank 0 to ``train.log`` in the run folder."""
    if context.rank != 0:
        yield
        return
    logger = logging.getLogger("siod")
    handler = logging.FileHandler(context.run_dir / "train.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()
