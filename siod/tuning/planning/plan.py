"""From a study to its trials, and whether a machine or cluster can hold them. Nothing runs here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from siod.data.image_count import count_training_images
from siod.errors import UserError
from siod.training.fitness import refuse_short_schedule
from siod.training.placement import (
    DEVICE_REMEDY,
    Placement,
    describe,
    describe_autoscaled,
    long_on_cpu,
    placed,
    refuse_unplaceable,
)
from siod.training.precision import CPU_PRECISIONS, refuse_missing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from pathlib import Path

    from siod.data.source import Source
    from siod.training.experiment import Experiment
    from siod.training.placement import Node
    from siod.tuning.study import Arm, Study


@dataclass(frozen=True)
class Trial:
    """One arm with one seed."""

    arm: Arm
    seed: int
    experiment: Experiment

    @property
    def name(self) -> str:
        """``arm/seed``: its name in progress, tracking and reports."""
        return f"{self.arm.name}/{self.seed}"


def plan(
    study: Study, *, arms: Collection[str] | None = None, seeds: Collection[int] | None = None
) -> tuple[Trial, ...]:
    """List the trials of a study: all arms with the first seed, then all that have it with the next.

    Args:
        study: What to plan.
        arms: Only these arms, by name.
        seeds: Only these seeds.

    Returns:
        The trials in the order they start; so that arms can be compared as early as possible.

    Raises:
        UserError: An arm or seed is not part of the study, or nothing is left.
    """
    chosen_arms = {study.arm(name).name for name in arms} if arms is not None else {arm.name for arm in study.arms}
    chosen_seeds = set(seeds) if seeds is not None else set(study.seeds)
    foreign = sorted(chosen_seeds - set(study.seeds))
    if foreign:
        known = ", ".join(map(str, study.seeds))
        raise UserError(f"study {study.name!r} has no seed {foreign[0]}; its seeds are {known}")
    # An arm is validated with one seed; every other differs by that number alone.
    experiments = {arm.name: study.experiment(arm, study.seeds[0]) for arm in study.arms if arm.name in chosen_arms}
    trials = tuple(
        Trial(arm, seed, experiments[arm.name].model_copy(update={"seed": seed}))
        for seed in study.seeds
        if seed in chosen_seeds
        for arm in study.arms
        if arm.name in chosen_arms and seed in study.seeds_of(arm)
    )
    if not trials:
        raise UserError(f"study {study.name!r}: no trial is left; name at least one arm and one seed")
    return trials


def place_trials(trials: Sequence[Trial], nodes: Sequence[Node], *, autoscale: bool = False) -> tuple[Trial, ...]:
    """Decide where each trial is carried out, once: the definite ``compute`` goes with it wherever it goes.

    Args:
        trials: As planned.
        nodes: What there is.
        autoscale: Whether machines are started as trials ask for them.

    Raises:
        UserError: Machines are to be started for trials that do not say what they need.
    """
    automatic = next((trial for trial in trials if trial.experiment.compute.gpus_per_worker is None), None)
    if autoscale and automatic is not None and not any(node.gpus for node in nodes):
        raise UserError(
            f"--autoscale: no machine of the cluster has a GPU yet, so {automatic.name} cannot tell whether it should "
            "ask for one; say so with --gpus-per-worker 1 (or --device cpu)"
        )
    return tuple(replace(trial, experiment=placed(trial.experiment, nodes)) for trial in trials)


@dataclass(frozen=True)
class Capacity:
    """How many trials the machines can hold.

    Args:
        nodes: The machines.
        limit: At most so many trials at once, 1 or more; None runs as many as fit.
        autoscale: Whether machines are started as trials ask for them; then the number of trials is the only bound.
    """

    nodes: Sequence[Node]
    limit: int | None = None
    autoscale: bool = False

    def slots(self, trials: Sequence[Trial], count: int | None = None) -> int:
        """How many trials can run at once without any of them waiting for ever for its workers.

        Args:
            trials: Placed; the largest decides.
            count: How many are to run, where ``trials`` are only one of each kind; their number if None.

        Returns:
            At least 1, at most the number of trials.

        Raises:
            UserError: A trial asks for more than there is, however long it waits.
        """
        slots = len(trials) if count is None else count
        for trial in trials:
            if not self.autoscale:
                fits = refuse_unplaceable(trial.name, Placement.of(trial.experiment.compute), self.nodes)
                slots = min(slots, fits)
            elif self.limit is None and slots > 1 and not trial.experiment.compute.in_process():
                raise UserError(
                    f"--autoscale: {trial.name} has several workers, which wait only so long for their machines; say "
                    "with --max-concurrent how many such trials the cluster can grow to hold"
                )
        return max(1, slots if self.limit is None else min(slots, self.limit))

    def describe(self, trials: Sequence[Trial], slots: int) -> tuple[str, ...]:
        """One line for each kind of trial: how many run at once, what each gets, and what stays idle.

        Args:
            trials: Placed.
            slots: How many run at once.

        Returns:
            Lines; with several kinds each names its arms.
        """
        kinds: dict[Placement, dict[str, None]] = {}
        for trial in trials:
            kinds.setdefault(Placement.of(trial.experiment.compute), {})[trial.arm.name] = None
        lines = []
        for placement, arms in kinds.items():
            line = describe_autoscaled(placement, slots) if self.autoscale else describe(placement, slots, self.nodes)
            lines.append(line if len(kinds) == 1 else f"{', '.join(arms)}: {line}")
        return tuple(lines)


def refuse_uncomputable(trials: Sequence[Trial], *, here: bool) -> None:
    """Refuse precisions that the devices cannot compute in, before anything is trained.

    Args:
        trials: Placed.
        here: Whether they are carried out on this machine, whose GPUs can be asked; of other machines only their cores
            are known, and a worker refuses what its GPU lacks.

    Raises:
        UserError: A device lacks the arithmetic of a trial.
    """
    for trial in trials:
        if Placement.of(trial.experiment.compute).device == "cpu":
            refuse_missing(trial.experiment, "cpu", "cpu", CPU_PRECISIONS)
        elif here:
            _refuse_missing_on_gpu(trial.experiment)


def _refuse_missing_on_gpu(experiment: Experiment) -> None:
    """Ask the GPUs of this machine, if torch can."""
    import torch  # noqa: PLC0415  (only GPUs are asked through it)

    from siod.training.arithmetic import refuse_missing_on  # noqa: PLC0415  (likewise)

    if torch.cuda.is_available():
        refuse_missing_on(torch.device("cuda"), experiment)


def refuse_hours_without_gpus(study: Study, trials: Sequence[Trial]) -> None:
    """Refuse a search that is limited in GPU-hours where its trials would use none: it would never end.

    Args:
        study: Perhaps with a search.
        trials: Of it, placed.

    Raises:
        UserError: A trial is given no GPU.
    """
    if study.search is None or study.search.gpu_hours is None:
        return
    for trial in trials:
        if Placement.of(trial.experiment.compute).device == "cpu":
            raise UserError(
                f"search.gpu_hours: arm {trial.arm.name!r} is given no GPU here; run it where one is, or set "
                "search.hours instead"
            )


def refuse_short_schedules(trials: Iterable[Trial], cache_dir: Path | None = None) -> None:
    """Refuse trials that are too short for their one-cycle schedules, before their data is prepared.

    Args:
        trials: Of different arms.
        cache_dir: As for :func:`siod.data.image_count.count_training_images`.

    Raises:
        UserError: A trial is too short, or a data set that has to be counted for that is missing.
    """
    images: dict[Source, int] = {}
    for trial in trials:
        data = trial.experiment.data
        if trial.experiment.recipe.schedule.kind != "one_cycle":
            continue
        if data not in images:
            images[data] = count_training_images(data, cache_dir)
        try:
            refuse_short_schedule(trial.experiment, images=images[data])
        except UserError as error:
            raise UserError(f"{trial.arm.name}: {error}") from error


def long_trials_on_cpu(trials: Sequence[Trial], cache_dir: Path | None = None) -> str | None:
    """What to ask about trials of COCO's size that would train on CPU cores.

    Args:
        trials: Placed.
        cache_dir: As for :func:`siod.data.image_count.count_training_images`.

    Returns:
        As :func:`siod.training.placement.long_on_cpu`.

    Raises:
        UserError: A data set that has to be counted for that is missing.
    """
    on_cpu = [trial.experiment for trial in trials if Placement.of(trial.experiment.compute).device == "cpu"]
    images = {data: count_training_images(data, cache_dir) for data in {experiment.data for experiment in on_cpu}}
    return long_on_cpu([(experiment, images[experiment.data]) for experiment in on_cpu])


def confirm_cpu(trials: Sequence[Trial], confirm: Callable[[str], bool] | None, cache_dir: Path | None = None) -> None:
    """Ask for confirmation before trials of COCO's size train on CPU cores.

    Args:
        trials: Placed.
        confirm: Called with what would be done; None where there is no user to ask.
        cache_dir: As for :func:`siod.data.image_count.count_training_images`.

    Raises:
        UserError: The answer is no, or there is no user to ask.
    """
    question = long_trials_on_cpu(trials, cache_dir)
    if question is not None and (confirm is None or not confirm(question)):
        raise UserError(f"{question}; {DEVICE_REMEDY}")
