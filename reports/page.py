"""The report as one HTML page that needs nothing but itself."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from siod.reports.analysis.aggregate import by_group, of_status
from siod.reports.analysis.categories import category_tables
from siod.reports.analysis.cost import HEADINGS as COST_HEADINGS
from siod.reports.analysis.cost import costs
from siod.reports.analysis.differences import HEADINGS, differences, reading
from siod.reports.analysis.equal_cost import equal_cost
from siod.reports.analysis.gallery import draw_gallery, gallery_data, shown_arms
from siod.reports.analysis.numbers import MINUS, heading, percent
from siod.reports.analysis.spending import spending
from siod.reports.analysis.test_split import TITLE, on_test_split
from siod.reports.inline import json_of, policy_hash
from siod.reports.sentences.answer import answers
from siod.reports.sentences.category_answer import disagreements
from siod.reports.sentences.caveats import tagged
from siod.reports.tables.sweeps import sweeps
from siod.reports.tables.table import MISSING, tabulate
from siod.tracking.records import flatten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from siod.reports.analysis.equal_cost import EqualCostTable
    from siod.reports.figures.drawing import Drawing
    from siod.reports.tables.table import Table
    from siod.tracking.records import StudyRecord, TrialRecord

TEMPLATES = Path(__file__).parent / "templates"
# Only this script may run on a page, whatever stands in the records.
SCRIPT = (TEMPLATES / "page.js").read_text(encoding="utf-8")
SCRIPT_HASH = policy_hash(SCRIPT)
LOCAL = "http://127.0.0.1:"


def render_page(
    study: StudyRecord,
    table: Table,
    notes: Sequence[str],
    drawings: Mapping[str, Sequence[Drawing]],
    *,
    most_arms: int = 12,
    price: float | None = None,
) -> str:
    """Write a study's page.

    Args:
        study: Finished or not.
        table: Of the study.
        notes: What limits the table, in whole sentences.
        drawings: Figures by group.
        most_arms: How many arms figures show at most.
        price: Of an hour of a GPU, or of a core where no trial reserved a GPU; None leaves money out.

    Returns:
        An HTML document that needs no other file and no network: complete as it is, with a script of its own for
        sorting, zooming and the gallery's slider, and links to the runs in MLflow; all text is escaped.
    """
    found, tested, spent = differences(study), on_test_split(study), spending(study)
    return (
        environment()
        .get_template("page.html")
        .render(
            study=study,
            answers=(*answers(study), *disagreements(study)),
            categories=category_tables(study),
            differences=found,
            difference_headings=HEADINGS,
            difference_notes=reading(study, found),
            table=table,
            notes=notes,
            test_table=None if tested is None else tabulate(tested),
            test_title=TITLE,
            missing=MISSING,
            drawings=drawings,
            crowded=most_arms if any(len(group.arms) > most_arms for group in by_group(study).values()) else 0,
            sweeps=sweeps(study),
            strips=draw_gallery(study),
            gallery_data=gallery_data(study),
            hidden_arms=_hidden_arms(study),
            labels={arm.name: arm.title for arm in study.arms},
            counts=status_counts(study),
            duration=_duration,
            local=study.address.startswith(LOCAL),
            costs=costs(study),
            cost_headings=COST_HEADINGS,
            spent="" if spent is None else spent.sentence(price),
            equal_costs=_equal_costs(study),
            objective=heading(study.objective),
            environment=_machine(study.environment),
            packages=sorted(study.environment.get("packages", {}).items()),
            settings=flatten(study.experiment),
            fingerprints={arm.name: tagged(study.trials_of(arm.name), "data_fingerprint") for arm in study.arms},
            commits=tagged(study.trials, "git_commit"),
            flat=flatten,
            script=SCRIPT,
            script_hash=SCRIPT_HASH,
        )
    )


def _equal_costs(study: StudyRecord) -> dict[str, EqualCostTable]:
    """By group, where its arms take different times."""
    tables = {group: equal_cost(arms) for group, arms in by_group(study).items()}
    return {group: table for group, table in tables.items() if table is not None}


def environment() -> Environment:
    """What renders the templates: all text is escaped, an unknown name is an error."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "subscript": _subscript,
        "percent": percent,
        "moment": _moment,
        "json": json_of,
        "milliseconds": _milliseconds,
        "leading_number": _leading_number,
        "svg": Markup,  # drawn here, with its text escaped
    }
    return made


def _hidden_arms(study: StudyRecord) -> int:
    """How many arms with detections the gallery has no place for."""
    recorded = [arm for arm in study.arms if any(trial.found for trial in study.trials_of(arm.name))]
    return len(recorded) - len(shown_arms(study))


def _machine(environment: Mapping[str, Any]) -> str:
    """Where a trial ran, in one line."""
    said = [f"Python {environment['python']}"] if "python" in environment else []
    said += [str(environment["platform"])] if "platform" in environment else []
    said += [f"{environment['cpus']} CPUs"] if "cpus" in environment else []
    said += [f"GPU {name}" for name in environment.get("gpus", ())]
    computed = dict.fromkeys(f"{one['precision']} on {one['device']}" for one in environment.get("arithmetic", ()))
    said += [f"trained in {', then '.join(computed)}"] if computed else []
    return ", ".join(said)


def status_counts(study: StudyRecord) -> dict[str, int]:
    """How many declared trials are in each state, those that are in none left out."""
    declared = [trial for arm in study.arms for trial in study.trials_of(arm.name)]
    counts: dict[str, int] = {
        status: len(of_status(declared, status))
        for status in ("finished", "running", "interrupted", "pruned", "failed")
    }
    counts["not started"] = len(study.declared()) - len(declared)
    return {state: count for state, count in counts.items() if count}


def _subscript(heading: str) -> Markup:
    """Set the digit of a score threshold below the line, as the paper does."""
    return Markup(re.sub(r"S(\d)$", r"S<sub>\1</sub>", str(escape(heading))))  # noqa: S704  (escaped just before)


def _leading_number(cell: str) -> str:
    """What a cell sorts by: the number it begins with, as a script reads it; its text where it begins with none."""
    found = re.match(rf"{MINUS}?[\d,]+(\.\d+)?", cell)
    return found[0].replace(",", "").replace(MINUS, "-") if found else cell


def _moment(milliseconds: int | None) -> str:
    if milliseconds is None:
        return ""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _milliseconds(trial: TrialRecord) -> str:
    """From the first start to the end; empty while it runs."""
    return "" if trial.started_ms is None or trial.ended_ms is None else str(trial.ended_ms - trial.started_ms)


def _duration(trial: TrialRecord) -> str:
    """From the first start to the end, pauses included, as hours, minutes and seconds."""
    if trial.started_ms is None or trial.ended_ms is None:
        return ""
    minutes, seconds = divmod((trial.ended_ms - trial.started_ms) // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
