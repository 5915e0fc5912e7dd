"""``siod study best``: what a search found best for each arm, and what mattered."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (typer resolves the annotations at run time)
from typing import TYPE_CHECKING, Annotated

import typer

from siod.cli.options import RUNS, Runs, absolute, refuse_occupied, writable_parent
from siod.errors import UserError
from siod.files import replacing

if TYPE_CHECKING:
    from siod.tuning.searching.best import Best


def best(
    study: Annotated[str, typer.Argument(help="Name of a study with a search, or its file.")],
    *,
    arm: Annotated[str | None, typer.Option(help="Only this arm.", show_default=False)] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the arm's experiment here, for siod train.", show_default=False)
    ] = None,
    runs: Runs = RUNS,
) -> None:
    """Show the best settings of each arm's search, and how much each setting mattered.

    Importance is the share of the objective's variance (fANOVA); near the best, what tells the best tenth of the
    trials from the others (PED-ANOVA).
    """
    from siod.tuning.study import load_study  # noqa: PLC0415  (keeps --help fast)

    loaded = load_study(study)
    folder = absolute(runs) / "studies" / loaded.name
    if loaded.search is None:
        raise UserError(f"study {loaded.name!r} has no search; set search and space")
    if loaded.search.storage is None and not folder.is_dir():
        raise UserError(
            f"{folder}: the search was not run; run 'siod study run {study}' or name its folder with --runs"
        )
    from siod.tuning.searching.best import best_of, tuned  # noqa: PLC0415

    found = best_of(loaded, folder, importance=True)
    shown = {loaded.arm(arm).name: found[arm]} if arm is not None and arm in found else {} if arm is not None else found
    if not shown:
        raise UserError(f"search of study {loaded.name!r}: no trial is finished yet; run 'siod study run {study}'")
    for name, result in shown.items():
        typer.echo("\n".join(lines(name, result)))
    if out is None:
        return
    if len(shown) > 1:
        raise UserError(f"--out writes one experiment; name one of {', '.join(shown)} with --arm")
    refuse_occupied(out)
    writable_parent(out)
    final = tuned(loaded, found)
    (name,) = shown
    with replacing(out) as temporary:
        temporary.write_text(final.experiment(final.arm(name), final.seeds[0]).model_dump_json(indent=2) + "\n")
    typer.echo(f"{out}: train it with 'siod train {out}'")


def lines(arm: str, found: Best) -> list[str]:
    """What there is to say of an arm.

    Args:
        arm: Its name.
        found: Its best trial.
    """
    from siod.tuning.showing.board import percent  # noqa: PLC0415

    counts = ", ".join(f"{count} {state}" for state, count in found.counts.items())
    text = [f"{arm}: {percent(found.value)} in trial {found.number} ({counts})"]
    width = max(len(path) for path in found.changes)
    for path, value in found.changes.items():
        line = f"  {path:<{width}}  {value!s:>10}"
        if path in found.importance:
            line += f"  {found.importance[path]:>11.0%}  {found.importance_near_best.get(path, 0.0):>14.0%}"
        text.append(line)
    if found.importance:
        text.insert(1, f"  {'setting':<{width}}  {'best':>10}  {'importance':>11}  {'near the best':>14}")
    else:
        text.append("  too few finished trials, or too much alike, to say what mattered")
    return text
