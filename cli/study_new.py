"""``siod study new``: write a commented study to start from."""

from __future__ import annotations

import keyword
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from siod.cli.options import CACHE, Cache, absolute, refuse_occupied, writable_parent
from siod.errors import UserError
from siod.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from siod.tuning.fitting.study_file import Draft

START = '''"""One sentence: what this study decides.

Command: siod study run {name}.py
Cost: siod study plan {name}.py --measure
"""

from siod.data.annotation_sets import Full
from siod.training.presets import DIGITS_DMINER, digits_centernet
from siod.tuning.study import Arm, Study

# All arms share these settings. For COCO: coco_centernet_r18(Path("/data/coco")) and PAPER_DMINER.
BASE = digits_centernet()

STUDY = Study(
    name="{name}",
    question="Does DMiner close the gap to full supervision?",
    base=BASE,
    # An arm is a row of the table: the base with some settings changed, each by its dotted path.
    arms=(
        Arm(name="fsod", label="FSOD", changes={{"annotations": Full()}}),
        Arm(name="base", label="SIOD (base)"),
        Arm(name="dminer", label="SIOD (DMiner)", changes={{"dminer": DIGITS_DMINER}}),
        # siod.tuning.arms has sweeps and grids: *sweep("recipe.learning_rate", (1e-3, 2e-3, 4e-3)),
    ),
    # Gains are counted from this arm.
    baseline="base",
    # What the arms are about: an arm that changes anything else is pointed out as confounded.
    factors=("annotations", "dminer"),
    # Every arm is trained once with each. Three seeds cannot show significance; six can for one arm.
    seeds=(0, 1, 2),
    # To compare the arms at their best, tune settings for each of them first (from siod.tuning.space import Float,
    # Int, Choice, Search); a setting that an arm does not have is left alone there.
    # space={{"recipe.learning_rate": Float(low=5e-4, high=5e-3, log=True)}},
    # search=Search(trials=20, pruner="asha"),
)
'''


OPTIONS_OF_DATA = ("detector", "backbone", "weights", "only-one", "budget")
SECONDS = {"s": 1, "m": 60, "h": 3600}


def new(
    name: Annotated[str, typer.Argument(help="Of the study; the file is NAME.py.")],
    *,
    data: Annotated[
        Path | None,
        typer.Option(help="Fit it to this folder, as 'siod data import' writes one.", show_default=False),
    ] = None,
    detector: Annotated[
        Literal["centernet", "fcos", "retinanet", "faster_rcnn"] | None,
        typer.Option(help="Family of the detector.", show_default="centernet"),
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="Of the detector.", show_default="efficientnet_lite0")] = None,
    weights: Annotated[
        Literal["packaged", "imagenet", "none"] | None,
        typer.Option(help="Of the backbone: shipped by a package, from torchvision, random.", show_default="packaged"),
    ] = None,
    only_one: Annotated[
        bool, typer.Option("--only-one", help="The training set has one box per category and image, and no others.")
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Have it end within 30m, 2h, ... on this machine.", show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write this file instead.", show_default=False)] = None,
    cache: Cache = CACHE,
) -> None:
    """Write a commented study to start from; it runs as it is."""
    path = _free_path(name, out)
    if data is None:
        given = dict(zip(OPTIONS_OF_DATA, (detector, backbone, weights, only_one, budget), strict=True))
        _refuse_without_data(given)
        _write(path, START.format(name=name))
        typer.echo(f"{path}: edit it, then 'siod study plan {path}' and 'siod study run {path}'")
        return
    from siod.cli.progress import progress_bar  # noqa: PLC0415  (keeps --help fast)
    from siod.tuning.fitting.detector import DEFAULT_BACKBONE  # noqa: PLC0415
    from siod.tuning.fitting.drafting import DraftRequest, draft_study, remarks  # noqa: PLC0415
    from siod.tuning.fitting.study_file import render  # noqa: PLC0415

    request = DraftRequest(
        name=name,
        file=path,
        data=data,
        command=shlex.join(["siod", *sys.argv[1:]]),
        family=detector or "centernet",
        backbone=backbone or DEFAULT_BACKBONE,
        weights=weights or "packaged",
        only_one=only_one,
        budget_seconds=None if budget is None else _seconds(budget),
    )
    with progress_bar("timing a few steps") as progress:
        draft = draft_study(request, absolute(cache), progress=progress)
    _write(path, render(draft))
    typer.echo("\n".join([*_chosen(path, draft), *(f"remark: {one}" for one in remarks(draft, only_one=only_one))]))
    typer.echo(f"next: siod study run {path}")


def _free_path(name: str, out: Path | None) -> Path:
    if not name.isidentifier() or keyword.iskeyword(name) or not name.isascii():
        raise UserError(f"study name {name!r}: use letters, digits and underscores, a letter first")
    path = out or Path(f"{name}.py")
    if path.suffix != ".py":
        raise UserError(f"{path}: a study's file ends in .py")
    refuse_occupied(path)
    writable_parent(path)
    return path


def _refuse_without_data(given: Mapping[str, object]) -> None:
    option = next((name for name, setting in given.items() if setting), None)
    if option is not None:
        raise UserError(f"--{option} belongs to a study that is fitted to data; name the folder with --data")


def _seconds(budget: str) -> float:
    """Read a duration.

    Example:
        >>> _seconds("30m"), _seconds("1.5h")
        (1800.0, 5400.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", budget)
    if match is None or float(match[1]) == 0:
        raise UserError(f"--budget {budget!r}: expected a number and s, m or h, for example 30m")
    return float(match[1]) * SECONDS[match[2]]


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _chosen(path: Path, draft: Draft) -> Iterator[str]:
    """The choices in a few lines."""
    from siod.tuning.fitting.study_file import describe_data  # noqa: PLC0415  (keeps --help fast)

    fit = draft.fit
    height, width = fit.input_size
    yield f"{path}: written"
    yield f"data: {describe_data(draft)}"
    yield f"detector: {draft.detector.name}, weights {draft.weights}, inputs of {width} x {height} px"
    yield f"trials: {', '.join(draft.arms)} with {fit.seeds} seed{'s' * (fit.seeds > 1)}, {fit.epochs} epochs each"
    yield f"cost: {draft.cost}"
