"""The search of a study: which settings to train next, which trials to end early, which were best (knows Optuna).

Each arm has an Optuna study of its own, named ``<study>/<arm>``, in one database. All that a search needs to
continue stands there and in the trials' folders: a search that was cut off finds its unfinished trials, trains them
to their end, and asks on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from siod.errors import UserError
from siod.tracking.connection import sqlite_uri
from siod.training.phases import total_epochs
from siod.training.placement import Placement
from siod.tuning.planning.jobs import teacher_stages
from siod.tuning.searching.proposing import asked, described, make_pruner, make_sampler, settle
from siod.tuning.space import Choice, Float, Search, applicable, combinations, own_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from siod.tuning.space import Distribution
    from siod.tuning.study import Study
    from siod.tuning.trials.trial import Job

DATABASE = "optuna.db"
CHANGES, GPU_HOURS = "changes", "gpu_hours"
SECONDS_PER_HOUR = 3600.0


@dataclass
class ArmSearch:
    """An arm in a search: its part of the space, and a job at its own settings.

    Args:
        base: The job.
        space: By dotted path.
        study: Its Optuna study.
        budget: How many trials it may ask for.
        unfinished: Trials that an earlier call began and that have not ended.
        sampler: Of the proposal with a number. Every proposal has its own, so that it follows from its number and
            from what is known by then, whether or not the search was cut off in between.
    """

    base: Job
    space: dict[str, Distribution]
    study: optuna.Study
    budget: int
    unfinished: list[FrozenTrial]
    sampler: Callable[[int], optuna.samplers.BaseSampler]

    def gpu_hours(self) -> float:
        """GPU-hours that its ended trials have used."""
        return sum(float(trial.user_attrs.get(GPU_HOURS, 0.0)) for trial in self.study.get_trials(deepcopy=False))

    def ask(self) -> optuna.Trial:
        """Propose a trial."""
        self.study.sampler = self.sampler(self.asked())
        return self.study.ask()

    def resume(self) -> optuna.Trial:
        """Continue a trial of an earlier process that has not ended."""
        frozen = self.unfinished.pop(0)
        self.study.sampler = self.sampler(frozen.number)
        # The only way to a trial that was begun by a process that is gone.
        return optuna.Trial(self.study, frozen._trial_id)  # noqa: SLF001

    def asked(self) -> int:
        """Number of trials asked for so far, without those still enqueued."""
        return asked(self.study)


@dataclass
class StudySearch:
    """All searches of a study.

    Args:
        study: Has a space.
        arms: By name, those with something to tune.
        clock: Seconds that never run backwards.
        exhausted: True once :meth:`ask` returned None because all budgets are spent.
    """

    study: Study
    arms: dict[str, ArmSearch]
    clock: Callable[[], float] = time.monotonic
    _trials: dict[str, optuna.Trial] = field(default_factory=dict)
    _open: dict[str, str] = field(default_factory=dict)
    _duplicates: dict[str, list[Job]] = field(default_factory=dict)
    _asked_at: dict[str, float] = field(default_factory=dict)
    _began: float = 0.0
    exhausted: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Start the clock."""
        self._began = self.clock()

    @classmethod
    def open(cls, study: Study, bases: Mapping[str, Job], folder: Path) -> StudySearch:
        """Open or create the searches.

        Args:
            study: With space and search.
            bases: A prepared job of each arm at its own settings, by the arm's name.
            folder: Of the study; the database is made there unless the search names another.

        Raises:
            UserError: The database cannot be opened, or belongs to another space.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        search = search_of(study)
        storage = storage_of(database_url(study, folder))
        arms = {}
        for index, (name, base) in enumerate(bases.items()):
            space = applicable(study.space, base.experiment)
            if space:
                arms[name] = _open_arm(f"{study.name}/{name}", search, base, space=space, storage=storage, index=index)
        return cls(study, arms)

    def may_ask(self, name: str) -> bool:
        """True when ``arm/number`` is a trial of the search or may become one."""
        arm, _, number = name.rpartition("/")
        return arm in self.arms and int(number) < max(self.arms[arm].budget, self.arms[arm].asked())

    def proposals(self) -> dict[str, str]:
        """How the trials of each arm were and are proposed, in words; arms of which it is unknown are left out."""
        words = {name: described(arm.study) for name, arm in self.arms.items()}
        return {name: text for name, text in words.items() if text}

    def is_left(self) -> bool:
        """True when trials are left to train within the budgets."""
        return any(arm.unfinished or (arm.asked() < arm.budget and not self._spent(arm)) for arm in self.arms.values())

    def teacher_stages(self) -> tuple[tuple[Job, ...], ...]:
        """Teachers still to train that are the same for all trials of an arm; the trial that asks trains others."""
        return teacher_stages([_in_one_round(arm.base) for arm in self.arms.values() if _share_a_teacher(arm.space)])

    def past(self) -> Iterator[tuple[str, str, float | None]]:
        """Name, state (``complete``, ``pruned``, ``fail``) and objective of the trials that ended before."""
        for name, arm in self.arms.items():
            for trial in arm.study.get_trials(deepcopy=False):
                if trial.state.is_finished():
                    value = trial.values[0] if trial.values else None
                    yield f"{name}/{trial.number}", trial.state.name.lower(), value

    def ask(self) -> Job | None:
        """The next job to train, from the arm that has had the fewest; None when all budgets are spent.

        What is proposed while it is being trained already is not trained twice: it ends as the other does.
        """
        while (job := self._next_job()) is not None:
            original = next((name for name, identity in self._open.items() if identity == job.identity), None)
            if original is None:
                self._open[job.name] = job.identity
                return job
            self._duplicates.setdefault(original, []).append(job)
        self.exhausted = True
        return None

    def _next_job(self) -> Job | None:
        for arm in self.arms.values():
            if arm.unfinished:
                return self._job(arm, arm.resume())
        hours = search_of(self.study).hours
        if hours is not None and self.clock() - self._began > hours * SECONDS_PER_HOUR:
            return None
        left = [(arm.asked(), name) for name, arm in self.arms.items() if not self._spent(arm)]
        open_arms = [(asked, name) for asked, name in left if asked < self.arms[name].budget]
        if not open_arms:
            return None
        arm = self.arms[min(open_arms, key=lambda entry: entry[0])[1]]
        return self._job(arm, arm.ask())

    def _spent(self, arm: ArmSearch) -> bool:
        limit = search_of(self.study).gpu_hours
        return limit is not None and arm.gpu_hours() >= limit

    def _job(self, arm: ArmSearch, trial: optuna.Trial) -> Job:
        changes = {path: _suggest(trial, path, distribution) for path, distribution in arm.space.items()}
        trial.set_user_attr(CHANGES, changes)
        job = job_with_changes(arm.base, changes, trial.number)
        self._trials[job.name] = trial
        self._asked_at[job.name] = self.clock()
        return job

    def changes_of(self, job: Job) -> dict[str, Any]:
        """The settings that were proposed for a job."""
        changes: dict[str, Any] = self._trials[job.name].user_attrs[CHANGES]
        return changes

    def epoch(self, job: Job, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Report the metrics of an epoch to the pruner; True when the trial should end after it."""
        search, trial = search_of(self.study), self._trials[job.name]
        value = metrics.get(self.study.objective)
        # A trial that continues reports its last epoch again; there is no public view of what it reported before.
        reported = trial._cached_frozen_trial.intermediate_values  # noqa: SLF001
        if search.pruner == "none" or value is None or epoch in reported:
            return False
        trial.report(value, epoch)
        return epoch >= search.grace_epochs and trial.should_prune()

    def finish(self, job: Job, metrics: Mapping[str, float]) -> None:
        """Report a trial's result; without a measured cost (:mod:`siod.training.cost`) it counts as failed."""
        cost = search_of(self.study).cost
        values = [metrics.get(name) for name in (self.study.objective, *([] if cost is None else [f"cost/{cost}"]))]
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            self._tell(job, known, TrialState.COMPLETE)
        else:
            self.fail(job)

    def prune(self, job: Job) -> None:
        """Report that a trial was pruned."""
        self._tell(job, None, TrialState.PRUNED)

    def fail(self, job: Job) -> None:
        """Report that a trial failed; it counts against the budget and has no score."""
        self._tell(job, None, TrialState.FAIL)

    def _tell(self, job: Job, values: list[float] | None, state: TrialState) -> None:
        self._open.pop(job.name, None)
        placement = Placement.of(job.experiment.compute)
        hours = (self.clock() - self._asked_at[job.name]) / SECONDS_PER_HOUR
        self._trials[job.name].set_user_attr(GPU_HOURS, hours * placement.workers * placement.gpus)
        for each in (job, *self._duplicates.pop(job.name, ())):
            self.arms[each.arm].study.tell(self._trials.pop(each.name), values, state=state)


def _share_a_teacher(space: Mapping[str, Distribution]) -> bool:
    """True when what is searched changes the method alone, and not its teacher."""
    own = ("method.teacher", "method.rounds")
    return all(path.startswith("method.") and not path.startswith(own) for path in space)


def _in_one_round(job: Job) -> Job:
    """A job whose teacher is the first one of a chain: the later ones have what is searched in their own settings."""
    if getattr(job.experiment.method, "rounds", 1) == 1:
        return job
    return replace(job, experiment=job.experiment.with_changes({"method.rounds": 1}))


def as_search_study(study: Study) -> Study:
    """The search as a study of its own, in which a trial's number stands in place of its seed."""
    numbers = tuple(range(search_of(study).trials))
    arms = tuple(arm.model_copy(update={"seeds": None}) for arm in study.arms)
    changed: dict[str, Any] = {
        "name": f"{study.name}.search",
        "arms": arms,
        "seeds": numbers,
        "space": {},
        "search": None,
    }
    return study.model_copy(update=changed)


def job_with_changes(base: Job, changes: Mapping[str, Any], number: int) -> Job:
    """A job with other settings, on the same data.

    Args:
        base: At the arm's own settings.
        changes: By dotted path; none of them touches the data.
        number: Of the trial in its search.
    """
    experiment = base.experiment.with_changes(changes)
    identity = experiment.identity(base.data.fingerprint)
    run_dir = base.run_dir.parent / identity
    return replace(base, experiment=experiment, identity=identity, run_dir=run_dir, number=number)


def database_url(study: Study, folder: Path) -> str:
    """Where the search of a study is kept, as ``optuna-dashboard`` takes it."""
    return search_of(study).storage or sqlite_uri(folder / DATABASE)


def search_of(study: Study) -> Search:
    """The search settings of a study.

    Raises:
        UserError: The study has no search.
    """
    if study.search is None:
        raise UserError(f"study {study.name!r} has no search; set search and space")
    return study.search


def storage_of(url: str) -> optuna.storages.BaseStorage:
    """Open the database of a search, and silence Optuna's log.

    Raises:
        UserError: It cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        return optuna.storages.RDBStorage(url)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"search.storage {url!r} cannot be opened ({reason}); name a database that can") from error


def _open_arm(
    name: str,
    search: Search,
    base: Job,
    *,
    space: dict[str, Distribution],
    storage: optuna.storages.BaseStorage,
    index: int,
) -> ArmSearch:
    directions = (
        [StudyDirection.MAXIMIZE] if search.cost is None else [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    )
    found = optuna.create_study(study_name=name, storage=storage, directions=directions, load_if_exists=True)
    declared = {path: distribution.model_dump(mode="json") for path, distribution in space.items()}
    if found.user_attrs.get("space", declared) != declared:
        raise UserError(
            f"search {name!r}: was begun with another space; rename the study, or delete the search from its database"
        )
    found.set_user_attr("space", declared)
    trials = found.get_trials(deepcopy=False)
    if search.sampler == "grid":
        for parameters in combinations(space):
            found.enqueue_trial(parameters, skip_if_exists=True)
    elif search.own_first and not trials and (own := own_settings(space, base.experiment)) is not None:
        found.enqueue_trial(own)
    unfinished = [trial for trial in trials if trial.state == TrialState.RUNNING]
    first = search.seed + 10_007 * index
    budget = budget_of(search, space)
    sampler, pruner = settle(found, search, seed=first, goes_on=asked(found) < budget)
    make_sampler(sampler, seed=first)  # refused now, not at the first proposal
    found.pruner = make_pruner(pruner, grace_epochs=search.grace_epochs, epochs=total_epochs(base.experiment))
    return ArmSearch(base, space, found, budget, unfinished, lambda number: make_sampler(sampler, seed=first + number))


def budget_of(search: Search, space: Mapping[str, Distribution]) -> int:
    """How many trials an arm may ask for.

    Args:
        search: How it is searched.
        space: Of the arm.
    """
    return min(search.trials, len(combinations(space))) if search.sampler == "grid" else search.trials


def _suggest(trial: optuna.Trial, path: str, distribution: Distribution) -> Any:
    if isinstance(distribution, Choice):
        return trial.suggest_categorical(path, list(distribution.values))
    if isinstance(distribution, Float):
        value = trial.suggest_float(
            path, distribution.low, distribution.high, log=distribution.log, step=distribution.step
        )
        return value if distribution.step is None else round(value, 12)
    return trial.suggest_int(path, distribution.low, distribution.high, log=distribution.log, step=distribution.step)
