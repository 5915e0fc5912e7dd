"""Figures of a search: its history, what mattered, every setting against the objective, and what gains cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from matplotlib import colormaps
from matplotlib.ticker import MaxNLocator

from siod.reports.analysis.numbers import heading
from siod.reports.analysis.searched import best_so_far, front, importance, searched
from siod.reports.figures.drawing import (
    COLOURS,
    INK,
    MARKERS,
    Drawing,
    arm_colours,
    file_name,
    finished,
    new_figure,
    new_panels,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from siod.reports.analysis.searched import Searched, Setting
    from siod.tracking.records import ArmRecord, StudyRecord

# Light where the objective is high; its lightness rises evenly, so it is told apart in grey.
SHADES = "cividis"
COSTS = {"cost/epoch_seconds": "seconds per epoch", "cost/peak_memory_mib": "peak memory (MiB)"}
ACROSS = 2
MOST_SETTINGS = 8
FEWEST_FOR_CONTOURS = 6


def draw_search(study: StudyRecord) -> tuple[Drawing, ...]:
    """Draw a search; nothing for a study that is none.

    Args:
        study: Of any kind; call it within ``STYLE``.

    Returns:
        The history of all arms, what gains cost, and of each arm with enough trials the importance of its settings,
        every setting against the objective, all settings together, and the two that matter most.
    """
    if not study.is_search:
        return ()
    found = {arm.name: searched(study, arm.name) for arm in study.arms}
    drawings: list[Drawing | None] = [_history(study), *(_cost(study, found, metric) for metric in COSTS)]
    for arm in study.arms:
        drawings += _of_arm(study, arm, found[arm.name])
    return tuple(drawing for drawing in drawings if drawing is not None)


def _of_arm(study: StudyRecord, arm: ArmRecord, found: Searched) -> list[Drawing | None]:
    overall, near_best = importance(found)
    ranked = sorted(found.settings, key=lambda setting: -overall.get(setting.path, 0.0))[:MOST_SETTINGS]
    if not ranked:
        return []
    return [
        _importance(arm, overall, near_best) if len(overall) > 1 else None,
        _slices(study, arm, found, ranked),
        _parallel(study, arm, found, ranked) if len(ranked) > 1 else None,
        _contour(study, arm, found, ranked[0], ranked[1]) if len(ranked) > 1 else None,
    ]


def _history(study: StudyRecord) -> Drawing | None:
    """The objective of every trial in the order of the proposals, and the best so far as a line."""
    title = f"{heading(study.objective)} of the trials"
    figure, on = new_figure(title)
    colours, lines, labels = arm_colours(study), [], []
    for place, arm in enumerate(study.arms):
        own, marker = searched(study, arm.name), MARKERS[place % len(MARKERS)]
        numbers = [trial.seed for trial in own.trials]
        cut = [
            (trial.seed, 100 * trial.metrics[study.objective])
            for trial in study.trials
            if trial.arm == arm.name and trial.status == "pruned" and study.objective in trial.metrics
        ]
        style: dict[str, Any] = {"color": colours[arm.name], "marker": marker}
        if cut:
            across, up = zip(*cut, strict=True)
            on.scatter(across, up, s=18, facecolors="none", edgecolors=colours[arm.name], marker=marker)
        if numbers:
            on.scatter(numbers, [100 * value for value in own.values], s=18, **style)
            best = [100 * value for value in best_so_far(own.values)]
            lines += on.step(numbers, best, where="post", markersize=4.5, markevery=[], **style)
            labels.append(arm.title)
    if not lines:
        return None
    on.set_xlabel("trial (hollow: pruned)")
    on.xaxis.set_major_locator(MaxNLocator(integer=True))
    on.set_ylabel(f"{heading(study.objective)} (%)")
    return finished(figure, "search_history", title, lines, labels)


def _cost(study: StudyRecord, found: Mapping[str, Searched], metric: str) -> Drawing | None:
    """The objective against what a trial costs; the front of all arms as a line."""
    title = f"{heading(study.objective)} over {COSTS[metric]}"
    figure, on = new_figure(title)
    colours, lines, labels = arm_colours(study), [], []
    points: list[tuple[float, float]] = []
    for place, arm in enumerate(study.arms):
        pairs = zip(found[arm.name].trials, found[arm.name].values, strict=True)
        own = [(trial.metrics[metric], 100 * value) for trial, value in pairs if metric in trial.metrics]
        if own:
            marker = MARKERS[place % len(MARKERS)]
            costs, gains = zip(*own, strict=True)
            lines.append(on.scatter(costs, gains, s=24, color=colours[arm.name], marker=marker))
            labels.append(arm.title)
            points += own
    if not points:
        return None
    kept = [points[place] for place in front([gain for _, gain in points], [cost for cost, _ in points])]
    on.step(*zip(*kept, strict=True), where="post", color=INK, linewidth=1, linestyle=":")
    on.set_xlabel(f"{COSTS[metric]} (dotted: the front)")
    on.set_ylabel(f"{heading(study.objective)} (%)")
    return finished(figure, f"search_{file_name(metric)}", title, lines, labels)


def _importance(arm: ArmRecord, overall: Mapping[str, float], near_best: Mapping[str, float]) -> Drawing:
    title = f"{arm.title}: importance (%)"
    figure, on = new_figure(title)
    names = sorted(overall, key=lambda path: overall[path])
    places = range(len(names))
    lines = [
        on.barh([place + 0.2 for place in places], [100 * overall[name] for name in names], 0.38, color=COLOURS[0]),
        on.barh(
            [place - 0.2 for place in places],
            [100 * near_best.get(name, 0.0) for name in names],
            0.38,
            color=COLOURS[4],
            hatch="//",
        ),
    ]
    on.set_yticks(list(places), [".".join(name.split(".")[-2:]) for name in names])
    labels = ["of the variance (fANOVA)", "for the best trials (PED-ANOVA)"]
    return finished(figure, f"search_importance_{file_name(arm.name)}", title, [one[0] for one in lines], labels)


def _slices(study: StudyRecord, arm: ArmRecord, found: Searched, settings: Sequence[Setting]) -> Drawing:
    """One panel for each setting: its value against the objective."""
    title = f"{arm.title}: {heading(study.objective)} (%) over each setting"
    across = min(ACROSS, len(settings))
    figure, panels = new_panels(len(settings), 0.6 + 1.7 * -(-len(settings) // across), across=across)
    figure.suptitle(title, x=0.02, ha="left", fontsize=11)
    for on, setting in zip(panels, settings, strict=True):
        places = [setting.place(trial) for trial in found.trials]
        # Later trials are lighter: where the search went.
        on.scatter(places, [100 * value for value in found.values], c=range(len(places)), cmap=SHADES, s=16)
        _scale(on, setting, across=True)
        on.set_xlabel(setting.title, fontsize=9)
    return finished(figure, f"search_slices_{file_name(arm.name)}", title)


def _parallel(study: StudyRecord, arm: ArmRecord, found: Searched, settings: Sequence[Setting]) -> Drawing:
    """A line for each trial through its values, each setting scaled to its range; the best are lightest."""
    title = f"{arm.title}: settings and {heading(study.objective)} together"
    figure, on = new_figure(title)
    columns = [[_position(setting, setting.place(trial)) for trial in found.trials] for setting in settings]
    columns.append(list(found.values))
    scaled = [[(value - min(column)) / ((max(column) - min(column)) or 1) for value in column] for column in columns]
    shades = _shades(scaled[-1])
    for place in sorted(range(len(found.trials)), key=lambda place: found.values[place]):
        on.plot(range(len(scaled)), [column[place] for column in scaled], color=shades[place], linewidth=1.2)
    names = [setting.title.rpartition(".")[2] for setting in settings]
    on.set_xticks(range(len(scaled)), [*names, heading(study.objective)], rotation=20, ha="right", fontsize=8)
    on.set_yticks([0, 1], ["least", "most"])
    return finished(figure, f"search_parallel_{file_name(arm.name)}", title)


def _contour(study: StudyRecord, arm: ArmRecord, found: Searched, across: Setting, up: Setting) -> Drawing:
    """The two settings that matter most against each other, shaded by the objective."""
    title = f"{arm.title}: {heading(study.objective)} (%) over two settings"
    figure, on = new_figure(title)
    xs, ys = ([one.place(trial) for trial in found.trials] for one in (across, up))
    values = [100 * value for value in found.values]
    _scale(on, across, across=True)
    _scale(on, up, across=False)
    if len({(x, y) for x, y in zip(xs, ys, strict=True)}) >= FEWEST_FOR_CONTOURS and len(set(xs)) > 1 < len(set(ys)):
        on.tricontourf(xs, ys, values, levels=8, cmap=SHADES, alpha=0.6)
    drawn = on.scatter(xs, ys, c=values, cmap=SHADES, edgecolors=INK, linewidths=0.6, s=30, clip_on=False)
    on.set_xlabel(across.title)
    on.set_ylabel(up.title)
    figure.colorbar(drawn, ax=on)
    return finished(figure, f"search_contour_{file_name(arm.name)}", title)


def _shades(shares: Sequence[float]) -> list[Any]:
    return [colormaps[SHADES](share) for share in shares]


def _position(setting: Setting, place: float) -> float:
    return math.log(place) if setting.log else place


def _scale(on: Axes, setting: Setting, *, across: bool) -> None:
    axis = "x" if across else "y"
    if setting.words:
        getattr(on, f"set_{axis}ticks")(range(len(setting.words)), setting.words)
    elif setting.log:
        getattr(on, f"set_{axis}scale")("log")
    else:
        getattr(on, f"{axis}axis").set_major_locator(MaxNLocator(4))
