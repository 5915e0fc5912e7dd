"""``siod study new``: write a commented study to start from."""

from __future__ import annotations

import keyword
from pathlib import Path
from typing import Annotated

import typer

from siod.cli.options import refuse_occupied, writable_parent
from siod.errors import UserError
from siod.files import replacing

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


def new(
    name: Annotated[str, typer.Argument(help="Of the study; the file is NAME.py.")],
    *,
    out: Annotated[Path | None, typer.Option(help="Write this file instead.", show_default=False)] = None,
) -> None:
    """Write a commented study to start from; it runs as it is."""
    if not name.isidentifier() or keyword.iskeyword(name) or not name.isascii():
        raise UserError(f"study name {name!r}: use letters, digits and underscores, a letter first")
    path = out or Path(f"{name}.py")
    if path.suffix != ".py":
        raise UserError(f"{path}: a study's file ends in .py")
    refuse_occupied(path)
    writable_parent(path)
    with replacing(path) as temporary:
        temporary.write_text(START.format(name=name), encoding="utf-8")
    typer.echo(f"{path}: edit it, then 'siod study plan {path}' and 'siod study run {path}'")
