"""Arms in one line: a sweep, a grid, a detector's rows; and arms that change more than they mean to."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING, Any

from siod.data.annotation_sets import Full
from siod.errors import UserError
from siod.tracking.records import flatten
from siod.tuning.study import COLUMNS, Arm

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from siod.dminer.dminer import DMiner
    from siod.methods.teacher_student import TeacherStudent
    from siod.training.experiment import Experiment
    from siod.tuning.study import Study


def sweep(
    path: str, values: Iterable[Any], *, note: str = "", published: Sequence[Mapping[str, float]] = ()
) -> tuple[Arm, ...]:
    """One arm for each value of one setting, all else as in the base experiment.

    Args:
        path: Dotted path of the setting, such as ``dminer.splg.min_similarity``.
        values: In the order of the table's rows.
        note: Put on every arm.
        published: A paper's figures, fractions by metric, one entry for each value; none at all if empty.

    Returns:
        Arms named by the setting's last word and the value.

    Raises:
        UserError: There is no value, or figures are published for another number of values.

    Example:
        >>> [arm.name for arm in sweep("dminer.splg.min_similarity", (0.5, 0.6))]
        ['min_similarity-0.5', 'min_similarity-0.6']
    """
    arms = grid({path: tuple(values)}, note=note)
    if not published:
        return arms
    if len(published) != len(arms):
        raise UserError(f"a sweep of {path!r} has {len(arms)} values and published figures for {len(published)}")
    return tuple(arm.model_copy(update={"published": dict(row)}) for arm, row in zip(arms, published, strict=True))


def grid(values: Mapping[str, Sequence[Any]], *, note: str = "") -> tuple[Arm, ...]:
    """One arm for each combination of values.

    Args:
        values: By dotted path; the last setting varies fastest.
        note: Put on every arm.

    Returns:
        Arms named by the settings' last words and values.

    Raises:
        UserError: A setting has no value, or two combinations would be named alike.

    Example:
        >>> [arm.label for arm in grid({"recipe.epochs": (1, 2), "recipe.batch_size": (8,)})]
        ['epochs 1, batch_size 8', 'epochs 2, batch_size 8']
    """
    empty = [path for path, choices in values.items() if not choices]
    if not values or empty:
        raise UserError(f"a sweep of {empty[0]!r} names no value; name one at least" if empty else "a grid has no path")
    combinations = [dict(zip(values, choice, strict=True)) for choice in product(*values.values())]
    arms = tuple(
        Arm(
            name="_".join(f"{_last(path)}-{_word(value)}" for path, value in changes.items()),
            label=", ".join(f"{_last(path)} {value}" for path, value in changes.items()),
            changes=changes,
            note=note,
        )
        for changes in combinations
    )
    names = [arm.name for arm in arms]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two combinations of the grid are both named {name!r}; declare these arms one by one")
    return arms


def table1_rows(
    base: Experiment,
    own: Experiment,
    *,
    name: str,
    group: str,
    mining: Mapping[str, Any],
    published: Mapping[str, Mapping[str, float]] | None = None,
    rejecting: Mapping[str, Any] | None = None,
) -> tuple[Arm, ...]:
    """The three rows one detector has in Table 1: full supervision, SIOD base, SIOD with DMiner; reject as a fourth.

    Args:
        base: The experiment the study starts from.
        own: The detector's own experiment without DMiner.
        name: Put before the arms' names.
        group: Heading of the rows.
        mining: What DMiner changes in ``own``, by dotted path.
        published: A paper's figures, fractions by metric, under ``fsod``, ``base`` and ``dminer``.
        rejecting: What reject changes in ``own``; None leaves the row out.

    Returns:
        The arms, in the table's order; ``<name>-base`` is their baseline.
    """
    shared = {
        field: getattr(own, field) for field in type(own).model_fields if getattr(own, field) != getattr(base, field)
    }
    rows: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("fsod", "FSOD", {"annotations": Full()}),
        ("base", "SIOD (base)", {}),
        ("dminer", "SIOD (DMiner)", dict(mining)),
        *(() if rejecting is None else (("reject", "SIOD (reject)", dict(rejecting)),)),
    )
    return tuple(
        Arm(
            name=f"{name}-{task}",
            label=label,
            group=group,
            changes={**shared, **changes},
            published=dict((published or {}).get(task, {})),
        )
        for task, label, changes in rows
    )


def module_arms(dminer: DMiner, teacher: TeacherStudent) -> tuple[Arm, ...]:
    """The rows of Table 3 that DMiner's parts have on a set of one's own, and a rival's.

    Args:
        dminer: Both parts of DMiner, with the set's settings.
        teacher: A teacher and student on the same boxes, with the set's settings.

    Returns:
        Full supervision, one box per category (``base``), SPLG alone, DMiner, and teacher and student.
    """
    splg = dminer.with_changes({"pgcl": None})
    return (
        Arm(name="fsod", label="FSOD", changes={"annotations": Full()}),
        Arm(name="base", label="SIOD (base)"),
        Arm(name="splg", label="SIOD + SPLG", changes={"dminer": splg}, modules=("SPLG",)),
        Arm(name="dminer", label="SIOD (DMiner)", changes={"dminer": dminer}, modules=("SPLG", "PGCL")),
        Arm(name="teacher_student", label="SIOD (teacher-student)", changes={"method": teacher}),
    )


def percent(*values: float, columns: Sequence[str] = COLUMNS) -> dict[str, float]:
    """The figures of one row of a published table, as an arm wants them.

    Args:
        values: In percent, one for each column.
        columns: Metrics in the order of the table's columns.

    Returns:
        Fractions by metric.

    Example:
        >>> percent(50.0, 12.5, columns=("ap_s", "ap_s0"))
        {'ap_s': 0.5, 'ap_s0': 0.125}
    """
    return {name: value / 100 for name, value in zip(columns, values, strict=True)}


def confounded(study: Study) -> dict[str, tuple[str, ...]]:
    """Find arms that differ from the baseline in more than the study's factors.

    Args:
        study: Its ``factors`` name what the arms are about; without them nothing is confounded.

    Returns:
        Dotted paths beside the factors, by arm; only arms that have some.
    """
    if not study.factors:
        return {}
    seed = study.seeds[0]
    found = {}
    for arm in study.arms:
        own, reference = _flat(study, arm, seed), _flat(study, study.baseline_of(arm), seed)
        changed = [path for path in {**reference, **own} if own.get(path) != reference.get(path)]
        beside = tuple(path for path in changed if not any(_within(path, factor) for factor in study.factors))
        if beside:
            found[arm.name] = beside
    return found


def _flat(study: Study, arm: Arm, seed: int) -> dict[str, str]:
    return flatten(study.experiment(arm, seed).model_dump(mode="json", exclude={"compute"}))


def _within(path: str, factor: str) -> bool:
    return path == factor or path.startswith(f"{factor}.")


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _word(value: Any) -> str:
    """A value as part of an arm's name."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", str(value)).strip("-") or "none"
