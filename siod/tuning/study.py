"""A study: one question, a base experiment, and the arms that answer it."""

from __future__ import annotations

import importlib
import pkgutil
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, PositiveInt, ValidationError, model_validator

from siod.errors import UserError, closest
from siod.outside import hiding, load_study_file
from siod.training.experiment import Experiment
from siod.tuning.space import Distribution, Search, applicable, combinations, refuse_unreached, refuse_untuned
from siod.value import Value, first_problem

if TYPE_CHECKING:
    from types import ModuleType

PACKAGE = "siod.studies"
COLUMNS = ("ap_s", "ap_s0", "ap_s3", "ap_s5", "ap_s7", "ap_s9")

# Names become folder names, MLflow run names and words on the command line.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=64)]
Metric = Annotated[str, Field(pattern=r"^(ap|ap50|ap75|ar1|ar10|ar100|a[pr]_(small|medium|large))_s[0-9]?$")]
Seed = Annotated[int, Field(ge=0)]


class Arm(Value):
    """One row of the study's table: the base experiment with some settings changed.

    Args:
        name: Short name, for folders and the command line.
        label: What tables call it; the name when empty.
        changes: New values by dotted path, as in ``Value.with_changes``.
        note: Anything a reader of the report should know about it.
        group: Heading of the table's rows it stands among, such as a detector; arms of a group follow each other.
        published: Figures that a paper reports for it, fractions by metric; reports show them beside ours.
        traits: What tells it apart in words, by column heading, such as ``{"Type": "SSOD"}``; reports give each a
            column of its own, where the label loses a `` (SSOD)`` at its end.
        modules: Names of the parts it uses, such as ``("SPLG",)``; reports mark them in columns of their own.
        seeds: It is trained with so many of the study's seeds, the first ones; None takes all. For arms that are
            described beside those that a study is about.
    """

    name: Name
    label: str = ""
    changes: dict[str, Any] = Field(default_factory=dict)
    note: str = ""
    group: str = ""
    published: dict[Metric, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    traits: dict[Annotated[str, Field(min_length=1)], str] = Field(default_factory=dict)
    modules: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    seeds: PositiveInt | None = None

    @property
    def title(self) -> str:
        """What tables call the arm."""
        return self.label or self.name


class Study(Value):
    """A question, and the trials that answer it: every arm with every seed.

    Args:
        name: Of the study and of its module.
        question: What the arms decide, in one sentence.
        base: The experiment that all arms share but for their changes.
        arms: In the order of the table's rows.
        seeds: Each arm is trained once with each.
        baseline: Name of the arm that gains are counted from.
        baselines: By group of arms, the arm of that group that its gains are counted from instead.
        primary: Comparisons named beforehand, arm over arm, such as ``(("dminer", "base"), ("best", "dminer"))``: the
            report tests these alone and describes the others. Empty tests every arm against its baseline.
        factors: Settings the arms are about, by dotted path; an arm that differs from the baseline in any other
            is pointed out as confounded. Empty leaves it unchecked.
        columns: Metrics in the order of the table's columns.
        objective: The metric that progress shows, and that a search makes large.
        space: Settings that are tuned for each arm before the arms are compared, by dotted path. A setting that an
            arm does not have is not tuned there.
        search: How; with a space only.
    """

    name: Name
    question: Annotated[str, Field(min_length=1)]
    base: Experiment
    arms: Annotated[tuple[Arm, ...], Field(min_length=1)]
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    baseline: str
    baselines: dict[str, str] = Field(default_factory=dict)
    primary: tuple[tuple[str, str], ...] = ()
    factors: tuple[str, ...] = ()
    columns: Annotated[tuple[Metric, ...], Field(min_length=1)] = COLUMNS
    objective: Metric = "ap_s"
    space: dict[str, Distribution] = Field(default_factory=dict)
    search: Search | None = None

    def arm(self, name: str) -> Arm:
        """Find an arm by its name.

        Raises:
            UserError: There is none; names the closest.
        """
        for arm in self.arms:
            if arm.name == name:
                return arm
        names = [arm.name for arm in self.arms]
        raise UserError(f"study {self.name!r} has no arm {name!r}{closest(name, names)}")

    def baseline_of(self, arm: Arm) -> Arm:
        """The arm that the gains of this one are counted from."""
        return self.arm(self.baselines.get(arm.group, self.baseline))

    def seeds_of(self, arm: Arm) -> tuple[int, ...]:
        """The seeds that an arm is trained with."""
        return self.seeds[: arm.seeds]

    def experiment(self, arm: Arm, seed: int) -> Experiment:
        """The experiment of one arm with one seed."""
        try:
            return self.base.with_changes({**arm.changes, "seed": seed})
        except UserError as error:
            raise UserError(f"study {self.name!r}, arm {arm.name!r}: {error}") from error

    @model_validator(mode="after")
    def _arms_are_sound(self) -> Self:
        _refuse_repeats("arm", [arm.name for arm in self.arms])
        _refuse_repeats("seed", [str(seed) for seed in self.seeds])
        self.arm(self.baseline)
        self._groups_are_sound()
        self._primary_is_sound()
        _refuse_unknown_factors(self.factors)
        seen: dict[str, str] = {}
        for arm in self.arms:
            if arm.seeds is not None and arm.seeds > len(self.seeds):
                message = f"arm {arm.name!r}: seeds is {arm.seeds}, but the study has {len(self.seeds)}; leave it out"
                raise ValueError(message)
            if "seed" in arm.changes:
                message = f"arm {arm.name!r} changes 'seed', which the study's seeds set; remove it from changes"
                raise ValueError(message)
            experiment = self.experiment(arm, self.seeds[0])
            learnt = experiment.model_dump_json(exclude={"compute"})
            twin = seen.setdefault(learnt, arm.name)
            if twin != arm.name:
                message = f"arms {twin!r} and {arm.name!r} are the same experiment; remove one"
                raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _space_is_sound(self) -> Self:
        if bool(self.space) != (self.search is not None):
            message = "space and search belong together; set both or none"
            raise ValueError(message)
        refuse_untuned(self.space)
        if not self.space:
            return self
        reached: set[str] = set()
        experiments = [self.experiment(arm, self.seeds[0]) for arm in self.arms]
        for arm, experiment in zip(self.arms, experiments, strict=True):
            found = applicable(self.space, experiment)
            if self.search is not None and self.search.sampler == "grid":
                combinations(found)
            limited = self.search is not None and self.search.gpu_hours is not None
            if limited and experiment.compute.gpus_per_worker == 0:
                message = f"search.gpu_hours: arm {arm.name!r} asks for no GPU; set compute.gpus_per_worker, or hours"
                raise ValueError(message)
            reached |= found.keys()
            for path in found.keys() & arm.changes.keys():
                message = f"arm {arm.name!r} changes {path!r}, which the space tunes; keep one"
                raise ValueError(message)
        for path in self.space.keys() - reached:
            refuse_unreached(path, experiments)
        return self

    def _groups_are_sound(self) -> None:
        together = [group for group, _ in groupby(arm.group for arm in self.arms)]
        for group in together:
            if together.count(group) > 1:
                message = f"arms of group {group!r} do not follow each other; put them together"
                raise ValueError(message)
        for group in self.baselines:
            if group not in together:
                message = f"baselines: no arm has the group {group!r}{closest(group, together)}"
                raise ValueError(message)
        for arm in self.arms:
            if self.baseline_of(arm).group != arm.group:
                message = f"group {arm.group!r} has no baseline among its arms; name one in baselines"
                raise ValueError(message)

    def _primary_is_sound(self) -> None:
        names = [arm.name for arm in self.arms]
        seen: set[frozenset[str]] = set()
        for one, other in self.primary:
            for name in (one, other):
                if name not in names:
                    message = f"primary: the study has no arm {name!r}{closest(name, names)}"
                    raise ValueError(message)
            if one == other:
                message = f"primary: arm {one!r} is compared with itself; name another arm"
                raise ValueError(message)
            if frozenset((one, other)) in seen:
                message = f"primary: arms {one!r} and {other!r} are compared twice; remove one of the pairs"
                raise ValueError(message)
            if self.baseline_of(self.arm(other)).name == one:
                message = f"primary: {one!r} is the baseline of {other!r}; write ({other!r}, {one!r})"
                raise ValueError(message)
            seen.add(frozenset((one, other)))


def _refuse_unknown_factors(factors: tuple[str, ...]) -> None:
    for factor in factors:
        first = factor.partition(".")[0]
        if first not in Experiment.model_fields:
            message = f"factor {factor!r}: an experiment has no {first!r}{closest(first, Experiment.model_fields)}"
            raise ValueError(message)


def _refuse_repeats(what: str, entries: list[str]) -> None:
    for entry in entries:
        if entries.count(entry) > 1:
            message = f"{what} {entry!r} is declared twice; remove one"
            raise ValueError(message)


def load_study(name_or_path: str) -> Study:
    """Load a study by the name of its module in ``studies/``, from a Python file that defines ``STUDY``, or from JSON.

    Args:
        name_or_path: ``"demo"``, ``"path/to/mine.py"`` or ``"path/to/mine.json"``.

    Returns:
        The study, with every arm checked.

    Raises:
        UserError: There is no such study (names the closest), or its module is refused.
    """
    if name_or_path.endswith(".py"):
        return _study_of(_import_file(Path(name_or_path)), source=name_or_path)
    if name_or_path.endswith(".json"):
        return Study.read(Path(name_or_path))
    names = study_names()
    if name_or_path not in names:
        remedy = closest(name_or_path, names)
        raise UserError(f"unknown study {name_or_path!r} (a file's name ends in .py or .json){remedy}")
    return _study_of(_import_named(name_or_path), source=f"study {name_or_path!r}")


def study_names() -> tuple[str, ...]:
    """Names of the studies that come with siod, without loading them."""
    package = importlib.import_module(PACKAGE)
    return tuple(sorted(module.name for module in pkgutil.iter_modules(package.__path__)))


def list_studies() -> tuple[Study, ...]:
    """All studies that come with siod, by name."""
    return tuple(load_study(name) for name in study_names())


def _import_named(name: str) -> ModuleType:
    with _ExplainErrors(f"study {name!r}"):
        return importlib.import_module(f"{PACKAGE}.{name}")


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a Python file that defines STUDY")
    with _ExplainErrors(str(path), path.absolute().parent):
        return load_study_file(path)


class _ExplainErrors:
    """Turn whatever a study's module raises into one sentence about that module."""

    def __init__(self, source: str, folder: Path | None = None) -> None:
        self.source, self.folder = source, folder

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UserError):
            raise UserError(f"{self.source}: {error}") from error
        if isinstance(error, ValidationError):
            raise UserError(f"{self.source}: {first_problem(error)}") from error
        hidden = hiding(error, self.folder) if isinstance(error, ImportError) and self.folder is not None else None
        if hidden is not None:
            raise UserError(f"{self.source}: {error}; {hidden} has the name of an installed module, rename it")
        if isinstance(error, Exception):
            raise UserError(f"{self.source}: cannot be loaded ({type(error).__name__}: {error})") from error


def _study_of(module: ModuleType, *, source: str) -> Study:
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise UserError(f"{source}: defines no STUDY of type siod.tuning.study.Study")
    return study
