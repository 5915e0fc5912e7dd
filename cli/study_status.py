"""``siod study status``: where every trial of a study stands, from its records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from siod.cli.options import RUNS, Runs, Tracking, absolute, store_uri

if TYPE_CHECKING:
    from siod.tracking.mlflow import Store
    from siod.tracking.records import StudyRecord
    from siod.tuning.study import Study


def status(
    study: Annotated[str, typer.Argument(help="Name of a study, or a Python file that defines STUDY.")],
    *,
    runs: Runs = RUNS,
    tracking: Tracking = None,
) -> None:
    """Show where every trial of a study stands, also while it runs and from another machine."""
    from siod.tracking.mlflow import Store  # noqa: PLC0415  (keeps --help fast)
    from siod.tuning.lock import abandoned  # noqa: PLC0415
    from siod.tuning.study import load_study  # noqa: PLC0415

    loaded = load_study(study)
    store = Store(store_uri(tracking, absolute(runs)))
    running = not abandoned(absolute(runs) / "studies" / loaded.name)
    if loaded.search is not None:
        _search(loaded, store, running=running)
    record = store.read_study(loaded.name)
    typer.echo("\n".join(lines(loaded, record, running=running)))


def _search(study: Study, store: Store, *, running: bool) -> None:
    """The trials of the search, which stand in the records as a study of their own."""
    from siod.tuning.search import searched  # noqa: PLC0415  (loads Optuna)

    search = searched(study)
    told = lines(search, store.read_study(search.name), running=running)
    typer.echo("\n".join(["search", *told, ""]))


def lines(study: Study, record: StudyRecord, *, running: bool = True) -> list[str]:
    """One line for every declared trial, and what they add up to.

    Args:
        study: Declares the trials.
        record: What became of them.
        running: Whether somebody may be running the study; if not, what looks like it was cut off.
    """
    from siod.tuning.board import metric_label, percent  # noqa: PLC0415  (keeps --help fast)

    known = {(trial.arm, trial.seed): trial for trial in record.trials}
    names = {(arm.name, seed): f"{arm.name}/{seed}" for seed in study.seeds for arm in study.arms}
    width = max(map(len, names.values()))
    written = [f"{'trial':<{width}}  {'state':<11}  {'epoch':>5}  {metric_label(study.objective):>6}"]
    for place, name in names.items():
        trial = known.get(place)
        state = "waiting" if trial is None else trial.status
        state = "interrupted" if state == "running" and not running else state
        epoch = str(trial.epoch) if trial is not None and trial.epoch else ""
        value = None if trial is None else trial.metrics.get(study.objective)
        error = f"  {trial.error}" if trial is not None and trial.error else ""
        written.append(f"{name:<{width}}  {state:<11}  {epoch:>5}  {percent(value):>6}{error}".rstrip())
    done = sum(place in known and known[place].status == "finished" for place in names)
    return [*written, f"{done} of {len(names)} finished"]
