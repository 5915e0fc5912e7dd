"""Which experiment the folder of a run belongs to."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from siod.errors import UserError
from siod.json_file import read_json, write_json
from siod.training import results
from siod.training.checkpoint_files import CHECKPOINTS, CheckpointFiles

if TYPE_CHECKING:
    from pathlib import Path

    from siod.data.source import PreparedData
    from siod.training.experiment import Experiment

log = logging.getLogger("siod")


def claim(run_dir: Path, experiment: Experiment, data: PreparedData) -> None:
    """Record which experiment a folder belongs to, or refuse one that belongs to another.

    A run that ended before its first epoch was saved has learnt nothing and holds no folder.

    Args:
        run_dir: Folder of the run.
        experiment: That wants it.
        data: Its prepared files.

    Raises:
        UserError: Another experiment has learnt something there.
    """
    mine = {"identity": experiment.identity(data.fingerprint), **experiment.record()}
    path = run_dir / results.EXPERIMENT
    if not path.exists() or not _has_learnt(run_dir):
        (run_dir / results.ARITHMETIC).unlink(missing_ok=True)
        write_json(path, mine)
    elif read_json(path).get("identity") != mine["identity"]:
        raise UserError(f"{run_dir}: holds the run of another experiment (see {path.name}); name another folder")
    else:
        warn_if_changed(run_dir, experiment)


def warn_if_changed(run_dir: Path, experiment: Experiment) -> None:
    """Log a warning when the file of a detector or method from outside has changed since a run began.

    Args:
        run_dir: Of a run that is about to go on, or whose result is about to be taken.
        experiment: As it is now. Code is no part of its identity.
    """
    path = run_dir / results.EXPERIMENT
    began_with = read_json(path).get("outside", []) if path.exists() else []
    for record in experiment.record().get("outside", []):
        if record not in began_with:
            log.warning(
                "%s: %s has changed since this run began; train it anew if that matters (--fresh, or another --out)",
                run_dir,
                record.get("file", record["module"]),
            )


def _has_learnt(run_dir: Path) -> bool:
    checkpoints = CheckpointFiles(run_dir / CHECKPOINTS).newest_first()
    return bool(checkpoints) or results.read_result(run_dir) is not None
