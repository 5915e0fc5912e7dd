"""``siod data cache``: what the small copies of images take, and room made again."""

from __future__ import annotations

from typing import Annotated

import typer

from siod.cli.options import CACHE, Cache, absolute


def cache(
    *,
    clear: Annotated[bool, typer.Option("--clear", help="Delete them.")] = False,
    cache: Cache = CACHE,
) -> None:
    """Show what the small copies of images take, or delete them; nothing else in the cache is touched."""
    from siod.data import resized  # noqa: PLC0415  (keeps --help fast)

    count, size = (resized.clear if clear else resized.usage)(absolute(cache))
    done = "deleted" if clear else "found"
    typer.echo(f"{absolute(cache) / resized.FOLDER}: {count} resized data sets {done}, {size / 2**20:.1f} MiB")
