"""``siod data annotate``: derive an annotation set from a fully annotated COCO file."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (typer resolves the annotations at run time)
from typing import TYPE_CHECKING, Annotated, Any

import typer

from siod.cli.options import refuse_occupied, writable_parent
from siod.cli.policies import ChoiceOption, PerCategory, PolicyName, Seed, parse_policy
from siod.errors import UserError

if TYPE_CHECKING:
    from siod.data.annotation_sets import Policy


def annotate(
    source: Annotated[Path, typer.Argument(help="A COCO annotation file.")],
    out: Annotated[Path, typer.Argument(help="The file to write; must not exist.")],
    *,
    policy: PolicyName = "keep-1",
    choice: ChoiceOption = None,
    per_category: PerCategory = False,
    seed: Seed = 0,
    hidden: Annotated[
        Path | None,
        typer.Option(metavar="OUT2", help="Also write the boxes left out, without crowds.", show_default=False),
    ] = None,
) -> None:
    """Write a COCO file that keeps some of the instances of another."""
    chosen = parse_policy(policy, seed=seed, choice=choice, per_category=per_category)
    outputs = [out] if hidden is None else [out, hidden]
    if hidden is not None and hidden.resolve() == out.resolve():
        raise UserError(f"{hidden}: is named for the kept and for the hidden boxes; name another file with --hidden")
    for path in outputs:
        refuse_occupied(path)
        writable_parent(path)
    documents = _derive(source, chosen, hidden=hidden is not None)
    _write_all(dict(zip(outputs, documents, strict=True)))
    for path, document in zip(outputs, documents, strict=True):
        typer.echo(f"{path}: {_account(document)}")


def _derive(source: Path, policy: Policy, *, hidden: bool) -> list[dict[str, Any]]:
    """The set's document and, if wanted, that of its hidden instances."""
    from siod.cli.progress import progress_bar  # noqa: PLC0415  (keeps --help fast)
    from siod.data import annotation_sets  # noqa: PLC0415
    from siod.data.coco import read  # noqa: PLC0415

    steps = 3 if hidden else 2
    with progress_bar(f"reading {source.name}, choosing boxes") as progress:
        dataset = read(source)
        progress(1, steps)
        documents = [annotation_sets.annotate(dataset, policy)]
        progress(2, steps)
        if hidden:
            documents.append(annotation_sets.hidden(dataset, policy))
            progress(3, steps)
    return documents


def _write_all(documents: dict[Path, dict[str, Any]]) -> None:
    """Write all files or none."""
    from siod.data.coco import write  # noqa: PLC0415  (keeps --help fast)

    written: list[Path] = []
    try:
        for path, document in documents.items():
            write(path, document)
            written.append(path)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def _account(document: dict[str, Any]) -> str:
    account = document["info"]["annotation_set"]
    if account.get("holds"):
        return f"{len(document['annotations'])} hidden instances"
    return ", ".join(f"{name} {count}" for name, count in account["counts"].items())
