"""The report as one HTML page that needs nothing but itself."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from siod.reports.aggregate import of_status
from siod.reports.caveats import tagged
from siod.reports.differences import HEADINGS, differences, reading
from siod.reports.gallery import draw_gallery
from siod.reports.table import MISSING, percent
from siod.tracking.records import flatten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from siod.reports.figures import Drawing
    from siod.reports.table import Table
    from siod.tracking.records import StudyRecord, TrialRecord

TEMPLATES = Path(__file__).parent / "templates"


def render_page(
    study: StudyRecord, table: Table, notes: Sequence[str], drawings: Mapping[str, Sequence[Drawing]]
) -> str:
    """Write a study's page.

    Args:
        study: Finished or not.
        table: Of the study.
        notes: What limits the table, in whole sentences.
        drawings: Figures by group.

    Returns:
        An HTML document without scripts, links or references to other files; all text is escaped.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "subscript": _subscript,
        "percent": percent,
        "moment": _moment,
        "svg": Markup,  # drawn here, with its text escaped
    }
    found = differences(study)
    return environment.get_template("page.html").render(
        study=study,
        differences=found,
        difference_headings=HEADINGS,
        difference_notes=reading(study, found),
        table=table,
        notes=notes,
        missing=MISSING,
        drawings=drawings,
        strips=draw_gallery(study),
        labels={arm.name: arm.title for arm in study.arms},
        counts=_counts(study),
        duration=_duration,
        settings=flatten(study.experiment),
        fingerprints={arm.name: tagged(study.trials_of(arm.name), "data_fingerprint") for arm in study.arms},
        commits=tagged(study.trials, "git_commit"),
        flat=flatten,
    )


def _counts(study: StudyRecord) -> dict[str, int]:
    """How many declared trials are in each state, those that are in none left out."""
    declared = [trial for arm in study.arms for trial in study.trials_of(arm.name)]
    counts: dict[str, int] = {
        status: len(of_status(declared, status)) for status in ("finished", "running", "interrupted", "failed")
    }
    counts["not started"] = len(study.arms) * len(study.seeds) - len(declared)
    return {state: count for state, count in counts.items() if count}


def _subscript(heading: str) -> Markup:
    """Set the digit of a score threshold below the line, as the paper does."""
    return Markup(re.sub(r"S(\d)$", r"S<sub>\1</sub>", str(escape(heading))))  # noqa: S704  (escaped just before)


def _moment(milliseconds: int | None) -> str:
    if milliseconds is None:
        return ""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _duration(trial: TrialRecord) -> str:
    """From the first start to the end, pauses included, as hours, minutes and seconds."""
    if trial.started_ms is None or trial.ended_ms is None:
        return ""
    minutes, seconds = divmod((trial.ended_ms - trial.started_ms) // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
