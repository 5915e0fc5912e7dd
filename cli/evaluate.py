"""``siod evaluate``: judge detection files by the score-aware protocol."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003  (typer resolves the annotations at run time)
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from siod.cli.options import writable_parent
from siod.errors import UserError
from siod.files import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from siod.evaluation.score_aware import GroundTruth, ScoreAwareTable
    from siod.evaluation.tables import Style

STDIN = "-"


def evaluate(
    ground_truth: Annotated[str, typer.Argument(metavar="GT", help="A COCO annotation file, .gz too.")],
    detections: Annotated[
        list[str], typer.Argument(metavar="DETECTIONS...", help="COCO results files, .gz too; - reads standard input.")
    ],
    *,
    mode: Annotated[
        Literal["exact", "authors"],
        typer.Option(help="The paper's protocol, or bug for bug what the published code computes."),
    ] = "exact",
    per_category: Annotated[bool, typer.Option("--per-category", help="Add AP by category.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX (booktabs).")] = False,
    json_out: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="OUT", help="Also write the figures, as fractions, to this file; - prints them."
        ),
    ] = None,
) -> None:
    """Judge detections by the score-aware protocol; several files side by side."""
    from siod.evaluation.score_aware import GroundTruth, evaluate_files  # noqa: PLC0415  (keeps --help fast)
    from siod.evaluation.tables import as_json, render  # noqa: PLC0415

    style = _style(markdown=markdown, latex=latex)
    _refuse_repeats(detections)
    printed = json_out is not None and str(json_out) == STDIN
    if json_out is not None and not printed:
        writable_parent(json_out)
    truth = GroundTruth.from_coco(ground_truth)
    tables = {name: evaluate_files(truth, name, mode=mode) for name in detections}
    _warn(ground_truth, truth, tables, mode)
    if not printed:
        typer.echo(render(tables, style, per_category=per_category))
    if json_out is not None:
        _write(json_out, as_json(tables, per_category=per_category))


def _warn(name: str, truth: GroundTruth, tables: Mapping[str, ScoreAwareTable], mode: str) -> None:
    """Point out what makes figures other than their reader thinks."""
    if (truth.annotation_ids == 0).any():
        here = "found here" if mode == "exact" else "not found in this mode, as in the published code"
        typer.echo(f"{name}: an annotation has id 0: {here}; pycocotools never finds it", err=True)
    for file, table in tables.items():
        low, high = table.score_range or (0.0, 1.0)
        if low < 0 or high > 1:
            remark = f"scores from {low:g} to {high:g}; the thresholds 0.0 to 0.9 expect 0 to 1"
            typer.echo(f"{file}: {remark}; write fractions, not percent or logits", err=True)


def _style(*, markdown: bool, latex: bool) -> Style:
    if markdown and latex:
        raise UserError("--markdown and --latex are both given; keep one")
    return "markdown" if markdown else "latex" if latex else "text"


def _refuse_repeats(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{name}: is named twice; name each detections file once")


def _write(path: Path, figures: dict[str, Any]) -> None:
    text = json.dumps(figures, indent=2) + "\n"
    if str(path) == STDIN:
        typer.echo(text, nl=False)
        return
    try:
        with replacing(path) as temporary:
            temporary.write_text(text)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another file with --json") from error
