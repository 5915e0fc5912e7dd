"""One page over all studies: what each asks, how far it is, what it answers, where its report is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siod.reports.page import environment, status_counts
from siod.reports.sentences.answer import answers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from siod.tracking.records import StudyRecord


def render_index(studies: Sequence[StudyRecord], reports: Mapping[str, str]) -> str:
    """Write the page.

    Args:
        studies: In the order they are shown, finished or not.
        reports: Address of a study's report, relative to the page, by name; a study without one says how to make it.

    Returns:
        An HTML document that needs no other file; all text is escaped.
    """
    entries = [
        {"study": study, "counts": status_counts(study), "answers": answers(study), "report": reports.get(study.name)}
        for study in studies
    ]
    return environment().get_template("index.html").render(entries=entries)
