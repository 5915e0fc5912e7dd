"""``siod study status``: where every trial of a study stands, from its records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from siod.cli.options import RUNS, Price, Runs, Tracking, absolute, store_uri

if TYPE_CHECKING:
    from pathlib import Path

    from siod.tracking.records import StudyRecord, TrialRecord


def status(
    study: Annotated[str, typer.Argument(help="Name of a study, or a Python or JSON file that declares one.")],
    *,
    price: Price = None,
    runs: Runs = RUNS,
    tracking: Tracking = None,
) -> None:
    """Show where every trial of a study stands, and its files; also while it runs and from another machine."""
    from siod.reports.analysis.cost import EPOCH_SECONDS  # noqa: PLC0415  (keeps --help fast)
    from siod.reports.analysis.spending import HELD  # noqa: PLC0415
    from siod.tracking.mlflow import Store  # noqa: PLC0415
    from siod.tuning.running.lock import abandoned  # noqa: PLC0415

    store = Store(store_uri(tracking, absolute(runs)))
    name = _name_of(study)
    wanted: dict[str, tuple[str, ...]] = {"metrics": (EPOCH_SECONDS,), "params": HELD}
    running = not abandoned(absolute(runs) / "studies" / name)
    trials = runs / "trials"
    text = []
    if f"{name}.search" in store.list_studies():
        searched = store.read_standing(f"{name}.search", **wanted)
        text += ["search", *lines(searched, trials, running=running, price=price), ""]
        if name not in store.list_studies():
            typer.echo("\n".join([*text, "no final trial yet"]))
            return
    typer.echo("\n".join([*text, *lines(store.read_standing(name, **wanted), trials, running=running, price=price)]))


def _name_of(study: str) -> str:
    """The records know a study by its name; only a file has to be loaded to learn it."""
    if not study.endswith((".py", ".json")):
        return study
    from siod.tuning.study import load_study  # noqa: PLC0415  (keeps --help fast)

    return load_study(study).name


def _folder(trials: Path, trial: TrialRecord) -> str:
    folder = trials / trial.identity
    return f"  {folder}" if folder.is_dir() else ""


def lines(record: StudyRecord, trials: Path, *, running: bool = True, price: float | None = None) -> list[str]:
    """One line for every trial as the study was declared when it last ran, and what they add up to.

    Args:
        record: What became of them.
        trials: Where the folders of runs are; that of a finished trial is shown where it is on this machine.
        running: Whether a process may be running the study; if not, what looks like it was cut off.
        price: Of an hour of a GPU, or of a core where no trial reserved a GPU; None leaves money out.
    """
    from siod.reports.analysis.spending import spending  # noqa: PLC0415  (keeps --help fast)
    from siod.tuning.showing.board import metric_label, percent  # noqa: PLC0415  (keeps --help fast)

    known = {(trial.arm, trial.seed): trial for trial in record.trials}
    names = {(arm, seed): f"{arm}/{seed}" for arm, seed in record.declared()}
    width = max(map(len, names.values()))
    written = [f"{'trial':<{width}}  {'state':<11}  {'epoch':>5}  {metric_label(record.objective):>6}"]
    for place, name in names.items():
        trial = known.get(place)
        state = "waiting" if trial is None else trial.status
        state = "interrupted" if state == "running" and not running else state
        epoch = str(trial.epoch) if trial is not None and trial.epoch else ""
        value = None if trial is None else trial.metrics.get(record.objective)
        error = f"  {trial.error}" if trial is not None and trial.error else ""
        folder = _folder(trials, trial) if trial is not None and state == "finished" else ""
        written.append(f"{name:<{width}}  {state:<11}  {epoch:>5}  {percent(value):>6}{error}{folder}".rstrip())
    states = [known[place].status for place in names if place in known]
    beside = "".join(f", {states.count(state)} {state}" for state in ("pruned", "failed") if state in states)
    spent = spending(record)
    about = [] if spent is None else [spent.sentence(price)]
    return [*written, *about, f"{states.count('finished')} of {len(names)} finished{beside}"]
