"""Panels show what is left at each threshold, and marks where the miners found something, by shape and colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from siod.dminer.mining.quality import MiningCounts
from siod.training.visualize import Found, MinedImage
from siod.tuning.showing.panels import (
    MOST_NAMED,
    RIGHT_COLOUR,
    SIDE_PX,
    TITLE_PX,
    WRONG_COLOUR,
    Panel,
    draw_panels,
    mining_panels,
    score_panels,
)
from siod.tuning.trials.pictures import FOUND_COLOUR, GAP_PX


def test_a_threshold_keeps_what_scores_as_much_with_the_best_on_top() -> None:
    found = [((0.0, 0.0, 4.0, 4.0), "cat", 0.5), ((1.0, 1.0, 4.0, 4.0), "dog", 0.3), ((2.0, 2.0, 4.0, 4.0), "cat", 0.1)]
    truth, low, high = score_panels([((5.0, 5.0, 2.0, 2.0), "cat")], found, (0.1, 0.3))
    assert [caption for _, caption, _ in truth.boxes] == ["cat"]
    assert [caption for _, caption, _ in low.boxes] == ["cat 10", "dog 30", "cat 50"]
    assert [caption for _, caption, _ in high.boxes] == ["dog 30", "cat 50"]


def test_of_many_boxes_the_best_are_named() -> None:
    found = [((0.0, 0.0, 4.0, 4.0), "cat", score / 100) for score in range(MOST_NAMED + 5)]
    (panel,) = score_panels(None, found, (0.0,))
    assert [bool(caption) for _, caption, _ in panel.boxes] == [False] * 5 + [True] * MOST_NAMED


def counts(**figures: int) -> MiningCounts:
    names = ("images", "entries", "on_hidden", "on_annotated", "hidden", "recalled")
    return MiningCounts(*(torch.tensor(figures.get(name, 0)) for name in names))


def test_marks_tell_miner_and_truth() -> None:
    cat, dog = 0, 1
    found = Found(
        "both",
        {
            "splg": (((12.0, 12.0, 4.0, 4.0), cat), ((12.0, 12.0, 4.0, 4.0), dog)),
            "pgcl": (((40.0, 0.0, 4.0, 4.0), cat),),
        },
        {"splg": counts(entries=2, on_hidden=1), "pgcl": counts(entries=1)},
    )
    image = MinedImage(1, Path("a.png"), (((0.0, 0.0, 5.0, 5.0), dog),), (((10.0, 10.0, 8.0, 8.0), cat),), (found,))
    instances, panel = mining_panels(image, ("cat", "dog"))
    assert instances.title == "1 annotated, 1 hidden"
    assert {caption for _, caption, _ in instances.boxes} == {"cat", "dog"}
    assert panel.title == "both: 3, 33% on hidden"
    assert [(shape, colour) for _, shape, colour in panel.marks] == [
        ("square", RIGHT_COLOUR),
        ("square", WRONG_COLOUR),
        ("dot", WRONG_COLOUR),
    ]


def test_panels_stand_side_by_side_with_everything_where_it_is(tmp_path: Path) -> None:
    Image.new("RGB", (80, 40)).save(tmp_path / "black.png")
    panels = [Panel(str(place)) for place in range(5)]
    panels.append(Panel("last", (((20.0, 10.0, 40.0, 20.0), "", FOUND_COLOUR),)))
    draw_panels(tmp_path / "black.png", panels, tmp_path / "drawn.png", legend="what it means")
    pixels = np.array(Image.open(tmp_path / "drawn.png"))
    # Six panels in two rows of three; 80 px become SIDE_PX, four times as many.
    step_x, step_y = SIDE_PX + GAP_PX, SIDE_PX // 2 + TITLE_PX + GAP_PX
    assert pixels.shape == (2 * step_y + GAP_PX + TITLE_PX, 3 * step_x + GAP_PX, 3)
    rgb = [int(FOUND_COLOUR[place : place + 2], 16) for place in (1, 3, 5)]
    rows, columns = np.nonzero((pixels == rgb).all(axis=2))
    left, top = GAP_PX + 2 * step_x, GAP_PX + step_y + TITLE_PX
    assert (columns.min() - left, rows.min() - top) == (80, 40)
    assert (columns.max() - left, rows.max() - top) == (240, 120)
    assert [path.name for path in tmp_path.glob(".*")] == []
