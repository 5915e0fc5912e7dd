"""``siod data import``: somebody's data as a folder that siod trains on."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path  # noqa: TC003  (typer resolves the annotations at run time)
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from siod.cli.options import refuse_occupied, refuse_twice, writable_parent
from siod.cli.splits import Group, Seed, TestShare, ValShare, shares_of

if TYPE_CHECKING:
    from siod.data.found import Found
    from siod.data.importing import Imported


def import_(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="Folders, COCO files or data.yaml files.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder to write; must be empty or absent.")],
    format_: Annotated[
        Literal["voc", "yolo", "coco"] | None,
        typer.Option("--format", help="What the sources are; found out when not given.", show_default=False),
    ] = None,
    defects: Annotated[
        Literal["repair", "refuse"], typer.Option(help="Mend what can be mended, or write nothing if there is any.")
    ] = "repair",
    new_split: Annotated[bool, typer.Option("--new-split", help="Divide all images anew.")] = False,
    val: ValShare = None,
    test: TestShare = None,
    group: Group = None,
    seed: Seed = None,
    link: Annotated[bool, typer.Option("--link", help="Symbolic links to the images instead of copies.")] = False,
) -> None:
    """Read Pascal VOC, YOLO or COCO as it comes, check it, and write it as a COCO folder with splits."""
    from siod.cli.progress import shown  # noqa: PLC0415  (keeps --help fast)
    from siod.data.found import read_sources  # noqa: PLC0415
    from siod.data.importing import Wish, import_found  # noqa: PLC0415
    from siod.data.recognise import recognise  # noqa: PLC0415

    refuse_occupied(out)
    writable_parent(out)
    refuse_twice(sources)
    asked = any(option is not None for option in (val, test, group, seed))
    shares = shares_of(val=val, test=test, group=group, seed=seed) if asked else None
    layouts = [recognise(source, format_) for source in sources]
    for layout in layouts:
        for sentence in layout.sentences():
            typer.echo(sentence)
    with shown("reading images") as progress:
        found = read_sources(layouts, defects, unlisted=new_split, progress=progress)
    _tell(found)
    command = shlex.join(["siod", *sys.argv[1:]])
    wish = Wish(out=out, defects=defects, shares=shares, anew=new_split, link=link, command=command)
    _show(import_found(found, wish))


def _tell(found: Found) -> None:
    for defect in found.defects():
        more = ", ..." if defect.count > len(defect.examples) else ""
        typer.echo(f"{defect.kind} x {defect.count}: {defect.meaning}")
        typer.echo(f"    {', '.join(defect.examples)}{more}")
    for change, count in found.changes().items():
        typer.echo(f"repaired: {change}: {count}")
    for remark in found.remarks():
        typer.echo(f"remark: {remark}")


def _show(made: Imported) -> None:
    for remark in made.remarks:
        typer.echo(f"remark: {remark}")
    splits = [split for split in ("train", "val", "test") if split in made.images]
    width = max(len("category"), *(len(name) for name in made.boxes))
    typer.echo(f"{'':{width}}" + "".join(f"{split:>8}" for split in splits))
    typer.echo(f"{'images':{width}}" + "".join(f"{made.images[split]:>8}" for split in splits))
    for name, counts in made.boxes.items():
        typer.echo(f"{name:{width}}" + "".join(f"{counts[split]:>8}" for split in splits))
    typer.echo(f"{made.out}: written; siod.data.source.CocoFolder(root=...) reads it")
