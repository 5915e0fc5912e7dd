"""``siod runs list``: what is in the folder of runs, and what it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from siod.cli.options import RUNS, Runs, Tracking, absolute, store_uri

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from siod.tracking.records import TrialRecord
    from siod.tuning.keeping.inventory import Inventory


def list_(*, runs: Runs = RUNS, tracking: Tracking = None) -> None:
    """List studies with the states of their trials, and the folders of runs with what they take."""
    from siod.tracking.mlflow import Store  # noqa: PLC0415  (keeps --help fast)
    from siod.tuning.keeping.inventory import take_inventory  # noqa: PLC0415

    folder = absolute(runs)
    recorded = Store(store_uri(tracking, folder)).trials()
    inventory = take_inventory(folder, recorded)
    for line in [*_studies(recorded), *_trials(inventory), *_beside(inventory)]:
        typer.echo(line)
    typer.echo(f"{folder}: {_size(inventory.bytes)}; 'siod runs prune --dry-run' says what may go")


def _studies(recorded: Mapping[str, Sequence[TrialRecord]]) -> list[str]:
    if not recorded:
        return []
    width = max(len("study"), *map(len, recorded))
    written = [f"{'study':<{width}}  trials"]
    for name, trials in recorded.items():
        states = [trial.status for trial in trials]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        written.append(f"{name:<{width}}  {counts or 'none'}")
    return [*written, ""]


def _trials(inventory: Inventory) -> list[str]:
    from siod.tuning.keeping.inventory import KINDS  # noqa: PLC0415  (keeps --help fast)

    if not inventory.trials:
        return []
    heads = "".join(f"{kind:>13}" for kind in KINDS)
    written = [f"{'run':<18}{'state':<11}{heads}  of"]
    for trial in inventory.trials:
        sizes = "".join(f"{_size(trial.sizes[kind]):>13}" for kind in KINDS)
        written.append(
            f"{trial.folder.name:<16}  {trial.state:<11}{sizes}  {', '.join(trial.names) or 'no study'}".rstrip()
        )
    totals = "".join(f"{_size(sum(trial.sizes[kind] for trial in inventory.trials)):>13}" for kind in KINDS)
    return [*written, f"{'all':<29}{totals}", ""]


def _beside(inventory: Inventory) -> list[str]:
    sizes = [f"{name} {_size(size)}" for name, size in inventory.beside.items()]
    return [f"beside them: {', '.join(sizes)}"] if sizes else []


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
