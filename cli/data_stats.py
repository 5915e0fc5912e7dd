"""``siod data stats``: the paper's Tables 8 and 9 for any source and annotation set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from siod.cli.options import refuse_occupied, refuse_twice, writable_parent
from siod.cli.policies import ChoiceOption, PerCategory, PolicyName, Seed, parse_policy
from siod.errors import UserError

if TYPE_CHECKING:
    from siod.data.annotation_sets import Policy
    from siod.data.coco import CocoDataset
    from siod.data.describing.statistics import Cost, Statistics

STDOUT = Path("-")


def stats(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="Fully annotated COCO files.")],
    *,
    kept: Annotated[
        Path | None,
        typer.Option("--set", help="A file derived from the source, instead of a policy.", show_default=False),
    ] = None,
    policy: PolicyName = "keep-1",
    choice: ChoiceOption = None,
    per_category: PerCategory = False,
    seed: Seed = 0,
    sample: Annotated[
        int | None, typer.Option(metavar="N", help="Look at N images chosen at random; all when not given.")
    ] = None,
    sample_seed: Annotated[int, typer.Option(min=0, help="Decides which images those are.")] = 0,
    seconds_image: Annotated[float, typer.Option(help="To look at an image; the paper's when not given.")] = 9.0,
    seconds_box: Annotated[float, typer.Option(help="To draw a box; the paper's when not given.")] = 9.93,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX (booktabs).")] = False,
    json_out: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Also write the numbers to this file; - prints them.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Draw figures into this folder; must be empty or absent.")
    ] = None,
) -> None:
    """Count what an annotation set keeps, by category, and what annotating it takes; several files side by side."""
    _refuse_for_several(sources, {"--set": kept, "--plots": plots})
    if markdown and latex:
        raise UserError("--markdown and --latex are both given; keep one")
    for path in (json_out, plots):
        if path is not None and path != STDOUT:
            writable_parent(path)
    if plots is not None:
        refuse_occupied(plots)
    cost = _cost(seconds_image, seconds_box)
    chosen = parse_policy(policy, seed=seed, choice=choice, per_category=per_category)
    found = [_measure(path, kept, chosen, sample_images=sample, seed=sample_seed, cost=cost) for path in sources]
    if json_out != STDOUT:
        style = "markdown" if markdown else "latex" if latex else "text"
        typer.echo(_rendered(found[0], style) if len(found) == 1 else _side_by_side(sources, found, style))
    if json_out is not None:
        several = [{"file": str(path), **one.plain()} for path, one in zip(sources, found, strict=True)]
        _write_json(json_out, found[0].plain() if len(found) == 1 else {"files": several})
    if plots is not None:
        from siod.reports.figures.data import write_figures  # noqa: PLC0415  (keeps --help fast)

        for path in write_figures(found[0].plain(), plots):
            typer.echo(path, err=True)


def _refuse_for_several(sources: list[Path], options: dict[str, Path | None]) -> None:
    refuse_twice(sources)
    for option, path in options.items():
        if path is not None and len(sources) > 1:
            raise UserError(f"{option} belongs to one file, and {len(sources)} are named; name one, or leave it out")


def _cost(image: float, box: float) -> Cost:
    from siod.data.describing.statistics import Cost  # noqa: PLC0415  (keeps --help fast)

    for option, seconds in {"--seconds-image": image, "--seconds-box": box}.items():
        if not 0 <= seconds < float("inf"):
            raise UserError(f"{option} {seconds}: must be a number of seconds, 0 or more")
    return Cost(image, box)


def _measure(source: Path, kept: Path | None, policy: Policy, **settings: Any) -> Statistics:
    from siod.cli.progress import progress_bar  # noqa: PLC0415  (keeps --help fast)
    from siod.data.coco import read  # noqa: PLC0415
    from siod.data.describing.statistics import measure  # noqa: PLC0415

    steps = 2 if kept is None else 3
    with progress_bar(f"reading {source.name}, counting") as progress:
        dataset = read(source)
        progress(1, steps)
        chosen: Policy | CocoDataset = policy
        if kept is not None:
            chosen = read(kept)
            progress(2, steps)
        statistics = measure(dataset, chosen, **settings)
        progress(steps, steps)
    return statistics


def _rendered(statistics: Statistics, style: str) -> str:
    from siod.data.describing import statistics_tables as tables  # noqa: PLC0415  (keeps --help fast)

    write = {"markdown": tables.markdown, "latex": tables.latex, "text": tables.text}[style]
    remarks = [tables.summary(statistics), *tables.remarks(statistics)]
    parts = [
        "\n".join(f"% {line}" if style == "latex" else line for line in remarks),
        write(tables.SET_COLUMNS, tables.set_rows(statistics)),
        write(tables.CATEGORY_COLUMNS, tables.category_rows(statistics)),
    ]
    return "\n\n".join(parts)


def _side_by_side(paths: list[Path], found: list[Statistics], style: str) -> str:
    from siod.data.describing import side_by_side  # noqa: PLC0415  (keeps --help fast)
    from siod.data.describing import statistics_tables as tables  # noqa: PLC0415

    files = dict(zip(side_by_side.labels(paths), found, strict=True))
    write = {"markdown": tables.markdown, "latex": tables.latex, "text": tables.text}[style]
    columns, rows = side_by_side.category_columns(files), side_by_side.category_rows(files)
    return "\n\n".join([write(side_by_side.SET_COLUMNS, side_by_side.set_rows(files)), write(columns, rows)])


def _write_json(path: Path, plain: dict[str, Any]) -> None:
    import msgspec  # noqa: PLC0415  (keeps --help fast)

    from siod.data.coco import write_bytes  # noqa: PLC0415

    content = msgspec.json.format(msgspec.json.encode(plain), indent=2) + b"\n"
    if path == STDOUT:
        typer.echo(content.decode(), nl=False)
    else:
        write_bytes(path, content)
