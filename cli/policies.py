"""Annotation policies as a command line names them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from siod.errors import UserError, closest

if TYPE_CHECKING:
    from siod.data.annotation_sets import Policy

Choice = Literal["random", "first", "largest", "center"]

NAMES = ("full", "keep-K", "ssod", "saod-easy", "saod-hard", "saod-extreme", "missing-P", "matched")
EXAMPLES = ("full", "keep-1", "ssod", "saod-easy", "saod-hard", "saod-extreme", "missing-0.5", "matched")

PolicyName = Annotated[str, typer.Option("--policy", help=f"{', '.join(NAMES)}; K boxes, P a fraction removed.")]
ChoiceOption = Annotated[
    Choice | None, typer.Option("--choice", help="Which boxes keep-K keeps; random when not given.")
]
PerCategory = Annotated[
    bool, typer.Option("--per-category", help="With saod: a box of each category of an image always stays.")
]
Seed = Annotated[int, typer.Option("--seed", help="Decides random choices.")]


def parse_policy(name: str, *, seed: int = 0, choice: Choice | None = None, per_category: bool = False) -> Policy:
    """Read a policy's name and its options.

    Args:
        name: ``full``, ``keep-1``, ``ssod``, ``saod-hard``, ``missing-0.5``, ``matched`` ...
        seed: Decides random choices, at least 0.
        choice: For ``keep-K`` only.
        per_category: For ``saod-...`` only.

    Raises:
        UserError: There is no such policy, or it has no use for an option.
    """
    from siod.data.annotation_sets import Full, Keep, Matched, Missing, Sparse, WholeImages  # noqa: PLC0415

    source = f"policy {name}"
    family, _, setting = name.partition("-")
    if choice is not None and family != "keep":
        raise UserError(f"--choice has no effect on policy {name!r}; leave it out or use keep-K")
    if per_category and family != "saod":
        raise UserError(f"--per-category has no effect on policy {name!r}; leave it out or use saod-easy")
    data: dict[str, Any] = {"seed": seed}
    if name == "full":
        if seed:
            raise UserError(f"--seed has no effect on policy {name!r}; leave it out")
        return Full()
    if re.fullmatch(r"keep-\d{1,9}", name):
        return Keep.parse({**data, "k": int(setting), "choice": choice or "random"}, source=source)
    if name in {"saod-easy", "saod-hard", "saod-extreme"}:
        return Sparse.parse({**data, "level": setting, "per_category": per_category}, source=source)
    if re.fullmatch(r"missing-\d{1,9}(\.\d{1,15})?", name):
        return Missing.parse({**data, "fraction": float(setting)}, source=source)
    if name in {"ssod", "matched"}:
        return (WholeImages if name == "ssod" else Matched).parse(data, source=source)
    raise UserError(f"unknown policy {name!r}{closest(name, EXAMPLES)}")
