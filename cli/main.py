"""The ``siod`` command: its tree of subcommands, and what the shell gets to see of an error."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Annotated

import typer

import siod
from siod.cli import complete as complete_command
from siod.cli import (
    data_annotate,
    data_cache,
    data_check,
    data_convert,
    data_digits,
    data_export,
    data_import,
    data_merge,
    data_resize,
    data_split,
    data_stats,
    doctor,
    evaluate,
    report_build,
    report_index,
    runs_list,
    runs_prune,
    runs_repair,
    study_best,
    study_list,
    study_new,
    study_plan,
    study_run,
    study_schema,
    study_status,
)
from siod.cli import predict as predict_command
from siod.cli import train as train_command
from siod.cli import ui as ui_command
from siod.cli import visualize as visualize_command
from siod.errors import RunError, UserError

FAILED, USAGE, INTERRUPTED = 1, 2, 130
DEBUG = "--debug"
NO_SPACE = ("no space left", "disk is full", "disk quota exceeded")
# Errors of a place that the user named to write to or to read from.
PLACES = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EIO,
    errno.ESTALE,
}

app = typer.Typer(name="siod", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
data_app = typer.Typer(no_args_is_help=True, help="Make, check and count data sets and annotation sets.")
study_app = typer.Typer(no_args_is_help=True, help="List, run and watch studies.")
runs_app = typer.Typer(no_args_is_help=True, help="See, thin out and mend what studies left on the disk.")
report_app = typer.Typer(no_args_is_help=True, help="Turn finished trials into tables and pages.")

app.add_typer(data_app, name="data")
data_app.command("digits")(data_digits.digits)
data_app.command("annotate")(data_annotate.annotate)
data_app.command("cache")(data_cache.cache)
data_app.command("check")(data_check.check)
data_app.command("convert")(data_convert.convert)
data_app.command("export")(data_export.export)
data_app.command("import")(data_import.import_)
data_app.command("merge")(data_merge.merge)
data_app.command("resize")(data_resize.resize)
data_app.command("split")(data_split.split)
data_app.command("stats")(data_stats.stats)
app.command("train")(train_command.train)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict_command.predict)
app.command("complete")(complete_command.complete)
app.command("visualize")(visualize_command.visualize)
app.add_typer(study_app, name="study")
study_app.command("best")(study_best.best)
study_app.command("list")(study_list.list_)
study_app.command("new")(study_new.new)
study_app.command("plan")(study_plan.plan)
study_app.command("run")(study_run.run)
study_app.command("schema")(study_schema.schema)
study_app.command("status")(study_status.status)
app.add_typer(runs_app, name="runs")
runs_app.command("list")(runs_list.list_)
runs_app.command("prune")(runs_prune.prune)
runs_app.command("repair")(runs_repair.repair)
app.add_typer(report_app, name="report")
report_app.command("build")(report_build.build)
report_app.command("index")(report_index.index)
app.command("ui")(ui_command.ui)
app.command("doctor")(doctor.doctor)


def _print_version(wanted: bool) -> None:  # noqa: FBT001  (typer calls it with the flag's value)
    if wanted:
        typer.echo(f"siod {siod.__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option(DEBUG, help="Show the traceback of an error.")] = False,
) -> None:
    """Train, tune and ablate object detectors under single-instance annotation."""


def main() -> None:
    """Run the command line and turn errors into one sentence and an exit code.

    Exit codes: 0 done, 1 the run failed, 2 the input has to be mended, 130 stopped by the user.
    """
    debug = DEBUG in sys.argv[1:]
    sys.argv[1:] = [argument for argument in sys.argv[1:] if argument != DEBUG]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of categories and files are in any script
    try:
        app(prog_name="siod")
    except BrokenPipeError:
        # Whoever read the output is gone; without this Python would complain once more while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except Exception as error:
        if debug:
            raise
        sys.exit(_explain(error))


def _explain(error: Exception) -> int:
    """Print one sentence about an error; returns the exit code."""
    if isinstance(error, UserError):
        return _print_error(str(error), USAGE)
    if _is_out_of_space(error):
        return _print_error(
            "no space left on the device; free some, or name another place with --runs or --cache", USAGE
        )
    if isinstance(error, RunError):
        return _print_error(str(error), FAILED)
    if isinstance(error, OSError) and error.errno in PLACES and error.filename is not None:
        return _print_error(f"{error.filename}: {error.strerror}; name another place, or mend this one", USAGE)
    return _print_error(
        f"{type(error).__name__}: {error} (a defect of siod; run again with {DEBUG} for the traceback)", FAILED
    )


def _print_error(sentence: str, code: int) -> int:
    sys.stderr.write(f"siod: {' '.join(sentence.split())}\n")
    return code


def _is_out_of_space(error: BaseException | None) -> bool:
    """Whether a full disk stands anywhere in the chain of causes (SQLite and torch wrap it)."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return True
        if any(words in str(error).lower() for words in NO_SPACE):
            return True
        error = error.__cause__ or error.__context__
    return False
