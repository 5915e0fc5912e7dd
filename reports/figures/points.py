"""Figures of single values: a sweep's value against the metric, and AP at threshold 0 against AP@S."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from siod.reports.analysis.aggregate import Spread, of_status
from siod.reports.analysis.numbers import heading
from siod.reports.figures.drawing import (
    COLOURS,
    INK,
    MARKERS,
    Drawing,
    arm_colours,
    file_name,
    finished,
    in_group,
    new_figure,
)
from siod.reports.tables.sweeps import sweeps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer

    from siod.reports.tables.sweeps import Sweep
    from siod.tracking.records import StudyRecord

TRADE_OFF = ("ap_s0", "ap_s")


def draw_sweeps(study: StudyRecord) -> tuple[Drawing, ...]:
    """Draw each sweep of numbers: value against the objective, with error bars and a paper's curve.

    Args:
        study: Sweeps without a finished trial are left out; call it within ``STYLE``.
    """
    drawn = (_sweep(sweep, study.objective) for sweep in sweeps(study))
    return tuple(drawing for drawing in drawn if drawing is not None)


def _sweep(sweep: Sweep, metric: str) -> Drawing | None:
    places, cells = sweep.numbers(), sweep.cells.get(metric, ())
    if places is None or not any(cells):
        return None
    title = f"{heading(metric)} over {sweep.title}"
    figure, on = new_figure(title)
    on.set_xlabel(sweep.path)
    on.set_ylabel(f"{heading(metric)} (%)")
    lines: list[Any] = [_ours(on, places, cells)]
    labels = ["ours"]
    published = [(x, 100 * y) for x, y in zip(places, sweep.published.get(metric, ()), strict=False) if y is not None]
    if published:
        (line,) = on.plot(*zip(*published, strict=True), color=INK, marker="s", markersize=4.5, linestyle="--")
        lines, labels = [*lines, line], [*labels, "published"]
    return finished(figure, f"sweep_{file_name(sweep.group + ' ' + sweep.path)}", title, lines, labels)


def _ours(on: Axes, places: Sequence[float], cells: Sequence[Spread | None]) -> ErrorbarContainer:
    known = [(place, cell) for place, cell in zip(places, cells, strict=True) if cell is not None]
    return on.errorbar(
        [place for place, _ in known],
        [100 * cell.mean for _, cell in known],
        yerr=[100 * (cell.std or 0.0) for _, cell in known],
        color=COLOURS[0],
        marker="o",
        markersize=4.5,
        capsize=3,
    )


def draw_trade_off(study: StudyRecord) -> Drawing | None:
    """Draw AP at score threshold 0 against AP@S, one point for each finished trial: what a threshold costs an arm.

    Args:
        study: One group of arms; call it within ``STYLE``.

    Returns:
        Nothing when no finished trial has both.
    """
    name, title = in_group(study, "trade_off", "AP@S0 against AP@S")
    figure, on = new_figure(title)
    across, up = TRADE_OFF
    lines, labels = [], []
    colours = arm_colours(study)
    for place, arm in enumerate(study.arms):
        metrics = [trial.metrics for trial in of_status(study.trials_of(arm.name), "finished")]
        points = [(100 * values[across], 100 * values[up]) for values in metrics if {across, up} <= values.keys()]
        if points:
            marker, (xs, ys) = MARKERS[place % len(MARKERS)], zip(*points, strict=True)
            lines.append(on.scatter(xs, ys, color=colours[arm.name], marker=marker, s=28))
            labels.append(arm.label)
    if not lines:
        return None
    on.set_xlabel(f"AP{heading(across)} (%)")
    on.set_ylabel(f"{heading(up)} (%)")
    return finished(figure, name, title, lines, labels)
