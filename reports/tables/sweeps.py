"""Sweeps as in the paper: one small table per setting, its values across, figures below."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from siod.reports.analysis.aggregate import Spread, aggregate
from siod.reports.analysis.numbers import heading, percent, signed_percent
from siod.reports.tables.table import APART
from siod.tracking.records import flatten

if TYPE_CHECKING:
    from collections.abc import Mapping

    from siod.reports.analysis.aggregate import ArmRow
    from siod.tracking.records import ArmRecord, StudyRecord

LEAST = 2


@dataclass(frozen=True)
class Sweep:
    """The arms that differ in nothing but the value of one setting.

    Args:
        path: Dotted path of the setting.
        group: Heading the arms stand under; empty when the table has none.
        values: As text, ascending where they are numbers.
        arms: Names, one for each value.
        cells: Spread over the finished trials by metric, one for each value; None where there is none.
        published: A paper's figures by metric, one for each value; None where it has none.
    """

    path: str
    group: str
    values: tuple[str, ...]
    arms: tuple[str, ...]
    cells: Mapping[str, tuple[Spread | None, ...]]
    published: Mapping[str, tuple[float | None, ...]]

    @property
    def title(self) -> str:
        """Name of the setting, with the group where there is one."""
        name = self.path.rpartition(".")[2]
        return f"{self.group}: {name}" if self.group else name

    def numbers(self) -> tuple[float, ...] | None:
        """The values as numbers, or None when one is none."""
        try:
            return tuple(float(value) for value in self.values)
        except ValueError:
            return None

    def rows(self) -> tuple[tuple[str, ...], ...]:
        """The table as text: the setting and its values, a row for each metric, below it a paper's and the distance."""
        lines = [(self.title, *self.values)]
        for metric, cells in self.cells.items():
            lines.append((heading(metric), *(_text(cell) for cell in cells)))
            published = self.published.get(metric, ())
            if any(value is not None for value in published):
                lines.append(
                    (f"{heading(metric)} published", *("" if one is None else percent(one) for one in published))
                )
                apart = (_apart(cell, one) for cell, one in zip(cells, published, strict=True))
                lines.append((f"{heading(metric)} {APART}", *apart))
        return tuple(lines)


def sweeps(study: StudyRecord) -> tuple[Sweep, ...]:
    """Find the settings that a study sweeps: at least two arms that change it and nothing else.

    Args:
        study: Finished or not.

    Returns:
        In the order the settings are first met; an arm without changes joins where its value is known.
    """
    rows = {row.arm.name: row for row in aggregate(study)}
    swept: dict[tuple[str, str], dict[str, ArmRow]] = {}
    for arm in study.arms:
        if (only := _only_change(arm)) is not None:
            path, value = only
            swept.setdefault((arm.group, path), {})[value] = rows[arm.name]
    return tuple(
        _sweep(study, path, group, values | _unchanged(study, group, path, rows, values))
        for (group, path), values in swept.items()
        if len(values) >= LEAST
    )


def _only_change(arm: ArmRecord) -> tuple[str, str] | None:
    """Path and value of the one setting that an arm changes; None when it is not one simple value."""
    if len(arm.changes) != 1:
        return None
    ((path, value),) = arm.changes.items()
    if isinstance(value, dict | list) or value is None:
        return None
    return path, value if isinstance(value, str) else json.dumps(value)


def _unchanged(
    study: StudyRecord, group: str, path: str, rows: Mapping[str, ArmRow], known: Mapping[str, ArmRow]
) -> dict[str, ArmRow]:
    """The arm that leaves the base experiment as it is, under the value the setting has there."""
    value = flatten(study.experiment).get(path)
    plain = [arm.name for arm in study.arms if arm.group == group and not arm.changes]
    return {value: rows[plain[0]]} if plain and value is not None and value not in known else {}


def _sweep(study: StudyRecord, path: str, group: str, arms: Mapping[str, ArmRow]) -> Sweep:
    values = sorted(arms, key=_order)
    rows = [arms[value] for value in values]
    return Sweep(
        path=path,
        group=group,
        values=tuple(values),
        arms=tuple(row.arm.name for row in rows),
        cells={name: tuple(row.cells[name] for row in rows) for name in study.columns},
        published={name: tuple(row.arm.published.get(name) for row in rows) for name in study.columns},
    )


def _order(value: str) -> tuple[int, float]:
    """Numbers ascending, words behind them as they come."""
    try:
        return 0, float(value)
    except ValueError:
        return 1, 0.0


def _apart(cell: Spread | None, published: float | None) -> str:
    return "" if cell is None or published is None else signed_percent(cell.mean - published)


def _text(cell: Spread | None) -> str:
    if cell is None:
        return ""
    return percent(cell.mean) + ("" if cell.std is None else f" ± {percent(cell.std)}")
