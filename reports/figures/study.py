"""Curves over score thresholds and epochs, as SVG that looks right on light and dark pages and in print."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.ticker import MaxNLocator

from siod.reports.analysis.aggregate import Spread, by_group, curve, leading, of_status
from siod.reports.analysis.numbers import heading
from siod.reports.figures.drawing import STYLE, Drawing, draw_curves
from siod.reports.figures.errors import draw_errors
from siod.reports.figures.gallery import draw_gallery_figure
from siod.reports.figures.points import draw_sweeps, draw_trade_off
from siod.reports.figures.search import draw_search

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from matplotlib.axes import Axes

    from siod.tracking.records import StudyRecord, TrialRecord

LOSSES = ("train/loss", "train/heatmap", "train/size", "train/offset", "train/pgcl")
# As many lines as a figure can tell apart.
MOST_ARMS = 12
MINING = ("per_image", "precision", "recall")


def draw_study(
    study: StudyRecord, *, ready: Callable[[Drawing], object] = lambda _: None
) -> dict[str, tuple[Drawing, ...]]:
    """Draw everything a study's trials have values for.

    Args:
        study: Finished or not; of a group with more arms than a figure can tell apart the best are drawn.
        ready: Called with each drawing while the next one is still to be drawn.

    Returns:
        Drawings by group: ``search`` (of searches), ``thresholds``, ``sweeps``, ``errors`` and ``gallery`` (finished
        trials; the last for print, the page has a gallery of its own), ``training`` and ``mining`` (also of trials
        that still run); a group without values is empty.
    """
    groups = _groups(study)
    # Families of detectors have losses of their own; only the whole is comparable.
    losses = LOSSES if len(groups) == 1 else LOSSES[:1]
    mining = [f"mining/{miner}_{figure}" for miner in ("splg", "pgcl", "reject", "pseudo") for figure in MINING]
    drawn: dict[str, tuple[Drawing, ...]] = {}
    with mpl.rc_context(STYLE):
        for name, drawings in {
            "thresholds": chain(map(_thresholds, groups), map(draw_trade_off, groups)),
            "search": draw_search(study),
            "sweeps": draw_sweeps(study),
            "gallery": draw_gallery_figure(study),
            "errors": (drawing for group in groups for drawing in draw_errors(group)),
            "training": (_by_epoch(group, metric) for group in groups for metric in (study.objective, *losses)),
            "mining": (_by_epoch(group, metric) for group in groups for metric in mining),
        }.items():
            drawn[name] = tuple(_pass_each(drawings, ready))
    return drawn


def arms_drawn(study: StudyRecord) -> set[str]:
    """The arms that figures show, and whose values by epoch they need."""
    return {arm.name for group in _groups(study) for arm in group.arms}


def _groups(study: StudyRecord) -> list[StudyRecord]:
    return [leading(group, MOST_ARMS) for group in by_group(study).values()]


def _pass_each(drawings: Iterable[Drawing | None], ready: Callable[[Drawing], object]) -> Iterator[Drawing]:
    for drawing in drawings:
        if drawing is not None:
            ready(drawing)
            yield drawing


def _thresholds(study: StudyRecord) -> Drawing | None:
    """AP against the lowest score that counts, of the finished trials."""
    curves = {}
    for arm in study.arms:
        finished = of_status(study.trials_of(arm.name), "finished")
        points = {step / 10: _final(finished, f"ap_s{step}") for step in range(10)}
        curves[arm.name] = {threshold: spread for threshold, spread in points.items() if spread is not None}
    return draw_curves(study, "thresholds", "AP over the score threshold", curves, axes=_threshold_axes)


def _final(trials: Sequence[TrialRecord], metric: str) -> Spread | None:
    return Spread.of(trial.metrics[metric] for trial in trials if metric in trial.metrics)


def _by_epoch(study: StudyRecord, metric: str) -> Drawing | None:
    curves: dict[str, dict[float, Spread]] = {}
    for arm in study.arms:
        trials = [trial for trial in study.trials_of(arm.name) if trial.status != "failed"]
        curves[arm.name] = {float(epoch): spread for epoch, spread in curve(trials, metric).items()}

    def axes(on: Axes) -> None:
        on.set_xlabel("epoch")
        on.xaxis.set_major_locator(MaxNLocator(integer=True))
        on.set_ylim(bottom=0) if _never_negative(metric) else None

    return draw_curves(study, re.sub(r"\W", "_", metric), title_of(metric), curves, axes=axes, scale=_scale(metric))


def title_of(metric: str) -> str:
    """Say what a metric is, with its unit.

    Example:
        >>> title_of("mining/splg_precision"), title_of("train/heatmap"), title_of("ap_s")
        ('SPLG: precision (%)', 'Training loss: heatmap', 'AP@S (%)')
        >>> title_of("mining/pseudo_per_image"), title_of("mining/reject_recall")
        ('Pseudo boxes: per image', 'Reject: recall (%)')
    """
    group, _, name = metric.partition("/")
    if group == "train":
        return "Training loss" if name == "loss" else f"Training loss: {name}"
    if group == "mining":
        miner, _, figure = name.partition("_")
        if miner == "pseudo":
            return f"Pseudo boxes: {'per image' if figure == 'per_image' else f'{figure} (%)'}"
        title = "Reject" if miner == "reject" else miner.upper()
        return f"{title}: {'positions per image' if figure == 'per_image' else f'{figure} (%)'}"
    return f"{heading(metric)} (%)"


def _scale(metric: str) -> float:
    """Fractions are drawn in percent."""
    return 1.0 if metric.startswith("train/") or metric.endswith("_per_image") else 100.0


def _never_negative(metric: str) -> bool:
    return not metric.startswith("train/")


def _threshold_axes(axes: Axes) -> None:
    axes.set_xlabel("score threshold")
    axes.set_ylabel("AP (%)")
    axes.set_xticks([step / 10 for step in range(10)])
    axes.set_ylim(bottom=0)
