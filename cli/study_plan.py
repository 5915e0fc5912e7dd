"""``siod study plan``: what a study would train, where, and what it will cost; nothing is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from siod.cli.options import CACHE, RUNS, Address, Cache, Runs, SkipBroken, absolute

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from siod.tuning.estimate import Estimate, Measured
    from siod.tuning.plan import Node
    from siod.tuning.study import Study
    from siod.tuning.trial import Job

MIB_PER_GIB, BYTES_PER_MIB = 2**10, 2**20


def plan(
    study: Annotated[str, typer.Argument(help="Name of a study, or a Python or JSON file that declares one.")],
    *,
    measure: Annotated[
        bool, typer.Option("--measure", help="Train one epoch of each shape that was never measured, alone.")
    ] = False,
    max_concurrent: Annotated[
        int | None, typer.Option(min=1, help="At most so many trials at once; as many as fit when not given.")
    ] = None,
    skip_broken: SkipBroken = False,
    address: Address = None,
    runs: Runs = RUNS,
    cache: Cache = CACHE,
) -> None:
    """Say what a study would train, what is finished already, and what the rest will take."""
    from siod.tuning.study import load_study  # noqa: PLC0415  (keeps --help fast)

    loaded = load_study(study)
    from siod.tuning.estimate import estimate, measure_runs  # noqa: PLC0415
    from siod.tuning.jobs import in_stages, prepare_jobs  # noqa: PLC0415
    from siod.tuning.plan import concurrency  # noqa: PLC0415
    from siod.tuning.plan import plan as plan_trials  # noqa: PLC0415

    if loaded.search is not None:
        loaded, left = _searched(loaded, absolute(runs) / "studies" / loaded.name)
    trials = plan_trials(loaded)
    nodes = _nodes(address)
    slots = concurrency(trials, nodes, limit=max_concurrent)
    runs_dir, cache_dir = absolute(runs), absolute(cache)
    jobs = prepare_jobs(
        trials,
        runs_dir=runs_dir,
        cache_dir=cache_dir,
        baseline=loaded.baseline,
        check_images="skip" if skip_broken else "refuse",
    )
    measured = measure_runs(runs_dir)
    if measure:
        _calibrate(jobs, measured, runs_dir, cache_dir)
        measured = measure_runs(runs_dir)
    if loaded.search is not None:
        typer.echo("\n".join(_search_lines(loaded, left, jobs, measured, slots)))
    teachers = [
        teacher for teacher in in_stages([job for job in jobs if job.result() is None])[0] if teacher not in jobs
    ]
    found = estimate([*teachers, *jobs], measured, slots=slots)
    arms = [*(arm.name for arm in loaded.arms), *dict.fromkeys(teacher.arm for teacher in teachers)]
    lines = [*_table(arms, [*jobs, *teachers], measured), "", *_summary(found, nodes, len(teachers) + len(jobs))]
    typer.echo("\n".join([*lines, *_warnings(loaded)]))


def _nodes(address: str | None) -> tuple[Node, ...]:
    if address is None:
        from siod.tuning.plan import this_machine  # noqa: PLC0415

        return (this_machine(),)
    from siod.tuning.cluster import session  # noqa: PLC0415  (Ray only where there is a cluster to ask)

    with session(address) as nodes:
        return nodes


def _calibrate(jobs: Sequence[Job], measured: Mapping[str, Measured], runs_dir: Path, cache_dir: Path) -> None:
    """Train one epoch for each shape that is unknown; it is kept as a run of its own, and found again."""
    from siod.tuning.estimate import shape_of  # noqa: PLC0415
    from siod.tuning.single import train_one  # noqa: PLC0415

    unknown = {shape_of(job.experiment): job for job in reversed(jobs) if job.result() is None}
    for shape, job in unknown.items():
        if shape not in measured:
            once = job.experiment.with_changes({"recipe.epochs": 1, "evaluation.every_epochs": 1})
            train_one(once, name=job.arm, runs_dir=runs_dir, cache_dir=cache_dir)


def _table(arms: Sequence[str], jobs: Sequence[Job], measured: Mapping[str, Measured]) -> Iterator[str]:
    """One line for each arm, and for each teacher still to train: what is done, what a trial takes, how it is known."""
    from siod.training.phases import total_epochs  # noqa: PLC0415
    from siod.tuning.board import duration  # noqa: PLC0415
    from siod.tuning.estimate import shape_of  # noqa: PLC0415

    width = max(map(len, arms))
    yield f"{'arm':<{width}}  {'done':>7}  {'epochs':>6}  {'a trial':>8}  {'memory':>8}  known from"
    for arm in arms:
        own = [job for job in jobs if job.arm == arm]
        cost = measured.get(shape_of(own[0].experiment))
        epochs = total_epochs(own[0].experiment)
        done = f"{sum(job.result() is not None for job in own)}/{len(own)}"
        time = "unknown" if cost is None else duration(cost.epoch_seconds * epochs)
        memory = "unknown" if cost is None else f"{cost.memory_mib / MIB_PER_GIB:.1f} GiB"
        source = "nothing yet" if cost is None else f"{cost.runs} run{'s' * (cost.runs != 1)} of its shape"
        yield f"{arm:<{width}}  {done:>7}  {epochs:>6}  {time:>8}  {memory:>8}  {source}"


def _summary(found: Estimate, nodes: Sequence[Node], trials: int) -> Iterator[str]:
    from siod.tuning.board import duration  # noqa: PLC0415

    there = "; ".join(f"{node.cpus:g} CPU, {node.gpus:g} GPU" for node in nodes)
    yield f"{trials} trials, {trials - len(found.waiting)} finished, {len(found.waiting)} to train"
    yield f"machine{'s' * (len(nodes) != 1)}: {there}; {found.slots} trial{'s' * (found.slots != 1)} at once"
    if not found.waiting:
        return
    if len(found.unknown) < len(found.waiting):
        gib, mib = found.memory_mib / MIB_PER_GIB, found.disk_bytes / BYTES_PER_MIB
        yield (
            f"about {duration(found.wall_seconds)} of training, {found.cpu_hours:.2f} CPU-hours, "
            f"{found.gpu_hours:.2f} GPU-hours, {gib:.1f} GiB of memory at most, {mib:.0f} MiB of disk"
        )
    if found.unknown:
        yield (
            f"not in these figures: {len(found.unknown)} trials of a shape that was never measured; "
            "--measure trains one epoch of each"
        )


def _searched(study: Study, folder: Path) -> tuple[Study, dict[str, int]]:
    """What the search has still to train by arm; once that is nothing, the study at what it found best."""
    from siod.tuning.best import best_of, trials_left, tuned  # noqa: PLC0415  (loads Optuna)

    left = trials_left(study, folder)
    if any(left.values()):
        return study, left
    best = tuned(study, best_of(study, folder))
    return best.model_copy(update={"space": study.space, "search": study.search}), left


def _search_lines(
    study: Study, left: Mapping[str, int], jobs: Sequence[Job], measured: Mapping[str, Measured], slots: int
) -> Iterator[str]:
    """What is searched before the trials below, which then train at each arm's best settings."""
    from siod.training.run import teacher_of  # noqa: PLC0415
    from siod.tuning.board import duration  # noqa: PLC0415
    from siod.tuning.estimate import estimate  # noqa: PLC0415
    from siod.tuning.space import applicable  # noqa: PLC0415

    assert study.search is not None  # noqa: S101  (asked for then only)
    told = f"trials by {study.search.sampler}, pruner {study.search.pruner}"
    for name, trials in left.items():
        paths = applicable(study.space, study.experiment(study.arm(name), study.seeds[0]))
        yield f"search of {name}: {study.search.trials} {told}, {trials} left; {', '.join(paths)}"
    bases = {job.arm: job for job in reversed(jobs)}
    for name, trials in left.items():
        if trials and teacher_of(bases[name].experiment) is not None:
            yield f"search of {name}: a teacher is trained first, with the seed of the search"
    # What they will be called is not known yet: no folder has their results.
    nowhere = jobs[0].run_dir.parent / "none"
    asked = [replace(bases[name], number=place, run_dir=nowhere) for name in left for place in range(left[name])]
    if not asked:
        yield "the search is done; these trials are at each arm's best settings:"
        return
    found = estimate(asked, measured, slots=slots)
    if len(found.unknown) < len(asked):
        pruned = ", less what is pruned" if study.search.pruner != "none" else ""
        yield f"the search takes about {duration(found.wall_seconds)}{pruned}, {found.gpu_hours:.2f} GPU-hours at most"
    if found.unknown:
        yield f"not in these figures: {len(found.unknown)} trials of the search, of a shape that was never measured"
    yield "then these at each arm's best settings, counted here at its own:"


def _warnings(study: Study) -> Iterator[str]:
    from siod.tuning.arms import confounded  # noqa: PLC0415

    for arm, paths in confounded(study).items():
        yield f"confounded: arm {arm!r} also changes {', '.join(paths)}, which is none of the study's factors"
