"""What became of the trials of one run of a study."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from siod.tuning.showing.board import Board


@dataclass
class StudyOutcome:
    """What became of each trial of one run of a study.

    Args:
        study: Its name.
        finished: Names of the trials that were trained.
        reused: Names of the trials that were trained before.
        failed: Errors by the trial's name.
        unfinished: Names of the trials that are still to do.
        unrecorded: Why a trial could not be recorded, by its name.
        abort_reason: Why the study was aborted; empty if it was not.
        seconds: How long the run took.
    """

    study: str
    finished: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)
    unrecorded: dict[str, str] = field(default_factory=dict)
    abort_reason: str = ""
    seconds: float = 0.0

    @classmethod
    def of(cls, board: Board, unrecorded: dict[str, str]) -> StudyOutcome:
        """Read the outcome off a board.

        Args:
            board: Of trials that have ended or been stopped.
            unrecorded: Why a trial could not be recorded, by its name.
        """
        by_state: dict[str, list[str]] = {}
        for row in board.rows.values():
            by_state.setdefault(row.state, []).append(row.name)
        return cls(
            study=board.study,
            finished=by_state.get("finished", []),
            reused=by_state.get("reused", []),
            failed={name: board.rows[name].error for name in by_state.get("failed", [])},
            unfinished=[row.name for row in board.rows.values() if row.state in {"waiting", "running", "interrupted"}],
            unrecorded=unrecorded,
            abort_reason=board.abort_reason,
        )
