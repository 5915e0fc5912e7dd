"""The page on which a person accepts or rejects proposals: one file beside pictures, without network or server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from siod.completion.proposals import FILE
from siod.data.coco import write_bytes
from siod.reports.inline import json_of, policy_hash
from siod.reports.review.columns import columns
from siod.reports.review.pictures import write_pictures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from siod.completion.proposals import Proposals

PAGE = "index.html"
TEMPLATES = Path(__file__).parent / "templates"
REPORT_TEMPLATES = Path(__file__).parents[1] / "templates"
SCRIPTS = ("data.js", "decisions.js", "keeping.js", "order.js", "stage.js", "dragging.js", "panel.js", "main.js")
"""In the order in which they are read; together they are the page's one script."""


def write_review(
    proposals: Proposals,
    folder: Path,
    *,
    home: Path | None = None,
    link: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the page on which a person decides about proposals, and the pictures it shows.

    The page keeps decisions in the browser and saves them as ``decisions.json``, which names the proposals by their
    sha256.

    Args:
        proposals: Of ``proposals.json`` in the folder.
        folder: Holds ``proposals.json``; the page and ``images/`` are put beside it, over those of an earlier call.
        home: Where the folder will be, when it is moved after this; decisions say where their proposals are.
        link: Symbolic links to the images instead of copies.
        progress: Called with the number of images done and of all.

    Returns:
        The page.

    Raises:
        UserError: An image with proposals cannot be read, or a file cannot be written.
    """
    pictures = write_pictures(proposals, folder, link=link, progress=progress)
    page = folder / PAGE
    write_bytes(page, render(proposals, pictures, ((home or folder) / FILE).resolve()).encode())
    return page


def render(proposals: Proposals, pictures: Sequence[str], path: Path) -> str:
    """The page's HTML, in which nothing of the user's is markup.

    Args:
        proposals: What it shows.
        pictures: For each image, its file in ``images/``; empty where there is none.
        path: Of the proposals' file, absolute.
    """
    made = Environment(
        loader=FileSystemLoader([TEMPLATES, REPORT_TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["json"] = json_of
    style = made.get_template("review.css").render()
    script = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return made.get_template("review.html").render(
        name=Path(proposals.origin.annotations).name,
        detector=proposals.origin.detector,
        data=columns(proposals, pictures, path),
        style=style,
        style_hash=policy_hash(style),
        script=script,
        script_hash=policy_hash(script),
    )
