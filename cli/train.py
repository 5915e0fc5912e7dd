"""``siod train``: train one experiment."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003  (typer resolves the annotations at run time)
from typing import TYPE_CHECKING, Annotated, Any

import typer

from siod.cli.options import CACHE, RUNS, Address, Cache, Runs, SkipBroken, absolute
from siod.errors import UserError

if TYPE_CHECKING:
    from siod.training.experiment import Experiment

FILE_NAME = "run"


def train(
    experiment: Annotated[
        Path | None, typer.Argument(help="An experiment as JSON, for example of an earlier run.", show_default=False)
    ] = None,
    *,
    study: Annotated[str | None, typer.Option(help="Take the experiment from this study instead.")] = None,
    arm: Annotated[str | None, typer.Option(help="Arm of the study; its baseline when not given.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a setting; may be given again.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the run.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; named by what it learns when not given.", show_default=False)
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Ray Train workers.")] = None,
    skip_broken: SkipBroken = False,
    address: Address = None,
    runs: Runs = RUNS,
    cache: Cache = CACHE,
) -> None:
    """Train one experiment; the same command continues an interrupted run and shows a finished one."""
    settings = [*(set_ or ()), *_given("seed", seed), *_given("compute.workers", workers)]
    chosen, name = choose(experiment, study, arm)
    chosen = chosen.with_changes(changes(settings))
    from siod.tuning.single import train_one  # noqa: PLC0415  (keeps --help fast)

    run_dir, metrics = train_one(
        chosen,
        name=name,
        runs_dir=absolute(runs),
        cache_dir=absolute(cache),
        out=None if out is None else absolute(out),
        address=address,
        check_images="skip" if skip_broken else "refuse",
    )
    from siod.tuning.board import metric_label, percent  # noqa: PLC0415

    shown = [metric for metric in ("ap_s", "ap_s0", "ap_s3", "ap_s5", "ap_s7", "ap_s9") if metric in metrics]
    typer.echo("  ".join(f"{metric_label(metric)} {percent(metrics[metric])}" for metric in shown))
    typer.echo(f"{run_dir}: detections.json, history.json, checkpoints/best.pt")


def _given(path: str, setting: int | None) -> list[str]:
    return [] if setting is None else [f"{path}={setting}"]


def changes(settings: list[str]) -> dict[str, Any]:
    """Read ``path=value`` settings; values are JSON where they parse as JSON, text otherwise.

    Example:
        >>> changes(["recipe.epochs=3", "dminer=null", "recipe.precision=bf16"])
        {'recipe.epochs': 3, 'dminer': None, 'recipe.precision': 'bf16'}
    """
    read: dict[str, Any] = {}
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise UserError(f"--set {setting!r}: expected PATH=VALUE, for example recipe.epochs=3")
        if path in read:
            raise UserError(f"--set {path!r} is given twice; keep one")
        try:
            read[path] = json.loads(text)
        except json.JSONDecodeError:
            read[path] = text
    return read


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
    """Read an experiment; the file that a run leaves holds its identity beside it."""
    from siod.training.experiment import Experiment  # noqa: PLC0415  (keeps --help fast)

    try:
        data = json.loads(file.read_text())
    except (OSError, ValueError):
        return Experiment.read(file)
    inner = data.get("experiment") if isinstance(data, dict) and "identity" in data else data
    return Experiment.parse(inner, source=str(file))
