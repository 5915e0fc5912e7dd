"""The page in headless Chromium: it loads in silence, its tables sort, its slider filters boxes."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chromium import CHROMIUM, browse

from siod.reports.page import render_page
from siod.reports.sentences.caveats import caveats
from siod.reports.tables.table import tabulate
from siod.tracking.records import FoundBox, StudyRecord

NASTY = "<script>document.title = 'owned'</script>"
PROBE = r"""
const told = {errors: window.told_errors, title: document.title};
const column = (number) => [...document.querySelectorAll("table.trials tbody tr")]
  .map(row => row.cells[number].innerText);
const boxes = (panel) => document.querySelectorAll(`.strip[data-image="1"] figure[data-panel="${panel}"] rect`).length;
const sortButtons = document.querySelectorAll("table.trials thead button");
sortButtons[4].click(); told.falling = column(4);
sortButtons[4].click(); told.rising = column(4);
const slider = document.getElementById("threshold");
told.boxes = [slider.min, "0.3", "0.8", "0.95"].map(value => {
  slider.value = value; slider.dispatchEvent(new Event("input")); return boxes(2);
});
told.truth = boxes(1 - 1);
document.querySelector("input[name=panel][value='2']").click();
told.shown = [...document.querySelectorAll("#gallery figure")].filter(figure => figure.checkVisibility())
  .map(figure => figure.dataset.panel);
document.querySelector(".enlarge").click();
told.zoomed = document.getElementById("zoom").open && document.querySelectorAll("#zoom svg path").length > 0;
document.querySelector("#zoom button").click();
told.closed = !document.getElementById("zoom").open;
told.width = [document.documentElement.scrollWidth, innerWidth];
told.errors_after = window.told_errors;
const out = document.createElement("pre"); out.id = "told"; out.textContent = JSON.stringify(told);
document.body.append(out);
"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


def page(study: StudyRecord) -> str:
    from siod.reports.figures.study import draw_study  # noqa: PLC0415  (slow; only where Chromium is)

    few = replace(study, trials=tuple(replace(one, history={}) for one in study.trials))
    return render_page(study, tabulate(study), caveats(study), draw_study(few))


def probed(text: str, folder: Path, *, width: int = 1200) -> dict[str, Any]:
    """What a script of the test finds out on the page, which has to let it run."""
    open_page = re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", text)
    watch = "<script>window.told_errors = []; window.onerror = (said) => window.told_errors.push(said);</script>"
    open_page = open_page.replace("<head>", f"<head>{watch}", 1)
    open_page = open_page.replace("</body>", f"<script>{PROBE}</script></body>", 1)
    elements, said = browse(open_page, folder, width=width)
    found = re.search(r'<pre id="told">(.*?)</pre>', elements, flags=re.DOTALL)
    assert found is not None, said
    told: dict[str, Any] = json.loads(html.unescape(found[1]))
    return told


@pytest.fixture(scope="module")
def shown(study: StudyRecord) -> StudyRecord:
    """The study with known boxes of the second arm in the first image."""
    boxes = tuple(FoundBox(5, 5, 20, 20, score, 0) for score in (0.9, 0.81, 0.5, 0.1))
    trials = [
        replace(one, found={**(one.found or {}), 1: boxes}) if (one.arm, one.seed) == ("base", 0) else one
        for one in study.trials
    ]
    arms = tuple(replace(arm, label=NASTY) if arm.name == "pgcl" else arm for arm in study.arms)
    return replace(study, trials=tuple(trials), arms=arms)


def test_a_page_loads_in_silence_under_its_own_policy(shown: StudyRecord, tmp_path: Path) -> None:
    elements, said = browse(page(shown), tmp_path)
    assert said == ""
    # The page's script ran: without it there would be no buttons.
    assert "<button" in elements
    assert "&lt;script&gt;document.title" in elements


@pytest.mark.parametrize("width", [1200, 500], ids=["desk", "phone"])
def test_the_table_sorts_the_slider_filters_and_figures_open(
    width: int, shown: StudyRecord, tmp_path: Path, change: Callable[..., StudyRecord]
) -> None:
    running = change(shown, "splg", 2, status="running", metrics={})
    told = probed(page(running), tmp_path, width=width)
    assert told["errors"] == told["errors_after"] == []
    assert told["title"] == "made_up"
    values = [round(100 * one.metrics["ap_s"], 1) for one in running.trials if one.status == "finished"]
    # What has no value comes last either way.
    assert [float(text) for text in told["falling"][:-1]] == sorted(values, reverse=True)
    assert [float(text) for text in told["rising"][:-1]] == sorted(values)
    assert told["falling"][-1] == told["rising"][-1] == ""
    assert told["boxes"] == [4, 3, 2, 0]
    assert told["truth"] == 3
    assert told["shown"] == ["2"] * 4
    assert told["zoomed"]
    assert told["closed"]
    # Nothing is wider than the screen: what must be scrolls on its own.
    assert told["width"][0] <= told["width"][1]
