"""``siod data stats``: the paper's Tables 8 and 9 for any source and annotation set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from siod.cli.options import refuse_occupied, writable_parent
from siod.cli.policies import ChoiceOption, PerCategory, PolicyName, Seed, parse_policy
from siod.errors import UserError

if TYPE_CHECKING:
    from siod.data.annotation_sets import Policy
    from siod.data.coco import CocoDataset
    from siod.data.statistics import Cost, Statistics

STDOUT = Path("-")


def stats(
    source: Annotated[Path, typer.Argument(help="A fully annotated COCO file.")],
    *,
    kept: Annotated[
        Path | None,
        typer.Option("--set", help="A file derived from it, instead of a policy.", show_default=False),
    ] = None,
    policy: PolicyName = "keep-1",
    choice: ChoiceOption = None,
    per_category: PerCategory = False,
    seed: Seed = 0,
    sample: Annotated[
        int | None, typer.Option(metavar="N", help="Look at N images chosen at random; all when not given.")
    ] = None,
    sample_seed: Annotated[int, typer.Option(min=0, help="Decides which images those are.")] = 0,
    seconds_full: Annotated[
        float | None, typer.Option(help="Seconds to annotate all of an image; 81.32 when not given.")
    ] = None,
    seconds_set: Annotated[
        float | None, typer.Option(help="Seconds to annotate an image for the set; 38.14 when not given.")
    ] = None,
    seconds_box: Annotated[float | None, typer.Option(help="Seconds per box, instead of both.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX (booktabs).")] = False,
    json_out: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Also write the numbers to this file; - prints them.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Draw figures into this folder; must be empty or absent.")
    ] = None,
) -> None:
    """Count what an annotation set keeps, by category, and what annotating it takes."""
    if markdown and latex:
        raise UserError("--markdown and --latex are both given; keep one")
    for path in (json_out, plots):
        if path is not None and path != STDOUT:
            writable_parent(path)
    if plots is not None:
        refuse_occupied(plots)
    cost = _cost(seconds_full, seconds_set, seconds_box)
    chosen = parse_policy(policy, seed=seed, choice=choice, per_category=per_category)
    statistics = _measure(source, kept, chosen, sample_images=sample, seed=sample_seed, cost=cost)
    if json_out != STDOUT:
        typer.echo(_rendered(statistics, "markdown" if markdown else "latex" if latex else "text"))
    if json_out is not None:
        _write_json(json_out, statistics.plain())
    if plots is not None:
        from siod.reports.data_figures import write_figures  # noqa: PLC0415  (keeps --help fast)

        for path in write_figures(statistics.plain(), plots):
            typer.echo(path, err=True)


def _cost(full: float | None, kept: float | None, box: float | None) -> Cost:
    from siod.data.statistics import Cost  # noqa: PLC0415  (keeps --help fast)

    given = {"--seconds-full": full, "--seconds-set": kept, "--seconds-box": box}
    for option, seconds in given.items():
        if seconds is not None and not 0 <= seconds < float("inf"):
            raise UserError(f"{option} {seconds}: must be a number of seconds, 0 or more")
    if box is not None and (full is not None or kept is not None):
        raise UserError("--seconds-box replaces --seconds-full and --seconds-set; keep one way to count")
    default = Cost()
    return Cost(
        seconds_per_image_full=default.seconds_per_image_full if full is None else full,
        seconds_per_image_set=default.seconds_per_image_set if kept is None else kept,
        seconds_per_box=box,
    )


def _measure(source: Path, kept: Path | None, policy: Policy, **settings: Any) -> Statistics:
    from siod.cli.progress import shown  # noqa: PLC0415  (keeps --help fast)
    from siod.data.coco import read  # noqa: PLC0415
    from siod.data.statistics import measure  # noqa: PLC0415

    steps = 2 if kept is None else 3
    with shown(f"reading {source.name}, counting") as progress:
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
    from siod.data import statistics_tables as tables  # noqa: PLC0415  (keeps --help fast)

    write = {"markdown": tables.markdown, "latex": tables.latex, "text": tables.text}[style]
    parts = [
        tables.summary(statistics),
        write(tables.SET_COLUMNS, tables.set_rows(statistics)),
        write(tables.CATEGORY_COLUMNS, tables.category_rows(statistics)),
    ]
    if style == "latex":
        parts[0] = f"% {parts[0]}"
    return "\n\n".join(parts)


def _write_json(path: Path, plain: dict[str, Any]) -> None:
    import msgspec  # noqa: PLC0415  (keeps --help fast)

    from siod.data.coco import write_bytes  # noqa: PLC0415

    content = msgspec.json.format(msgspec.json.encode(plain), indent=2) + b"\n"
    if path == STDOUT:
        typer.echo(content.decode(), nl=False)
    else:
        write_bytes(path, content)
