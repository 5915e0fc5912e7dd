"""``siod study list``: the studies that come with siod."""

from __future__ import annotations

import typer


def list_() -> None:
    """List the studies that come with siod."""
    from siod.tuning.study import list_studies  # noqa: PLC0415  (keeps --help fast)

    studies = list_studies()
    width = max((len(study.name) for study in studies), default=0)
    for study in studies:
        arms, seeds = len(study.arms), len(study.seeds)
        trials = sum(len(study.seeds_of(arm)) for arm in study.arms)
        times = " x " if trials == arms * seeds else ", at most "
        size = f"{_count(arms, 'arm')}{times}{_count(seeds, 'seed')} = {_count(trials, 'trial')}"
        typer.echo(f"{study.name:<{width}}  {size}")
        typer.echo(f"{'':<{width}}  {study.question}")


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
