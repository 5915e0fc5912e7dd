"""``siod study schema``: the JSON schema of a study or an experiment, for editors and scripts."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer


class Kind(StrEnum):
    """What a schema describes."""

    STUDY = "study"
    EXPERIMENT = "experiment"


def schema(
    kind: Annotated[Kind, typer.Argument(help="What the schema describes.")] = Kind.STUDY,
) -> None:
    """Print the JSON schema of a study or an experiment, for editors and scripts that write such files."""
    from siod.training.experiment import Experiment  # noqa: PLC0415  (keeps --help fast)
    from siod.tuning.study import Study  # noqa: PLC0415

    described = Study if kind is Kind.STUDY else Experiment
    typer.echo(json.dumps(described.model_json_schema(), indent=2))
