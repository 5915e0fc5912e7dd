"""From a study to its trials, and whether a machine or cluster can hold them. Nothing runs here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from siod.training.experiment import Compute, Experiment
    from siod.tuning.study import Arm, Study

# Ray counts in steps of 1e-4; less than that is rounding.
EPSILON = 1e-6


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
    """List the trials of a study: all arms with the first seed, then all with the next.

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
        if arm.name in chosen_arms
    )
    if not trials:
        raise UserError(f"study {study.name!r}: no trial is left; name at least one arm and one seed")
    return trials


@dataclass(frozen=True)
class Node:
    """What one machine offers."""

    cpus: float
    gpus: float = 0.0


def this_machine() -> Node:
    """What this machine offers, without starting Ray."""
    import torch  # noqa: PLC0415  (asked for its GPUs only)

    return Node(float(len(os.sched_getaffinity(0))), float(torch.cuda.device_count()))


@dataclass(frozen=True)
class Request:
    """What one trial asks for: some workers of one size, each within one machine."""

    workers: int
    cpus: float
    gpus: float = 0.0

    @classmethod
    def of(cls, compute: Compute) -> Request:
        """The request of a run."""
        return cls(compute.workers, compute.cpus_per_worker, compute.gpus_per_worker)

    def __str__(self) -> str:
        """For people: ``2 workers of 1 CPU and 1 GPU``."""
        each = f"{self.cpus:g} CPU" + (f" and {self.gpus:g} GPU" if self.gpus else "")
        return each if self.workers == 1 else f"{self.workers} workers of {each}"


def fits_at_once(request: Request, nodes: Sequence[Node]) -> int:
    """How many trials of one kind the machines hold at the same time.

    Args:
        request: What each asks for.
        nodes: What there is.

    Returns:
        Number of trials; 0 when not even one fits.

    Example:
        >>> fits_at_once(Request(workers=2, cpus=1), [Node(cpus=3), Node(cpus=2)])
        2
    """
    return sum(_workers_on(node, request) for node in nodes) // request.workers


def _workers_on(node: Node, request: Request) -> int:
    by_cpu = node.cpus / request.cpus
    by_gpu = node.gpus / request.gpus if request.gpus else by_cpu
    return int(min(by_cpu, by_gpu) + EPSILON)


def concurrency(trials: Sequence[Trial], nodes: Sequence[Node], *, limit: int | None = None) -> int:
    """How many of these trials may run at once without one waiting for ever for its workers.

    Args:
        trials: What is to run; the largest request decides.
        nodes: What there is.
        limit: An upper bound from outside.

    Returns:
        At least 1, at most the number of trials.

    Raises:
        UserError: A trial asks for more than there is, however long it waits.
    """
    room = len(trials)
    for trial in trials:
        room = min(room, refuse_unplaceable(trial.name, Request.of(trial.experiment.compute), nodes))
    return max(1, room if limit is None else min(room, limit))


def refuse_unplaceable(name: str, request: Request, nodes: Sequence[Node]) -> int:
    """Refuse what could never start, instead of letting it wait for ever.

    Args:
        name: Of the trial, for the error.
        request: What it asks for.
        nodes: What there is.

    Returns:
        How many of its kind fit at once.

    Raises:
        UserError: Not even one fits.
    """
    fits = fits_at_once(request, nodes)
    if fits == 0:
        raise UserError(
            f"{name} asks for {request}, which can never fit here ({_inventory(nodes)}); "
            "lower compute.workers, compute.cpus_per_worker or compute.gpus_per_worker"
        )
    return fits


def _inventory(nodes: Sequence[Node]) -> str:
    """For example ``2 nodes: 4 CPU, 1 GPU; 8 CPU, 0 GPU``."""
    offers = "; ".join(f"{node.cpus:g} CPU, {node.gpus:g} GPU" for node in nodes)
    return f"{len(nodes)} node{'s' if len(nodes) != 1 else ''}: {offers}"
