"""The gallery as one figure for print: images down, the instances and each arm's detections across (Fig. 4, 7, 8)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from siod.picture import visible
from siod.reports.analysis.gallery import draw_gallery
from siod.reports.figures.drawing import Drawing, finished

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from siod.reports.analysis.gallery import Panel, Strip
    from siod.tracking.records import StudyRecord

MOST_IMAGES, MOST_PANELS = 4, 7
PANEL_IN = 1.7
# What a panel shows of an image in print; more would only make files large.
MOST_PX = 400


def draw_gallery_figure(study: StudyRecord) -> tuple[Drawing, ...]:
    """Draw the first images of a study's gallery with the boxes at its score threshold.

    Args:
        study: Call it within ``STYLE``; the page itself shows the gallery for every threshold.

    Returns:
        Nothing for a study without a gallery.

    Source: Li et al., SIOD, CVPR 2022, Fig. 4, 7 and 8.
    """
    strips = draw_gallery(study)[:MOST_IMAGES]
    if not strips or study.gallery is None:
        return ()
    across = min(len(strips[0].panels), MOST_PANELS)
    figure = Figure(figsize=(PANEL_IN * across, PANEL_IN * len(strips) + 0.3), layout="constrained")
    figure.patch.set_alpha(0)
    grid = figure.subplots(len(strips), across, squeeze=False)
    for row, strip in zip(grid, strips, strict=True):
        pixels = _pixels(study.gallery_files[strip.id])
        for on, panel in zip(row, strip.panels, strict=False):
            _draw(on, strip, panel, pixels)
    for on, panel in zip(grid[0], strips[0].panels, strict=False):
        on.set_title(panel.title, fontsize=8, loc="center")
    title = f"Detections scored {study.gallery.score_threshold:g} or higher"
    return (finished(figure, "detections", title),)


def _pixels(file: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(file)) as image:
        shown = visible(image)
    shown.thumbnail((MOST_PX, MOST_PX))
    return np.asarray(shown)


def _draw(on: Axes, strip: Strip, panel: Panel, pixels: np.ndarray) -> None:
    on.imshow(pixels, extent=(0, strip.width, strip.height, 0))
    on.set_axis_off()
    for box in panel.boxes:
        on.add_patch(Rectangle((box.x, box.y), box.width, box.height, fill=False, edgecolor=box.colour, linewidth=1))
        shade = {"facecolor": "black", "alpha": 0.6, "linewidth": 0, "pad": 0.6}
        on.text(box.x, box.y, box.caption, color=box.colour, fontsize=5, va="bottom", bbox=shade, clip_on=True)
