"""``siod data annotate``: derive an annotation set from a fully annotated COCO file."""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003  (typer resolves the annotations at run time)
from typing import TYPE_CHECKING, Annotated

import typer

from siod.cli.options import refuse_occupied, writable_parent
from siod.errors import UserError, closest

if TYPE_CHECKING:
    from siod.data.annotation_sets import Policy


def annotate(
    source: Annotated[Path, typer.Argument(help="A COCO annotation file.")],
    out: Annotated[Path, typer.Argument(help="The file to write; must not exist.")],
    *,
    policy: Annotated[str, typer.Option(help="keep-1, keep-K (instances per category and image), or full.")] = "keep-1",
    seed: Annotated[int, typer.Option(help="Decides which instances stay.")] = 0,
) -> None:
    """Write a COCO file that keeps some of the instances of another."""
    from siod.data.annotation_sets import annotate as derive  # noqa: PLC0415  (keeps --help fast)
    from siod.data.coco import read, write  # noqa: PLC0415

    chosen = parse_policy(policy, seed)
    refuse_occupied(out)
    writable_parent(out)
    raw = derive(read(source), chosen)
    write(out, raw)
    counts = raw["info"]["annotation_set"]["counts"]
    typer.echo(f"{out}: {', '.join(f'{name} {count}' for name, count in counts.items())}")


def parse_policy(name: str, seed: int) -> Policy:
    """Read a policy's name.

    Args:
        name: ``full``, ``keep-1``, ``keep-2`` ...
        seed: Decides which instances stay.

    Raises:
        UserError: There is no such policy.
    """
    from siod.data.annotation_sets import Full, Keep  # noqa: PLC0415  (keeps --help fast)

    if name == "full":
        return Full()
    keep = re.fullmatch(r"keep-(\d+)", name)
    if keep is None:
        raise UserError(f"unknown policy {name!r}{closest(name, ['full', 'keep-1'])}")
    return Keep.parse({"k": int(keep[1]), "seed": seed}, source=f"policy {name}")
