"""Figures of an annotation set: what it keeps of each category and each size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from siod.errors import UserError
from siod.files import replacing
from siod.reports.figures.drawing import COLOURS, STYLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from matplotlib.axes import Axes

WIDTH_IN = 6.4
LINE_IN = 0.16  # of a category with its two bars
INK = "#202020"


def write_figures(statistics: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw an annotation set's statistics.

    Args:
        statistics: As ``siod.data.describing.statistics.Statistics.plain`` gives them.
        folder: Where to; made when missing.

    Returns:
        The SVG files, the same for the same numbers.

    Raises:
        UserError: The folder cannot be written to.
    """
    rows = sorted(statistics["categories"], key=_shown_instances)
    height = 1.0 + LINE_IN * max(len(rows), 4)
    figures = {
        "instances": _figure(height, lambda axes: _instances(axes, statistics, rows)),
        "keep_ratio": _figure(height, lambda axes: _keep_ratio(axes, rows)),
        "sizes": _figure(2.6, lambda axes: _sizes(axes, statistics)),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_save(figure, folder / f"{name}.svg") for name, figure in figures.items()]
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); name another folder") from error


def _figure(height: float, draw: Callable[[Axes], None]) -> Figure:
    with mpl.rc_context({**STYLE, **{key: INK for key, value in STYLE.items() if key.endswith("color")}}):
        figure = Figure(figsize=(WIDTH_IN, height), layout="constrained")
        draw(figure.add_subplot())
    return figure


def _shown_instances(row: Mapping[str, Any]) -> int:
    """Of a category in the sample."""
    shown: float = row["instances"] * (row["sample_ratio"] or 0.0)
    return round(shown)


def _instances(axes: Axes, statistics: Mapping[str, Any], rows: list[dict[str, Any]]) -> None:
    """Instances of each category in the sample: all, and those kept."""
    names = [row["name"] for row in rows]
    all_of_it = [_shown_instances(row) for row in rows]
    kept = [round(count * (row["keep_ratio"] or 0)) for count, row in zip(all_of_it, rows, strict=True)]
    places = range(len(rows))
    axes.barh(places, all_of_it, color="#bbbbbb", label=statistics["full"]["name"])
    axes.barh(places, kept, height=0.45, color=COLOURS[0], label=statistics["kept"]["name"])
    axes.set_yticks(places, names, fontsize=7)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xlabel(f"instances in {statistics['sampled_images']} images")
    if max(all_of_it, default=0) > 100 * max(1, min(all_of_it, default=0)):
        axes.set_xscale("symlog", linthresh=1)
    axes.legend(loc="lower right")


def _keep_ratio(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Share of each category's instances that is kept."""
    places = range(len(rows))
    axes.barh(places, [row["keep_ratio"] or 0 for row in rows], color=COLOURS[0])
    axes.set_yticks(places, [row["name"] for row in rows], fontsize=7)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of instances kept")


def _sizes(axes: Axes, statistics: Mapping[str, Any]) -> None:
    """Instances that are small, medium and large."""
    for shift, which, colour in ((-0.2, "full", "#bbbbbb"), (0.2, "kept", COLOURS[0])):
        row = statistics[which]
        places = [place + shift for place in range(len(row["sizes"]))]
        axes.bar(places, list(row["sizes"].values()), width=0.38, color=colour, label=row["name"])
    axes.set_xticks(range(len(statistics["full"]["sizes"])), list(statistics["full"]["sizes"]))
    axes.set_ylabel("instances")
    axes.legend()


def _save(figure: Figure, path: Path) -> Path:
    with replacing(path) as temporary, mpl.rc_context(STYLE):
        figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
    return path
