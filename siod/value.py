"""Frozen, validated values: what an experiment and a study are made of."""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_serializer, model_validator

from siod.errors import UserError, closest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pydantic import SerializationInfo, SerializerFunctionWrapHandler


class Value(BaseModel):
    """A frozen record whose unknown keys are refused with the closest known name.

    Settings named in ``unsaid_by_default`` are left out of the JSON while they have their default: a setting that
    is added later changes the identity of no run that does without it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)
    unsaid_by_default: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_names(cls, data: object) -> object:
        if isinstance(data, dict):
            fields = cls.model_fields
            for name in data:
                if name not in fields:
                    message = f"unknown setting {name!r} in {cls.__name__}{closest(str(name), fields)}"
                    raise ValueError(message)
        return data

    @model_serializer(mode="wrap")
    def _leave_unsaid(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        if info.mode != "json" or not self.unsaid_by_default:
            return data
        fields = type(self).model_fields
        unsaid = {name for name in self.unsaid_by_default if getattr(self, name) == fields[name].default}
        return {name: setting for name, setting in data.items() if name not in unsaid}

    @classmethod
    def parse(cls, data: object, *, source: str) -> Self:
        """Build the value from plain data, or say in one sentence what is wrong with it.

        Args:
            data: Plain dictionaries, lists and scalars, as read from JSON.
            source: Where the data came from, named in the error.

        Returns:
            The validated value.

        Raises:
            UserError: A name is unknown or a setting is out of range.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise UserError(f"{source}: {first_problem(error)}") from error

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the value from a JSON file.

        Args:
            path: Of the file.

        Raises:
            UserError: The file is missing, is no JSON, or holds a refused setting.
        """
        noun = cls.__name__.lower()
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            article = "an" if noun[0] in "aeiou" else "a"
            raise UserError(f"{path}: {reason}; name {article} {noun}'s JSON file") from error
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}: not JSON (line {error.lineno}: {error.msg})") from error
        return cls.parse(data, source=str(path))

    def with_changes(self, changes: Mapping[str, Any]) -> Self:
        """Copy with some settings changed, each named by its dotted path.

        Args:
            changes: ``{"dminer.splg.min_similarity": 0.7, "seed": 1}``; a value may itself be a Value.

        Returns:
            A new, validated value; this one stays as it is.

        Raises:
            UserError: A path does not exist (with the closest name) or a value is refused.
        """
        data = self.model_dump()
        for path, setting in changes.items():
            *parents, last = path.split(".")
            place: Any = data
            for depth, name in enumerate(parents):
                place = _descend(place, name, ".".join(parents[: depth + 1]))
            _descend(place, last, path)
            place[last] = setting.model_dump() if isinstance(setting, Value) else deepcopy(setting)  # changed below
        return type(self).parse(data, source="settings " + ", ".join(changes))


def _descend(place: object, name: str, path: str) -> object:
    if not isinstance(place, dict):
        raise UserError(f"setting {path!r}: its parent is {place!r}, which has no settings; set the parent first")
    if name not in place:
        raise UserError(f"unknown setting {path!r}{closest(name, place)}")
    return place[name]


def first_problem(error: ValidationError) -> str:
    """One sentence for the first problem pydantic found: where, what, and the value received."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    what = problem["msg"].removeprefix("Value error, ")
    received = "" if isinstance(problem["input"], dict | BaseModel) else f" (received {problem['input']!r})"
    return f"{where}: {what}{received}" if where else f"{what}{received}"


def digest(data: object, *, length: int = 16) -> str:
    """Hash plain data by its canonical JSON (sorted keys, no spaces).

    Args:
        data: Anything JSON can hold.
        length: Hexadecimal digits kept, 1 to 64.

    Returns:
        The first ``length`` digits of the SHA-256.

    Example:
        >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
        True
    """
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
