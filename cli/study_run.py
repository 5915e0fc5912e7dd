"""``siod study run``: train every trial of a study that has no result yet."""

from __future__ import annotations

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
    Price,
    Runs,
    Set,
    SkipBroken,
    Tracking,
    Workers,
    absolute,
    command_of,
    consent,
    refuse_autoscale_alone,
    requested,
    store_uri,
)

if TYPE_CHECKING:
    from siod.tuning.running.outcome import StudyOutcome

FAILED, INTERRUPTED = 1, 130


def run(
    study: Annotated[str, typer.Argument(help="Name of a study, or a Python or JSON file that declares one.")],
    *,
    arm: Annotated[list[str] | None, typer.Option(help="Only this arm; may be given again.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Only this seed; may be given again.")] = None,
    max_concurrent: Annotated[
        int | None, typer.Option(min=1, help="At most so many trials at once; as many as fit when not given.")
    ] = None,
    set_: Set = None,
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = None,
    loader_workers: LoaderWorkers = None,
    precision: Precision = None,
    device: Device = "auto",
    fresh: Annotated[bool, typer.Option("--fresh", help="Train again what is finished.")] = False,
    max_failures: Annotated[
        int, typer.Option(min=0, help="A trial whose process died goes on from its last epoch at most so many times.")
    ] = 1,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what Ray says, too.")] = False,
    skip_broken: SkipBroken = False,
    address: Address = None,
    autoscale: Autoscale = False,
    price: Price = None,
    runs: Runs = RUNS,
    tracking: Tracking = None,
    cache: Cache = CACHE,
) -> None:
    """Train every trial of a study that has no result yet; running it again continues.

    Ctrl-C lets the running epochs end and stops; Ctrl-C twice stops at once.
    """
    from siod.tuning.study import load_study  # noqa: PLC0415  (keeps --help fast)

    refuse_autoscale_alone(autoscale, address)
    settings = requested(
        set_ or (),
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        loader_workers=loader_workers,
        precision=precision,
        device=device,
    )
    command = command_of(f"siod study run {study}", settings)
    from siod.tuning.settings import with_settings  # noqa: PLC0415

    loaded = with_settings(load_study(study), settings)
    from siod.tuning.running.run_config import RunConfig  # noqa: PLC0415
    from siod.tuning.running.runner import run_study  # noqa: PLC0415  (an unknown study is answered before Ray is imported)

    config = RunConfig(
        runs_dir=absolute(runs),
        cache_dir=absolute(cache),
        store_uri=store_uri(tracking, absolute(runs)),
        arms=tuple(arm) if arm else None,
        seeds=tuple(seed) if seed else None,
        fresh=fresh,
        check_images="skip" if skip_broken else "refuse",
        address=address,
        autoscale=autoscale,
        max_concurrent=max_concurrent,
        max_failures=max_failures,
        verbose=verbose,
        command=command,
        price=price,
    )
    outcome = run_study(loaded, config, confirm=consent(device))
    _report(outcome)
    _exit_unless_done(outcome, command)


def _exit_unless_done(outcome: StudyOutcome, command: str) -> None:
    if outcome.abort_reason:
        typer.echo(f"given up: {outcome.abort_reason}; mend it, then '{command}' continues", err=True)
        raise typer.Exit(FAILED)
    if outcome.unfinished:
        typer.echo(f"stopped; '{command}' continues with the {len(outcome.unfinished)} trials left")
        raise typer.Exit(INTERRUPTED)
    if outcome.failed or outcome.unrecorded:
        raise typer.Exit(FAILED)


def _report(outcome: StudyOutcome) -> None:
    from siod.tuning.showing.board import duration  # noqa: PLC0415

    counts = [f"{len(outcome.finished)} trained", f"{len(outcome.reused)} reused", f"{len(outcome.failed)} failed"]
    typer.echo(f"study {outcome.study}: {', '.join(counts)} in {duration(outcome.seconds)}")
    for name, error in outcome.failed.items():
        typer.echo(f"failed: {name}: {error}", err=True)
    for name, error in outcome.unrecorded.items():
        typer.echo(f"not recorded: {name}: {error}; run the study again to record it", err=True)
