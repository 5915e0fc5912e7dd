"""Options that several commands share, and the folders and stores they lead to."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from siod.training.experiment import Compute

Runs = Annotated[
    Path, typer.Option("--runs", envvar="SIOD_RUNS", help="Folder of runs, studies and the default tracking store.")
]
Tracking = Annotated[
    str | None,
    typer.Option(
        "--tracking",
        envvar="SIOD_TRACKING",
        help="MLflow tracking URI; a SQLite file in the folder of runs when not given.",
        show_default=False,
    ),
]
Cache = Annotated[
    Path,
    typer.Option("--cache", envvar="SIOD_CACHE", help="Folder of generated data, derived sets and pretrained weights."),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        envvar="RAY_ADDRESS",
        help="A running Ray cluster, as host:port; one is started on this machine when not given.",
        show_default=False,
    ),
]
Autoscale = Annotated[
    bool,
    typer.Option(
        "--autoscale",
        help="With --address: the cluster starts machines as trials ask for them; refuse none as too large.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change a setting; may be given again.", show_default=False),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes that share one training.", show_default="1")]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(
        min=0, help="GPUs of each worker, or a share of one such as 0.25.", show_default="1 where there are any"
    ),
]
LoaderWorkers = Annotated[
    int | None,
    typer.Option(min=0, help="Processes of each worker that load images.", show_default="its share of the cores"),
]
Precision = Annotated[
    str | None, typer.Option(help="Arithmetic of the training, such as fp32 or bf16.", show_default="the experiment's")
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option(help="cpu leaves GPUs unused, and says yes to long trainings on CPU cores; cuda insists on a GPU."),
]
PlainDevice = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option("--device", help="auto takes a GPU where there is one.")
]
SkipBroken = Annotated[
    bool, typer.Option("--skip-broken-images", help="Leave out images that do not decode instead of stopping.")
]
Price = Annotated[
    float | None,
    typer.Option(
        "--price",
        min=0,
        envvar="SIOD_PRICE",
        help="Money for an hour of a GPU, or of a CPU core where no GPU is reserved.",
        show_default=False,
    ),
]

RUNS = Path("runs")
CACHE = Path("~/.cache/siod")


def store_uri(tracking: str | None, runs: Path) -> str:
    """The tracking store: the one that was named, or a SQLite file in the folder of runs.

    Example:
        >>> store_uri("http://localhost:5000", Path("runs"))
        'http://localhost:5000'
    """
    from siod.tracking.connection import sqlite_uri  # noqa: PLC0415  (keeps --help fast)

    return tracking or sqlite_uri(runs.resolve() / "mlflow.db")


def absolute(path: Path) -> Path:
    """A path that means the same in every process: ``~`` expanded, the working directory in front."""
    return path.expanduser().resolve()


def refuse_autoscale_alone(autoscale: bool, address: str | None) -> None:  # noqa: FBT001  (a flag of the command line)
    """Refuse ``--autoscale`` without a cluster that could.

    Raises:
        UserError: There is no address.
    """
    if autoscale and address is None:
        raise UserError("--autoscale belongs to a cluster; name it with --address")


def refuse_occupied(path: Path) -> None:
    """Refuse to write where something already is.

    Args:
        path: A file that must not exist, or a folder that must be empty or absent.

    Raises:
        UserError: Something is there.
    """
    if path.is_dir():
        if any(path.iterdir()):
            raise UserError(f"{path}: the folder is not empty; name a new one or empty it")
    elif path.exists():
        raise UserError(f"{path}: exists already; name another file or delete it")


def refuse_twice(sources: Sequence[Path]) -> None:
    """Refuse a source that is named twice.

    Raises:
        UserError: One is.
    """
    for place, source in enumerate(sources):
        if source.resolve() in {other.resolve() for other in sources[:place]}:
            raise UserError(f"{source}: is named twice; name it once")


def writable_parent(path: Path) -> None:
    """Make the parent folder of an output, or say why that cannot be.

    Raises:
        UserError: The folder cannot be made or written to.
    """
    parent = path.resolve().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{parent}: cannot be made ({error.strerror}); name another place") from error
    if not os.access(parent, os.W_OK):
        raise UserError(f"{parent}: not writable; name another place or change its permissions")


def requested(
    settings: Sequence[str],
    *,
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    loader_workers: int | None = None,
    precision: str | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """What a command line changes in experiments, by dotted path: its ``--set`` and the options that stand for one.

    Raises:
        UserError: A setting is given twice or beside a part of it, or a device and a number of GPUs exclude each other.

    Example:
        >>> requested(["recipe.epochs=3"], workers=2, device="cpu")
        {'recipe.epochs': 3, 'compute.workers': 2, 'compute.gpus_per_worker': 0.0}
    """
    if device == "cpu" and gpus_per_worker:
        raise UserError(f"--device cpu and --gpus-per-worker {gpus_per_worker:g} exclude each other; leave one out")
    if device == "cuda" and gpus_per_worker == 0:
        raise UserError("--device cuda and --gpus-per-worker 0 exclude each other; leave one out")
    if device != "auto" and gpus_per_worker is None:
        gpus_per_worker = float(device == "cuda")
    named = {
        "compute.workers": workers,
        "compute.gpus_per_worker": gpus_per_worker,
        "compute.loader_workers": loader_workers,
        "recipe.precision": precision,
    }
    read = changes(settings)
    for path, setting in named.items():
        if setting is None:
            continue
        if path in read:
            raise UserError(f"{path} is given by --set and by an option of its own; leave one out")
        read[path] = setting
    for path in read:
        whole = next((other for other in read if path.startswith(f"{other}.")), None)
        if whole is not None:
            raise UserError(f"{whole!r} is set as a whole, and {path!r}, a part of it, beside it; leave one out")
    return read


def changes(settings: Sequence[str]) -> dict[str, Any]:
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


def asked_device(device: str) -> Compute:
    """What ``--device`` asks for where there is nothing else to ask."""
    from siod.training.experiment import Compute  # noqa: PLC0415  (keeps --help fast)

    return Compute().with_changes({} if device == "auto" else {"gpus_per_worker": float(device == "cuda")})


def command_of(start: str, settings: dict[str, Any]) -> str:
    """The command that does the same again, its options for experiments written as ``--set``.

    Example:
        >>> command_of("siod study run demo", {"recipe.epochs": 3})
        'siod study run demo --set recipe.epochs=3'
    """
    words = (
        f"{path}={setting if isinstance(setting, str) else json.dumps(setting)}" for path, setting in settings.items()
    )
    return " ".join([start, *(f"--set {shlex.quote(word)}" for word in words)])


def consent(device: str) -> Callable[[str], bool] | None:
    """Who confirms long trainings on CPU cores: ``--device cpu``, or the user at a terminal; otherwise nobody."""
    if device == "cpu":
        return lambda _: True
    if not sys.stdin.isatty():
        return None
    return lambda question: typer.confirm(f"{question}. Do that?", err=True)
