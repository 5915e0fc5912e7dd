"""Resume a run: the first worker chooses the newest checkpoint that is whole, and all workers load that one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from siod.errors import RunError, UserError
from siod.files import wait_until
from siod.training import checkpoint
from siod.training.distributed import broadcast_object, gather_objects

if TYPE_CHECKING:
    from pathlib import Path

    from siod.training.checkpoint_files import CheckpointFiles
    from siod.training.context import Context

log = logging.getLogger("siod")

State = dict[str, Any]


def last_state(folder: CheckpointFiles, context: Context) -> State | None:
    """Load what a run continues from; all workers call this.

    What a worker sees of a shared folder may be a minute old, so no two need to see the same last epoch. The first
    one's view decides; the others wait until they see that file too.

    Args:
        folder: The checkpoints of the run.
        context: This worker's place.

    Returns:
        The newest whole checkpoint, the same on every worker and on the CPU; None at the start of a run.

    Raises:
        UserError: There are checkpoints, but none can be read.
        RunError: A worker never saw the file.
    """
    name, state, problem = _newest_whole(folder) if context.rank == 0 else (None, None, None)
    name, problem = broadcast_object((name, problem), context.world_size)
    if problem is not None:
        raise UserError(problem)
    if name is None:
        return None
    if context.rank != 0:
        state, problem = _the_same(folder.folder / name, context)
    problems = [text for text in gather_objects(problem or "", context.world_size) if text]
    if problems:  # all leave together, so that none waits for one that has left
        raise RunError(problems[0])
    return state


def require(path: Path) -> Path:
    """Wait for a file that another machine may just have written.

    Args:
        path: On storage that all nodes share.

    Returns:
        The same path.

    Raises:
        RunError: It does not appear.
    """
    if not wait_until(path.exists):
        raise RunError(f"{path}: does not appear on this machine; put it on storage all nodes share")
    return path


def _newest_whole(folder: CheckpointFiles) -> tuple[str | None, State | None, str | None]:
    """Name and content of the file to go on from, or why there is none although there are files."""
    files = folder.newest_first()
    for path in files:
        try:
            state = checkpoint.load(path)
        except UserError as error:
            log.warning("skipped a checkpoint: %s", error)
            continue
        return path.name, state, None
    if not files:
        return None, None, None
    names = ", ".join(path.name for path in files)
    return None, None, f"{folder.folder}: none of {names} can be read; delete the folder of the run to start it anew"


def _the_same(path: Path, context: Context) -> tuple[State | None, str | None]:
    """The content of the file that the first worker chose, or why it cannot be had."""
    try:
        return checkpoint.load(require(path)), None
    except (UserError, RunError) as error:
        return None, f"worker {context.rank}: {error}"
