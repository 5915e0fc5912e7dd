"""Options that say how images are divided into splits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from siod.data.formats.splitting import Shares

ValShare = Annotated[
    float | None, typer.Option("--val", help="Share of validation images.", show_default="0.2", metavar="SHARE")
]
TestShare = Annotated[
    float | None, typer.Option("--test", help="Share of test images.", show_default="0", metavar="SHARE")
]
Group = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="Images in whose file names its first group finds the same stay together, as frames of a video.",
        show_default=False,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        min=0, help="Decides the division; the first that suits when not given, which is printed.", show_default=False
    ),
]


def shares_of(*, val: float | None, test: float | None, group: str | None, seed: int | None) -> Shares:
    """What the options ask for.

    Raises:
        UserError: Shares that leave nothing, or no regular expression with a group.
    """
    from siod.data.formats.splitting import Shares  # noqa: PLC0415  (keeps --help fast)

    given = {"val": val, "test": test}
    return Shares(**{name: share for name, share in given.items() if share is not None}, group=group, seed=seed)
