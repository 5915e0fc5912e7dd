"""Settings that a study tunes for each arm: their ranges, and how they are searched. Values only."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from siod.errors import UserError, closest
from siod.value import Value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from siod.training.experiment import Experiment

# What makes another question, another place or another draw instead of another setting.
NOT_TUNED = ("data", "annotations", "compute", "seed", "evaluation")


class Float(Value):
    """A number from ``low`` to ``high``, both included; in steps if ``step`` is set, by ratios if ``log``."""

    kind: Literal["float"] = "float"
    low: float
    high: float
    log: bool = False
    step: PositiveFloat | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        _check_range(self.low, self.high, log=self.log)
        if self.log and self.step is not None:
            message = "log and step exclude each other; keep one"
            raise ValueError(message)
        return self

    def ends(self) -> tuple[float, float]:
        """The least and the greatest value."""
        return self.low, self.high

    def points(self) -> tuple[float, ...] | None:
        """All values, or None for a continuum."""
        if self.step is None:
            return None
        count = int((self.high - self.low) / self.step + 1e-9) + 1
        return tuple(round(self.low + index * self.step, 12) for index in range(count))


class Int(Value):
    """A whole number from ``low`` to ``high``, both included, in steps; by ratios if ``log``."""

    kind: Literal["int"] = "int"
    low: int
    high: int
    log: bool = False
    step: PositiveInt = 1

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        _check_range(self.low, self.high, log=self.log)
        if self.log and self.step != 1:
            message = "log and step exclude each other; keep one"
            raise ValueError(message)
        return self

    def ends(self) -> tuple[int, int]:
        """The least and the greatest value."""
        return self.low, self.high

    def points(self) -> tuple[int, ...]:
        """All values."""
        return tuple(range(self.low, self.high + 1, self.step))


class Choice(Value):
    """One of some values: numbers, words, truth values or None."""

    kind: Literal["choice"] = "choice"
    values: Annotated[tuple[bool | int | float | str | None, ...], Field(min_length=2)]

    def ends(self) -> tuple[Any, ...]:
        """All of them: each is checked."""
        return self.values

    def points(self) -> tuple[Any, ...]:
        """All of them."""
        return self.values


Distribution = Annotated[Float | Int | Choice, Field(discriminator="kind")]


class Search(Value):
    """How a study's space is searched, for each arm alike.

    Args:
        trials: For each arm, pruned and failed ones included.
        hours: No trial is started after so many hours of one call; None does not limit them.
        gpu_hours: Of an arm, none is started once its ended trials have used so many; None does not limit them.
        sampler: Who proposes. ``grid`` takes every combination, ``nsga2`` is for two objectives.
        pruner: Who ends trials early by their objective after each epoch, judged among trials of the same arm.
        grace_epochs: No trial is ended before so many epochs.
        cost: A second objective, to be small; trials are not pruned then.
        seed: Of the proposals.
        training_seed: Every trial of the search trains with it. It is best none of the study's seeds, so that the
            settings are not judged by the draw that chose them.
        storage: URL of the database that holds the search; a SQLite file beside the study's runs if None.
        own_first: An arm's own settings are its first trial, so that what was found by hand stays in the running;
            left out for an arm whose settings lie outside the space, and under ``grid``.
    """

    trials: PositiveInt = 20
    hours: PositiveFloat | None = None
    gpu_hours: PositiveFloat | None = None
    sampler: Literal["tpe", "random", "grid", "cmaes", "nsga2"] = "tpe"
    pruner: Literal["none", "asha", "hyperband", "median"] = "none"
    grace_epochs: PositiveInt = 1
    cost: Literal["epoch_seconds", "peak_memory_mib"] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    training_seed: Annotated[int, Field(ge=0)] = 100
    storage: str | None = None
    own_first: bool = True

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.cost is not None and self.pruner != "none":
            message = f"pruner {self.pruner} judges one objective; set it to none, or cost to null"
            raise ValueError(message)
        if self.cost is not None and self.sampler == "cmaes":
            message = "sampler cmaes has one objective; take tpe, random, grid or nsga2, or set cost to null"
            raise ValueError(message)
        return self


def applicable(space: Mapping[str, Distribution], experiment: Experiment) -> dict[str, Distribution]:
    """The part of a space that an experiment has settings for.

    Args:
        space: By dotted path.
        experiment: Of an arm.

    Returns:
        In the order of the space. What the experiment has no such setting of is left out: a path below a setting
        that is null, or of another method or detector.

    Raises:
        UserError: The experiment refuses an end of a range.
    """
    plain = experiment.model_dump()
    found = {path: distribution for path, distribution in space.items() if _exists(plain, path)}
    for path, distribution in found.items():
        for end in distribution.ends():
            experiment.with_changes({path: end})
    return found


def own_settings(space: Mapping[str, Distribution], experiment: Experiment) -> dict[str, Any] | None:
    """What an experiment has for the settings of a space.

    Args:
        space: By dotted path, each of which the experiment has.
        experiment: Of an arm.

    Returns:
        By dotted path; None if one of them lies outside its range or between its steps.
    """
    plain = experiment.model_dump()
    found = {path: _at(plain, path) for path in space}
    return found if all(_holds(space[path], value) for path, value in found.items()) else None


def combinations(space: Mapping[str, Distribution]) -> tuple[dict[str, Any], ...]:
    """Every combination of a space's values, the last setting varying fastest.

    Args:
        space: By dotted path.

    Raises:
        UserError: A range has no steps.

    Example:
        >>> combinations({"a": Int(low=1, high=2), "b": Choice(values=("x", "y"))})[1]
        {'a': 1, 'b': 'y'}
    """
    points = {path: distribution.points() for path, distribution in space.items()}
    for path, values in points.items():
        if values is None:
            raise UserError(f"space {path!r}: sampler grid needs a step or a choice; set step")
    listed: Sequence[tuple[Any, ...]] = [values for values in points.values() if values is not None]
    return tuple(dict(zip(points, values, strict=True)) for values in product(*listed))


def refuse_unreached(path: str, experiments: Sequence[Experiment]) -> None:
    """Refuse a path that no arm has, with the closest name where its parents exist.

    Args:
        path: Dotted.
        experiments: Of all arms.

    Raises:
        ValueError: Always.
    """
    for experiment in experiments:
        place: Any = experiment.model_dump()
        for name in path.split("."):
            if isinstance(place, dict) and name not in place:
                message = f"space {path!r}: unknown setting{closest(name, place)}"
                raise ValueError(message)
            place = place[name] if isinstance(place, dict) else None
    message = f"space {path!r}: no arm has this setting; its parent is null in all of them"
    raise ValueError(message)


def refuse_untuned(paths: Mapping[str, Distribution]) -> None:
    """Refuse what is no setting to tune.

    Raises:
        ValueError: Names the path.
    """
    for path in paths:
        if path.partition(".")[0] in NOT_TUNED:
            message = f"space {path!r}: {path.partition('.')[0]} is not tuned; make it an arm"
            raise ValueError(message)


def _exists(plain: Mapping[str, Any], path: str) -> bool:
    place: Any = plain
    for name in path.split("."):
        if not isinstance(place, dict) or name not in place:
            return False
        place = place[name]
    return True


def _at(plain: Mapping[str, Any], path: str) -> Any:
    place: Any = plain
    for name in path.split("."):
        place = place[name]
    return place


def _holds(distribution: Distribution, value: Any) -> bool:
    if isinstance(distribution, Choice):
        return value in distribution.values
    if isinstance(value, bool) or not isinstance(value, int if isinstance(distribution, Int) else int | float):
        return False
    points = distribution.points()
    return distribution.low <= value <= distribution.high if points is None else value in points


def _check_range(low: float, high: float, *, log: bool) -> None:
    if low >= high:
        message = f"low {low} must be below high {high}"
        raise ValueError(message)
    if log and low <= 0:
        message = f"low must be above 0 with log, not {low}"
        raise ValueError(message)
