"""Settings of one call of a study that apply to all of its arms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from siod.errors import UserError
from siod.tuning.study import Study
from siod.value import first_problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from siod.tuning.study import Arm


def with_settings(study: Study, settings: Mapping[str, Any]) -> Study:
    """The same study with some settings changed in every arm.

    Args:
        study: As declared.
        settings: New values by dotted path.

    Returns:
        A study of the same name whose trials and records hold the settings.

    Raises:
        UserError: A setting is unknown or refused, or an arm or the space is about it.
    """
    if not settings:
        return study
    for path in settings:
        _refuse_what_the_study_sets(study, path)
    arms = tuple(
        arm.model_copy(update={"changes": arm.changes | _below(settings, arm)}) if _below(settings, arm) else arm
        for arm in study.arms
    )
    declared = {name: getattr(study, name) for name in Study.model_fields}
    try:
        return Study.model_validate(declared | {"base": study.base.with_changes(settings), "arms": arms})
    except ValidationError as error:
        raise UserError(f"study {study.name!r}: {first_problem(error)}") from error


def _below(settings: Mapping[str, Any], arm: Arm) -> dict[str, Any]:
    """Settings without effect in an arm, because it replaces the whole part that they belong to."""
    wholes = tuple(f"{changed}." for changed in arm.changes)
    return {path: setting for path, setting in settings.items() if path.startswith(wholes)}


def _refuse_what_the_study_sets(study: Study, path: str) -> None:
    """Refuse a setting that the study compares: an arm sets it, or replaces the part around it with another value."""
    if path == "seed":
        raise UserError("'seed' is set by the study's seeds; choose among them with --seed")
    for tuned in study.space:
        if _touch(path, tuned):
            raise UserError(f"{path!r} cannot be set for all arms: the study's space tunes {tuned!r}")
    base = _part(study.base.model_dump(mode="json"), path)
    for arm in study.arms:
        for changed in arm.changes:
            whole = path.startswith(f"{changed}.")
            if whole and _part(study.experiment(arm, study.seeds[0]).model_dump(mode="json"), path) == base:
                continue
            if whole or _touch(path, changed):
                raise UserError(f"{path!r} cannot be set for all arms: arm {arm.name!r} sets {changed!r}")


def _touch(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def _part(settings: Any, path: str) -> Any:
    """The value at a dotted path of plain data; None where the path ends early."""
    for name in path.split("."):
        settings = settings.get(name) if isinstance(settings, dict) else None
    return settings
