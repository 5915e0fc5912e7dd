"""``siod train``: train one experiment."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003  (typer resolves the annotations at run time)
from typing import TYPE_CHECKING, Annotated

import typer

from siod.cli.options import (
    CACHE,
    RUNS,
    Address,
    Autoscale,
    Cache,
    Device,
    GpusPerWorker,
    LoaderWorkers,
    Precision,
    Runs,
    Set,
    SkipBroken,
    Workers,
    absolute,
    consent,
    refuse_autoscale_alone,
    requested,
    writable_parent,
)
from siod.errors import UserError

if TYPE_CHECKING:
    from siod.training.experiment import Experiment

FILE_NAME = "run"
INTERRUPTED = 130


def train(
    experiment: Annotated[
        Path | None, typer.Argument(help="An experiment as JSON, for example of an earlier run.", show_default=False)
    ] = None,
    *,
    study: Annotated[str | None, typer.Option(help="Take the experiment from this study instead.")] = None,
    arm: Annotated[str | None, typer.Option(help="Arm of the study; its baseline when not given.")] = None,
    set_: Set = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the run.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; named by what it learns when not given.", show_default=False)
    ] = None,
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = None,
    loader_workers: LoaderWorkers = None,
    precision: Precision = None,
    device: Device = "auto",
    skip_broken: SkipBroken = False,
    address: Address = None,
    autoscale: Autoscale = False,
    runs: Runs = RUNS,
    cache: Cache = CACHE,
) -> None:
    """Train one experiment; the same command continues an interrupted run and shows a finished one."""
    refuse_autoscale_alone(autoscale, address)
    settings = requested(
        [*(set_ or ()), *([] if seed is None else [f"seed={seed}"])],
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        loader_workers=loader_workers,
        precision=precision,
        device=device,
    )
    if out is not None:
        writable_parent(out)
    chosen, name = choose(experiment, study, arm)
    chosen = chosen.with_changes(settings)
    from siod.tuning.running.single import train_one  # noqa: PLC0415  (keeps --help fast)

    try:
        run_dir, metrics = train_one(
            chosen,
            name=name,
            runs_dir=absolute(runs),
            cache_dir=absolute(cache),
            out=None if out is None else absolute(out),
            address=address,
            check_images="skip" if skip_broken else "refuse",
            autoscale=autoscale,
            confirm=consent(device),
        )
    except KeyboardInterrupt:
        typer.echo("stopped; the same command continues after the last epoch that was saved", err=True)
        raise typer.Exit(INTERRUPTED) from None
    from siod.tuning.showing.board import metric_label, percent  # noqa: PLC0415

    for split, prefix in (("", ""), ("test/", "on the test split: ")):
        shown = [name for name in ("ap_s", "ap_s0", "ap_s3", "ap_s5", "ap_s7", "ap_s9") if f"{split}{name}" in metrics]
        if shown:
            typer.echo(prefix + "  ".join(f"{metric_label(name)} {percent(metrics[split + name])}" for name in shown))
    typer.echo(f"{run_dir}: detections.json.gz, history.json, checkpoints/best.pt")


def choose(file: Path | None, study: str | None, arm: str | None) -> tuple[Experiment, str]:
    """The experiment a command line names, and what to call it.

    Raises:
        UserError: Neither or both of file and study are named, or they do not exist.
    """
    if (file is None) == (study is None):
        raise UserError("name either an experiment's JSON file or --study, for example: siod train --study demo")
    if file is not None:
        if arm is not None:
            raise UserError("--arm belongs to --study; an experiment's file has no arms")
        return _read(file), FILE_NAME
    from siod.tuning.study import load_study  # noqa: PLC0415  (keeps --help fast)

    loaded = load_study(study or "")
    row = loaded.arm(arm or loaded.baseline)
    return loaded.experiment(row, loaded.seeds[0]), row.name


def _read(file: Path) -> Experiment:
    """Read an experiment; the file that a run leaves holds its identity beside it, and where that run was placed."""
    from siod.training.experiment import Experiment  # noqa: PLC0415  (keeps --help fast)

    try:
        data = json.loads(file.read_text())
    except (OSError, ValueError):
        return Experiment.read(file)
    if not isinstance(data, dict) or "identity" not in data:
        return Experiment.parse(data, source=str(file))
    return Experiment.recorded(data, source=str(file)).unplaced()
