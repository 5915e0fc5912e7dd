"""What all figures share: colours and style, how they become SVG, PDF and PNG."""

from __future__ import annotations

import html
import io
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from siod.reports.analysis.aggregate import Spread
    from siod.tracking.records import StudyRecord

# Okabe and Ito's colours, told apart with any kind of colour blindness; markers tell them apart in grey.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
BASELINE = "#808080"
# Drawn in this colour and then renamed, so that axes and text take the colour of the text around them.
INK = "#010203"
SIZE_IN = (4.8, 3.4)
PNG_DPI = 200
PNG = {"compress_level": 3}
PRINTED = ("pdf", "png")
# As many processes as print figures; more would take longer to start than they save.
PRINTERS = 2
IDLE_SECONDS = 120
# Of a legend, if its labels are short.
MOST_COLUMNS = 3
# Markers on a long curve, so that it stays a line.
MOST_MARKERS = 10
STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "font.family": "sans-serif",
    "font.size": 10,
    "grid.alpha": 0.2,
    "grid.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "siod",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True)
class Drawing:
    """One figure.

    Args:
        name: Of its file, without the suffix.
        title: What it shows.
        svg: A complete SVG document that draws text in ``currentColor``.
        figure: What it was drawn from, for other formats.
    """

    name: str
    title: str
    svg: str
    figure: Figure = field(compare=False, repr=False)

    def printed(self, kind: str) -> bytes:
        """The figure on white paper.

        Args:
            kind: ``pdf`` or ``png``.
        """
        written = io.BytesIO()
        self.figure.patch.set_alpha(1)
        self.figure.patch.set_facecolor("white")
        # savefig would draw everything once more to lay it out.
        with mpl.rc_context(STYLE):
            if kind == "pdf":
                FigureCanvasPdf(self.figure).print_pdf(written, metadata={"CreationDate": None})  # type: ignore[no-untyped-call]
            else:
                self.figure.set_dpi(PNG_DPI)
                FigureCanvasAgg(self.figure).print_png(written, metadata={"Software": None}, pil_kwargs=PNG)  # type: ignore[no-untyped-call]
        return written.getvalue()


class FigurePrinter:
    """Prints drawings in processes of their own, which start at once and stay for the next report."""

    def __init__(self) -> None:
        from loky import get_reusable_executor  # noqa: PLC0415  (a page alone prints nothing)

        self._processes = get_reusable_executor(max_workers=PRINTERS, timeout=IDLE_SECONDS)
        for _ in range(PRINTERS):
            self._processes.submit(_print, None)  # they load what they need while the caller goes on
        self._printing: dict[str, Future[tuple[bytes, ...]]] = {}

    def submit(self, drawing: Drawing) -> None:
        """Begin to print a drawing without waiting for it."""
        self._printing[drawing.name] = self._processes.submit(_print, drawing)

    def files(self, drawing: Drawing) -> dict[str, bytes]:
        """Wait for a drawing that was submitted.

        Returns:
            Contents by format.
        """
        return dict(zip(PRINTED, self._printing[drawing.name].result(), strict=True))


def _print(drawing: Drawing | None) -> tuple[bytes, ...]:
    return () if drawing is None else tuple(drawing.printed(kind) for kind in PRINTED)


def new_figure(title: str) -> tuple[Figure, Axes]:
    """An empty figure without a background, and its axes; make it within :data:`STYLE`."""
    figure, (on,) = new_panels(1, SIZE_IN[1])
    on.set_title(title)
    return figure, on


def new_panels(count: int, height_in: float, *, across: int = 1) -> tuple[Figure, tuple[Axes, ...]]:
    """An empty figure of some panels without a background; make it within :data:`STYLE`.

    Args:
        count: How many.
        height_in: Of all together, in inches.
        across: How many stand in a row.
    """
    figure = Figure(figsize=(SIZE_IN[0], height_in), layout="constrained")
    figure.patch.set_alpha(0)
    panels = tuple(figure.add_subplot(-(-count // across), across, number) for number in range(1, count + 1))
    for on in panels:
        on.patch.set_alpha(0)
        on.grid(visible=True)
    return figure, panels


def finished(
    figure: Figure, name: str, title: str, lines: Sequence[Artist] = (), labels: Sequence[str] = ()
) -> Drawing:
    """Put the legend below a figure and write it.

    Args:
        figure: Of :func:`new_figure`.
        name: Of its file, without the suffix; unlike that of any other figure on a page.
        title: What it shows.
        lines: What the legend explains; none for a figure without one.
        labels: One for each.
    """
    FigureCanvasAgg(figure)
    if lines:
        _legend(figure, lines, labels)
    if (layout := figure.get_layout_engine()) is not None:
        layout.execute(figure)
    figure.set_layout_engine("none")  # it stays as it is laid out now, in every format
    return Drawing(name, title, _svg(figure, name, title), figure)


def draw_curves(
    study: StudyRecord,
    name: str,
    title: str,
    curves: Mapping[str, Mapping[float, Spread]],
    *,
    axes: Callable[[Axes], None],
    scale: float = 100.0,
) -> Drawing | None:
    """Draw one line for each arm, with a band of one standard deviation.

    Args:
        study: One group of arms.
        name: Of the figure, without the group.
        title: Likewise.
        curves: By arm, values by place on the horizontal axis; empty for an arm that has none.
        axes: Labels and limits the axes.
        scale: What values are multiplied by.

    Returns:
        Nothing when no arm has a value.
    """
    if not any(curves.values()):
        return None
    name, title = in_group(study, name, title)
    figure, on = new_figure(title)
    lines, labels = [], []
    colours = arm_colours(study)
    for place, arm in enumerate(study.arms):
        points = curves[arm.name]
        if points:
            marker = MARKERS[place % len(MARKERS)]
            dash = "--" if arm.name == study.baseline else "-"
            lines.append(_line(on, points, scale, color=colours[arm.name], marker=marker, linestyle=dash))
            labels.append(arm.label)
    axes(on)
    return finished(figure, name, title, lines, labels)


def _line(axes: Axes, points: Mapping[float, Spread], scale: float, **style: Any) -> Artist:
    """Draw means with markers, and one standard deviation to either side as a band."""
    places = list(points)
    means = [scale * spread.mean for spread in points.values()]
    half = [scale * (spread.std or 0.0) for spread in points.values()]
    if any(half):
        low = [mean - width for mean, width in zip(means, half, strict=True)]
        high = [mean + width for mean, width in zip(means, half, strict=True)]
        axes.fill_between(places, low, high, color=style["color"], alpha=0.18, linewidth=0)
    every = max(1, math.ceil(len(places) / MOST_MARKERS))
    (line,) = axes.plot(places, means, markersize=4.5, markevery=every, **style)
    return line


def in_group(study: StudyRecord, name: str, title: str) -> tuple[str, str]:
    """Name and title of a figure about the group that all arms of a study stand in, if they do."""
    group = study.arms[0].group
    return (f"{name}_{file_name(group)}", f"{group}: {title}") if group else (name, title)


def file_name(words: str) -> str:
    """Words as part of a file's name.

    Example:
        >>> file_name("Faster R-CNN (C4)")
        'Faster-R-CNN-C4'
    """
    return re.sub(r"[^A-Za-z0-9]+", "-", words).strip("-")


def arm_colours(study: StudyRecord) -> dict[str, str]:
    """The colour of each arm, the same in every figure; the baseline is grey."""
    others = [arm.name for arm in study.arms if arm.name != study.baseline]
    colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(others)}
    return colours | {study.baseline: BASELINE}


def _legend(figure: Figure, lines: Sequence[Artist], labels: Sequence[str]) -> None:
    # matplotlib hides what begins with an underscore; a space in front is not drawn.
    plain = [f" {label}" if label.startswith("_") else label for label in labels]
    for columns in range(min(MOST_COLUMNS, len(lines)), 0, -1):
        legend = figure.legend(lines, plain, loc="outside lower center", ncols=columns)
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def _svg(figure: Figure, name: str, title: str) -> str:
    """The figure as a document whose names are its own, so that several stand on one page."""
    written = io.StringIO()
    FigureCanvasSVG(figure).print_svg(written, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"\n *<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-")
    opening = svg.index(">")
    return f'{svg[:opening]} role="img"><title>{html.escape(title)}</title>{svg[opening + 1 :]}'
