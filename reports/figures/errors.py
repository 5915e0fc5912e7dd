"""What lies behind the AP: precision over recall, reliability, scores of right and wrong detections, categories."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from siod.reports.analysis.aggregate import Spread
from siod.reports.analysis.numbers import heading
from siod.reports.figures.drawing import (
    COLOURS,
    INK,
    MARKERS,
    Drawing,
    arm_colours,
    draw_curves,
    finished,
    in_group,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from siod.tracking.records import Diagnosis, StudyRecord

SHOWN_IOUS = ("0.50", "0.75", "0.90")
# What a figure has room for.
MOST_PANELS, PANELS_ACROSS = 9, 3
MOST_CATEGORIES, MOST_ARMS = 20, 6
# Fewer detections say nothing about how often one of their score is right.
LEAST_IN_BIN = 10
METRIC = "ap_s"


def draw_errors(study: StudyRecord) -> tuple[Drawing, ...]:
    """Draw what the finished trials' diagnoses hold; call it within ``STYLE``.

    Args:
        study: One group of arms; trials without a diagnosis are left out.

    Returns:
        Nothing when no trial has one.
    """
    drawn = (
        *(_precision(study, iou) for iou in SHOWN_IOUS),
        _reliability(study),
        _histograms(study),
        _categories(study),
    )
    return tuple(drawing for drawing in drawn if drawing is not None)


def _diagnoses(study: StudyRecord, arm: str) -> list[Diagnosis]:
    return [trial.diagnosis for trial in study.trials_of(arm) if trial.diagnosis is not None]


def _precision(study: StudyRecord, iou: str) -> Drawing | None:
    curves: dict[str, dict[float, Spread]] = {}
    for arm in study.arms:
        precisions = [one.precision[iou] for one in _diagnoses(study, arm.name) if iou in one.precision]
        spreads = [Spread.of(values) for values in zip(*precisions, strict=True)]
        curves[arm.name] = {place / 100: spread for place, spread in enumerate(spreads) if spread is not None}

    def axes(on: Axes) -> None:
        on.set_xlabel("recall")
        on.set_ylabel("precision (%)")
        on.set_xlim(0, 1)
        on.set_ylim(0, 102)

    name = f"precision_iou{iou.replace('.', '')}"
    return draw_curves(study, name, f"Precision over recall at IoU {iou}", curves, axes=axes)


def _reliability(study: StudyRecord) -> Drawing | None:
    curves = {arm.name: _reliable(_diagnoses(study, arm.name)) for arm in study.arms}

    def axes(on: Axes) -> None:
        on.plot([0, 1], [0, 100], color=INK, linestyle=":", linewidth=1)
        on.set_xlabel("score")
        on.set_ylabel("right detections (%)")
        on.set_xlim(0, 1)
        on.set_ylim(0, 102)

    return draw_curves(study, "reliability", "Reliability of scores", curves, axes=axes)


def _reliable(diagnoses: list[Diagnosis]) -> dict[float, Spread]:
    """Share of right detections by mean score of their bin, over trials."""
    points = {}
    for place in range(len(diagnoses[0].right) if diagnoses else 0):
        counts = [(one.right[place], one.right[place] + one.wrong[place], one.scores[place]) for one in diagnoses]
        enough = [(right, number, scores) for right, number, scores in counts if number >= LEAST_IN_BIN]
        spread = Spread.of(right / number for right, number, _ in enough)
        if spread is not None:
            points[sum(scores for *_, scores in enough) / sum(number for _, number, _ in enough)] = spread
    return points


def _histograms(study: StudyRecord) -> Drawing | None:
    by_label = {arm.label: found for arm in study.arms if (found := _diagnoses(study, arm.name))}
    if not by_label:
        return None
    shown = dict(list(by_label.items())[:MOST_PANELS])
    across = min(PANELS_ACROSS, len(shown))
    down = math.ceil(len(shown) / across)
    name, title = in_group(study, "scores", "Right and wrong detections by score")
    figure = Figure(figsize=(2.4 * across + 0.4, 1.9 * down + 0.9), layout="constrained")
    figure.patch.set_alpha(0)
    figure.suptitle(title, fontsize=11)
    figure.supylabel("detections", fontsize=9)
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for on in panels.flat[len(shown) :]:
        on.set_visible(False)
    for on, (label, found) in zip(panels.flat, shown.items(), strict=False):
        _histogram(on, label, found)
    lines, labels = panels.flat[0].get_legend_handles_labels()
    return finished(figure, name, title, lines, labels)


def _histogram(on: Axes, label: str, diagnoses: list[Diagnosis]) -> None:
    """Means over trials, on a scale that shows thousands of faint boxes and tens of sure ones."""
    on.patch.set_alpha(0)
    bins = len(diagnoses[0].right)
    edges = [place / bins for place in range(bins + 1)]
    kinds = (
        ("right", [one.right for one in diagnoses], COLOURS[0], "-"),
        ("wrong", [one.wrong for one in diagnoses], COLOURS[1], "--"),
    )
    for kind, counts, colour, dash in kinds:
        means = [sum(values) / len(values) for values in zip(*counts, strict=True)]
        on.stairs(means, edges, color=colour, linestyle=dash, linewidth=1.6, label=kind)
    on.set_yscale("symlog", linthresh=1)
    on.set_ylim(bottom=0)
    on.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    on.set_xticks([0, 0.5, 1])
    on.set_xlim(0, 1)
    on.set_title(label, fontsize=9)
    on.set_xlabel("score", fontsize=9)


def _categories(study: StudyRecord) -> Drawing | None:
    """Differences to the baseline, of the categories where they are largest."""
    reference = _category_means(study, study.baseline)
    others = [arm for arm in study.arms if arm.name != study.baseline]
    gains = {arm.name: _gains(study, arm.name) for arm in others}
    shown_arms = [arm for arm in others if gains[arm.name]][:MOST_ARMS]
    if not reference or not shown_arms:
        return None
    largest = {name: max(abs(gains[arm.name][name].mean) for arm in shown_arms if name in gains[arm.name])
               for name in reference if any(name in gains[arm.name] for arm in shown_arms)}  # fmt: skip
    shown = sorted(largest, key=lambda name: -largest[name])[:MOST_CATEGORIES]
    shown.sort(key=lambda name: gains[shown_arms[-1].name][name].mean if name in gains[shown_arms[-1].name] else 0.0)
    name, title = in_group(study, "categories", f"{heading(METRIC)} of each category, difference to the baseline")
    figure, on = new_figure(title)
    figure.set_size_inches(4.8, 1.4 + 0.24 * len(shown))
    on.axvline(0, color=INK, linewidth=1)
    colours = arm_colours(study)
    lines: list[Any] = []
    for arm in shown_arms:
        known = [
            (place, gains[arm.name][category]) for place, category in enumerate(shown) if category in gains[arm.name]
        ]
        lines.append(
            on.errorbar(
                [100 * gain.mean for _, gain in known],
                [place for place, _ in known],
                xerr=[100 * (gain.std or 0.0) for _, gain in known],
                color=colours[arm.name],
                marker=MARKERS[study.arms.index(arm) % len(MARKERS)],
                markersize=4.5,
                linestyle="none",
                elinewidth=1,
            )
        )
    on.set_yticks(range(len(shown)), shown)
    on.set_ylim(-0.6, len(shown) - 0.4)
    on.set_xlabel("percent points")
    return finished(figure, name, title, lines, [arm.label for arm in shown_arms])


def _category_means(study: StudyRecord, arm: str) -> dict[str, float]:
    by_category = [one.categories for one in _diagnoses(study, arm)]
    names = dict.fromkeys(name for categories in by_category for name in categories)
    spreads = {name: Spread.of(one[name][METRIC] for one in by_category if name in one) for name in names}
    return {name: spread.mean for name, spread in spreads.items() if spread is not None}


def _gains(study: StudyRecord, arm: str) -> dict[str, Spread]:
    """What each seed gained over the baseline, by category."""
    reference = {trial.seed: trial.diagnosis for trial in study.trials_of(study.baseline) if trial.diagnosis}
    pairs = [
        (trial.diagnosis.categories, reference[trial.seed].categories)
        for trial in study.trials_of(arm)
        if trial.diagnosis is not None and trial.seed in reference
    ]
    names = dict.fromkeys(name for own, base in pairs for name in own if name in base)
    spreads = {
        name: Spread.of(own[name][METRIC] - base[name][METRIC] for own, base in pairs if name in own and name in base)
        for name in names
    }
    return {name: spread for name, spread in spreads.items() if spread is not None}
