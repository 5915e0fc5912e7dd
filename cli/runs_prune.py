"""``siod runs prune``: room made in the folder of runs, of what nothing needs any more."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from siod.cli.options import CACHE, RUNS, Cache, Runs, Tracking, absolute, store_uri
from siod.errors import UserError


def prune(
    *,
    failed: Annotated[
        bool, typer.Option("--failed", help="Checkpoints of failed trials, too: these then begin anew.")
    ] = False,
    cached: Annotated[
        bool, typer.Option("--cached", help="The small copies of images in the cache, too: they are made again.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    runs: Runs = RUNS,
    tracking: Tracking = None,
    cache: Cache = CACHE,
) -> None:
    """Delete what no later run, report or completion needs, after saying what that is.

    Of finished runs go the states of their optimisers and earlier epochs; of trials that a search has ended, their
    checkpoints; of calls that have ended, Ray's notes.
    """
    from siod.data import resized  # noqa: PLC0415  (keeps --help fast)
    from siod.tracking.mlflow import Store  # noqa: PLC0415
    from siod.tuning.keeping.inventory import take_inventory  # noqa: PLC0415
    from siod.tuning.keeping.pruning import find_removable, remove  # noqa: PLC0415

    folder, cache_dir = absolute(runs), absolute(cache)
    inventory = take_inventory(folder, Store(store_uri(tracking, folder)).trials())
    found = find_removable(folder, inventory, failed=failed)
    copies, copied = resized.usage(cache_dir) if cached else (0, 0)
    for each in found:
        typer.echo(str(each))
    if copies:
        typer.echo(f"{copied / 1e6:8.1f} MB  {cache_dir / resized.FOLDER}: {copies} resized data sets (made again)")
    total = sum(each.bytes for each in found) + copied
    if dry_run or not total:
        typer.echo(f"{folder}: {total / 1e6:.1f} MB of {inventory.bytes / 1e6:.1f} MB may go")
        return
    if not yes:
        _ask(total)
    gone = remove(found) + (resized.clear(cache_dir)[1] if cached else 0)
    typer.echo(f"{folder}: {gone / 1e6:.1f} MB deleted")


def _ask(total: int) -> None:
    if not sys.stdin.isatty():
        raise UserError("nobody is there to be asked; say --yes to delete this, or --dry-run to see it only")
    typer.confirm(f"Delete {total / 1e6:.1f} MB?", abort=True, err=True)
